internal import Addressing
public import CNI
internal import IPAM
public import Netlink
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import TrafficControl

/// The host's networks in numbers, as OpenMetrics text.
public struct Metrics: Sendable {
    private var text = ""

    /// Counts what there is.
    public static func text(
        _ inventory: Inventory, networks directory: String, calls: [LoggedCall]
    ) throws(KernelError) -> String {
        var metrics = Metrics()
        metrics.addAttachments(inventory)
        metrics.addPools(inventory, directory)
        try metrics.addFlows(inventory)
        try metrics.addBridges()
        metrics.addCalls(calls)
        return metrics.text + "# EOF\n"
    }

    /// Writes the text to a file that is whole at every moment, for all to read.
    public static func write(_ text: String, to path: String) throws(CNIError) {
        try Files.write(Array(text.utf8), to: path, mode: 0o644)
    }

    private mutating func family(
        _ name: String, _ type: String, _ help: String,
        _ samples: [(suffix: String, labels: [(String, String)], value: String)]
    ) {
        guard !samples.isEmpty else { return }
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
        for sample in samples {
            let labels = sample.labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }
            let list = labels.isEmpty ? "" : "{\(labels.joined(separator: ","))}"
            text += "\(name)\(sample.suffix)\(list) \(sample.value)\n"
        }
    }

    private static func escaped(_ text: String) -> String {
        var escaped = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }

    private mutating func addAttachments(_ inventory: Inventory) {
        let networks = Set(inventory.attachments.map(\.owner.network)).sorted()
        let count = { (network: String, isCounted: (AttachmentState) -> Bool) in
            let all = inventory.attachments.filter { $0.owner.network == network }
            return ("", [("network", network)], "\(all.filter(isCounted).count)")
        }
        family(
            "cni_attachments", "gauge", "Attachments whose container is there.",
            networks.map { count($0) { !$0.isOrphan } })
        family(
            "cni_orphans", "gauge", "Attachments whose container has gone.",
            networks.map { count($0) { $0.isOrphan } })
        family(
            "cni_damaged_results", "gauge", "Cached results that cannot be read.",
            [("", [], "\(inventory.damagedResults.count)")])
    }

    private mutating func addPools(_ inventory: Inventory, _ directory: String) {
        var used: [(String, [(String, String)], String)] = []
        var sizes: [(String, [(String, String)], String)] = []
        var unreadable: [String: Bool] = [:]
        // Two files may have one network; a sample may be there once.
        var seen: Set<[String]> = []
        for (_, list) in ConfigurationList.all(in: directory) {
            guard let list = try? list.get() else { continue }
            for plugin in list.plugins where plugin["ipam"]?["type"]?.text == HostLocal.name {
                let call = (try? NetworkConfiguration(json: list.configuration(of: plugin))).map {
                    Call(Invocation(verb: .status, containerID: "metrics"), $0)
                }
                guard let options = try? call.map({ try HostLocal.Options($0) }) else { continue }
                let held = try? ReservationStore.reservations(
                    options.dataDirectory, network: list.name)
                unreadable[list.name] = held == nil || unreadable[list.name] == true
                for range in options.rangeSets.flatMap(\.ranges)
                where seen.insert([list.name, "\(range)"]).inserted {
                    let labels = [("network", list.name), ("pool", "\(range)")]
                    let all =
                        range.end.bits - range.start.bits + 1
                        - (range.contains(range.gateway) ? 1 : 0)
                    if let held {
                        let count = held.filter { range.contains($0.address) }.count
                        used.append(("", labels, "\(count)"))
                    }
                    sizes.append(("", labels, "\(all)"))
                }
            }
        }
        family("cni_pool_addresses_used", "gauge", "Addresses that are held.", used)
        family("cni_pool_addresses", "gauge", "Addresses that there are to hold.", sizes)
        family(
            "cni_pool_unreadable", "gauge",
            "Whether a network's reservations cannot be read, so that what is used is not known.",
            unreadable.sorted { $0.key < $1.key }.map {
                ("", [("network", $0.key)], $0.value ? "1" : "0")
            })
    }

    private mutating func addFlows(_ inventory: Inventory) throws(KernelError) {
        let flows = try inventory.flows()
        // Sums over the first must not count what is in a class inside a container twice.
        addFlows(flows.filter { $0.share?.part == nil }, "flow", "class")
        addFlows(flows.filter { $0.share?.part != nil }, "part", "part")
    }

    private mutating func addFlows(_ flows: [Flow], _ what: String, _ shaped: String) {
        let labelled = flows.map { flow in
            let share = flow.share
            var labels = [
                ("network", flow.owner.network), ("container", flow.owner.containerID),
                ("interface", flow.owner.interface), ("direction", "\(flow.direction)"),
                ("class", share.map { $0.id.map { "\($0)" } ?? "tbf" } ?? ""),
            ]
            if let part = share?.part { labels.append(("name", part)) }
            if let tenant = share?.tenant { labels.append(("tenant", tenant)) }
            return (flow, labels)
        }
        let numbers: [(String, String, String, (Counters) -> UInt64)] = [
            ("bytes", "counter", "Bytes that passed.", { $0.bytes }),
            ("packets", "counter", "Packets that passed.", { $0.packets }),
            ("drops", "counter", "Packets that were dropped.", { $0.drops }),
            ("backlog_bytes", "gauge", "Bytes that wait.", { $0.backlog }),
        ]
        for (name, type, help, number) in numbers {
            family(
                "cni_\(what)_\(name)", type, help,
                labelled.map { flow, labels in
                    (type == "counter" ? "_total" : "", labels, "\(number(flow.counters))")
                })
        }
        for (name, help, rate) in [
            ("rate_bits", "What is guaranteed, in bit/s.", \Limiter.rate),
            ("ceil_bits", "The ceiling, in bit/s.", \Limiter.ceil),
        ] {
            family(
                "cni_\(shaped)_\(name)", "gauge", help,
                labelled.compactMap { flow, labels in
                    flow.share?.limiter.map {
                        ("", labels, "\($0[keyPath: rate].bitsPerSecond)")
                    }
                })
        }
    }

    private mutating func addBridges() throws(KernelError) {
        let links = try Kernel(container: nil).allLinks(in: .host)
        let bridges = links.filter { $0.kind == "bridge" }
        family(
            "cni_bridge_ports", "gauge", "Ports of a bridge.",
            bridges.map { bridge in
                let ports = links.filter { $0.master == bridge.index }.count
                return ("", [("bridge", bridge.name)], "\(ports)")
            })
        family(
            "cni_bridge_ports_limit", "gauge", "The most ports that a bridge may have.",
            [("", [], "\(Kernel.mostBridgePorts)")])
    }

    /// The bounds of the histogram, in seconds.
    private static let bounds = [
        "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "1", "10",
    ]

    private mutating func addCalls(_ calls: [LoggedCall]) {
        let kinds = Dictionary(grouping: calls) { [$0.plugin, $0.verb] }
        var samples: [(String, [(String, String)], String)] = []
        for (kind, calls) in kinds.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            let labels = [("plugin", kind[0]), ("verb", kind[1])]
            for bound in Self.bounds {
                let limit = (Double(bound) ?? 0) * 1e6
                let count = calls.filter { Double($0.microseconds) <= limit }.count
                samples.append(("_bucket", labels + [("le", bound)], "\(count)"))
            }
            samples.append(("_bucket", labels + [("le", "+Inf")], "\(calls.count)"))
            let sum = calls.reduce(0.0) { $0 + Double($1.microseconds) }
            samples.append(("_sum", labels, "\(sum / 1e6)"))
            samples.append(("_count", labels, "\(calls.count)"))
        }
        family(
            "cni_call_duration_seconds", "histogram", "How long plugins' calls took.", samples)
        let failures = Dictionary(grouping: calls.filter { $0.code != 0 }) {
            [$0.plugin, $0.verb, "\($0.code)"]
        }
        family(
            "cni_call_errors", "counter", "Calls that ended with an error.",
            failures.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }).map { kind, calls in
                (
                    "_total", [("plugin", kind[0]), ("verb", kind[1]), ("code", kind[2])],
                    "\(calls.count)"
                )
            })
    }
}
