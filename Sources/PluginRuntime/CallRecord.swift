internal import CNI
internal import Glibc

/// A call as the log has it: what was asked for whom, and how it ended.
///
/// Nothing of standard input is in it but the network's name.
struct CallRecord: Sendable, Equatable {
    let verb: Verb
    let plugin: String
    let containerID: String
    let interface: String
    /// The pod that the runtime names: namespace and name.
    let pod: String?
    var network = ""
    var error: CNIError?

    init(plugin: String, _ call: Invocation) {
        self.plugin = plugin
        verb = call.verb
        containerID = call.containerID
        interface = call.interface
        let arguments = try? CNIArguments(call.arguments)
        pod = arguments?["K8S_POD_NAME"].map { name in
            (arguments?["K8S_POD_NAMESPACE"] ?? "") + "/" + name
        }
    }

    /// The line of the log, without the end of the line.
    func line(nanoseconds: Int64) -> String {
        var json: JSON = [
            "time": .string(timestamp()), "verb": .string(verb.rawValue),
            "plugin": .string(plugin), "network": .string(network),
        ]
        if !containerID.isEmpty {
            json = json.setting("container", to: .string(containerID))
                .setting("interface", to: .string(interface))
        }
        if let pod { json = json.setting("pod", to: .string(pod)) }
        json = json.setting("us", to: .integer(Int(nanoseconds / 1000)))
            .setting("code", to: .integer(error?.code ?? 0))
        if let error { json = json.setting("error", to: .string(error.withoutInput)) }
        return json.text(indented: false)
    }
}

extension CNIError {
    /// The message, without what it quotes where that may be from standard input.
    fileprivate var withoutInput: String {
        let mayQuote: [Code] = [.unsupportedField, .environment, .decode, .invalidConfiguration]
        guard mayQuote.contains(where: { $0.rawValue == code }) else { return description }
        var text = ""
        var isQuoted = false
        for scalar in message.unicodeScalars {
            if scalar == "\"" {
                if isQuoted { text += "…" }
                isQuoted.toggle()
            } else if isQuoted {
                continue
            }
            text.unicodeScalars.append(scalar)
        }
        return isQuoted ? text + "…" : text
    }
}

/// The clock that only goes forward.
func monotonicNanoseconds() -> Int64 {
    var now = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
}

/// The present in UTC, to the millisecond: `2026-11-24T11:52:03.123Z`.
private func timestamp() -> String {
    var now = timespec()
    var parts = unsafe tm()
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    unsafe gmtime_r(&now.tv_sec, &parts)
    let digits = { (number: Int, width: Int) in
        let text = "\(number)"
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }
    let date = unsafe [Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1, Int(parts.tm_mday)]
    let time = unsafe [Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec)]
    var text = ""
    for number in date { text += (text.isEmpty ? "" : "-") + digits(number, 2) }
    text += "T"
    for (index, number) in time.enumerated() { text += (index == 0 ? "" : ":") + digits(number, 2) }
    return text + "." + digits(Int(now.tv_nsec / 1_000_000), 3) + "Z"
}
