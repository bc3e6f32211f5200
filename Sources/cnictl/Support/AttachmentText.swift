import Addressing
import CNI
import FoundationEssentials
import Operator
import PluginRuntime
import Rtnetlink
import TrafficControl

extension AttachmentState {
    /// The attachment as JSON, as `ls` and `explain` print it.
    var json: JSON {
        let text = { (value: String?) -> JSON in value.map { .string($0) } ?? .null }
        return [
            "network": .string(owner.network), "container": .string(owner.containerID),
            "interface": .string(owner.interface), "alive": .bool(isAlive),
            "orphan": .bool(isOrphan), "state": .string(stateCell.text), "netns": text(netns),
            "addresses": .array(addresses.map { .string("\($0.address)") }),
            "hostInterface": text(hostEnd?.name), "bridge": text(master),
            "mac": text(inner?.mac.map { "\($0)" }),
            "mtu": mtu.map { .integer($0) } ?? .null,
            "ports": .array(ports.map { .string($0) }),
            "awaitedPorts": .array(
                awaitedPorts.map { awaited in
                    ["port": .string(awaited.port), "holder": .string(awaited.holder.tag)]
                }),
            "classes": .array(
                shares.map { share in
                    [
                        "direction": .string("\(share.direction)"),
                        "link": .string(share.port.link), "netns": text(share.port.netns),
                        "id": text(share.id.map { "\($0)" }), "name": text(share.part),
                        "tenant": text(share.tenant),
                        "rate": bits(share.limiter?.rate),
                        "ceil": bits(share.limiter?.ceil),
                    ]
                }),
            "traces": .array(
                Trace.allCases.filter(traces.contains).map { .string($0.rawValue) }),
            "since": text(since.map { $0.formatted(.iso8601) }),
        ]
    }
}

private func bits(_ rate: Rate?) -> JSON {
    rate.map { .integer(Int(clamping: $0.bitsPerSecond)) } ?? .null
}

extension AttachmentState.Share {
    /// The class's number, or `tbf` for a ceiling without classes.
    var number: String { id.map { "\($0)" } ?? "tbf" }

    /// The number and, of a class inside a container, its name: `1:5247 clients`.
    var title: String { number + (part.map { " \($0)" } ?? "") }

    /// `100M`, or `10M..100M` with a ceiling above what is guaranteed.
    var limits: String {
        guard let found = limiter else { return "no class" }
        let (rate, ceil) = (found.rate.short, found.ceil.short)
        return rate == ceil ? ceil : "\(rate)..\(ceil)"
    }
}

extension Rate {
    /// The rate with three digits and a unit's letter: `100M`, `1.25G`.
    var short: String { shortNumber(Double(bitsPerSecond)) }
}

/// A number with three digits and a letter for thousands, millions, ….
func shortNumber(_ number: Double) -> String {
    var (value, letters) = (number, ["", "k", "M", "G", "T"][...])
    while value >= 999.5, letters.count > 1 {
        value /= 1000
        letters = letters.dropFirst()
    }
    let digits = value >= 99.95 || value == value.rounded() ? 0 : value >= 9.995 ? 1 : 2
    var text = fixed(value, digits)
    if text.contains(".") {
        while text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
    }
    return text + (letters.first ?? "")
}

/// A number with so many digits behind the point.
func fixed(_ value: Double, _ digits: Int) -> String {
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let whole = Int((value * Double(scale)).rounded())
    guard digits > 0 else { return "\(whole)" }
    let fraction = String(whole % scale)
    return "\(whole / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
}

/// How long ago something was, with one unit: `42s`, `3h`.
func age(_ date: Date?) -> String {
    guard let date else { return "-" }
    let seconds = max(0, Int(Date.now.timeIntervalSince(date)))
    for (size, unit) in [(86_400, "d"), (3600, "h"), (60, "m")] where seconds >= 2 * size {
        return "\(seconds / size)\(unit)"
    }
    return "\(seconds)s"
}
