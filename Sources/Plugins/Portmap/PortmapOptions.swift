import Addressing
import CNI
import PluginRuntime

extension Portmap {
    /// The keys of the portmap plugin.
    public struct Options: Sendable {
        let mappings: [Mapping]
        let masquerades: Bool
        let masqueradesAll: Bool
        private var backend: String
        /// The addresses of the result that DEL is given.
        private(set) var formerAddresses: [IPAddress] = []
        /// The bit of the mark by which iptables finds what to masquerade.
        let markBit: Int
        /// The chain of somebody else's that marks what is to be masqueraded.
        let markChain: String?
        private let hasMarkBit: Bool
        private let conditionWords: [Family: [String]]
        /// What connections of a family must be like.
        private(set) var conditions: [Family: PortConditions] = [:]

        /// The mappings for connections of a family, as far as these can meet the conditions.
        func mappings(of family: Family) -> [Mapping] {
            mappings.filter { $0.isFor(family) && conditions[family]?.admit($0.number) ?? true }
        }

        init(_ keys: inout Keys) throws(CNIError) {
            let entries =
                try keys.object(
                    "runtimeConfig", "What the runtime fills in for this container.",
                    { (keys: inout Keys) throws(CNIError) in
                        try keys.list(
                            "portMappings", "The ports of the host that lead to the container.",
                            Mapping.init)
                    }) ?? nil
            masquerades = try keys(
                "snat", default: true,
                "Lets the host and the container's own network use the ports too.")
            masqueradesAll = try keys(
                "masqAll", default: false, "Hides the source address of every connection.")
            let backend = try keys(
                "backend", default: "",
                "How to map: nftables, which is also the default, or iptables.")
            let bit: Int? = try keys(
                "markMasqBit",
                "The bit of a packet's mark by which iptables finds what to masquerade, 0 to 31; "
                    + "13 without it.")
            let chain: String? = try keys(
                "externalSetMarkChain",
                "A chain of iptables, made by somebody else, that marks what is to be "
                    + "masqueraded.")
            conditionWords = [
                .v4: try keys(
                    "conditionsV4",
                    "What connections over IPv4 must be like: arguments of iptables, or an "
                        + "expression of nft.") ?? [],
                .v6: try keys("conditionsV6", "The same for IPv6.") ?? [],
            ]
            var different: [Mapping] = []
            for entry in entries ?? [] where !different.contains(entry) { different.append(entry) }
            mappings = different
            guard (0...31).contains(bit ?? Self.standardBit) else {
                throw keys.invalid("markMasqBit", "MasqMarkBit must be between 0 and 31")
            }
            guard ["", "nftables", "iptables"].contains(backend) else {
                throw keys.invalid("backend", "unrecognized backend \"\(backend)\"")
            }
            markBit = bit ?? Self.standardBit
            markChain = chain.flatMap { $0.isEmpty ? nil : $0 }
            hasMarkBit = bit != nil
            self.backend = backend
        }

        /// Whether the rules are to be those of iptables.
        package var usesIPTables: Bool {
            backend == "iptables" || (backend.isEmpty && markChain != nil)
        }

        /// Whether the configuration says how to map.
        var isToldBackend: Bool { !backend.isEmpty }

        /// The same, by iptables.
        var byIPTables: Options {
            var options = self
            options.backend = "iptables"
            return options
        }

        /// The bit that the reference has: Kubernetes has 14 and 15, Calico 20 to 31.
        private static let standardBit = 13

        /// Each backend has keys and a language that the other one has not.
        private func checkBackend(_ keys: Keys) throws(CNIError) {
            guard markChain == nil || !hasMarkBit else {
                throw keys.invalid(
                    "externalSetMarkChain", "Cannot specify externalSetMarkChain and markMasqBit")
            }
            var others: [String] = []
            if backend == "nftables", markChain != nil { others.append("externalSetMarkChain") }
            for (key, family) in Self.conditionKeys {
                let words = conditionWords[family] ?? []
                guard !backend.isEmpty || usesIPTables, !words.isEmpty,
                    PortConditionReader.isForIPTables(words) != usesIPTables
                else { continue }
                others.append(key)
            }
            guard let first = others.first else { return }
            let (one, other) =
                usesIPTables ? ("iptables", "nftables") : ("nftables", "iptables")
            throw keys.invalid(
                first,
                "\(one) backend was requested but configuration contains \(other)-specific options "
                    + "[\(others.joined(separator: " "))]")
        }

        private static let conditionKeys: [(String, Family)] = [
            ("conditionsV4", .v4), ("conditionsV6", .v6),
        ]

        init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys)
            // DEL removes whatever there is.
            guard call.invocation.verb != .del else {
                formerAddresses = call.formerAddresses
                return
            }
            try checkBackend(keys)
            for (key, family) in Self.conditionKeys {
                do throws(PortConditionReader.Complaint) {
                    conditions[family] = try PortConditionReader.read(
                        conditionWords[family] ?? [], family)
                } catch {
                    throw keys.invalid("\(key)[\(error.index)]", error.text)
                }
            }
        }
    }

    /// A port of the host that leads to a port of the container.
    struct Mapping: Sendable, Equatable {
        let hostPort: UInt16
        let containerPort: UInt16
        /// The protocol's number, and its name for people.
        let number: UInt8
        let name: String
        /// The address of the host, if only one leads to the container.
        let address: IPAddress?
        /// The family that connections must be of, if it matters.
        let family: Family?

        init(_ keys: inout Keys) throws(CNIError) {
            let (host, container): (Int, Int) = (
                try keys("hostPort", default: 0, "The port of the host, 1 to 65535."),
                try keys("containerPort", default: 0, "The port of the container, 1 to 65535.")
            )
            let kind = try keys("protocol", default: "tcp", "The protocol: tcp, udp or sctp.")
            let text = try keys(
                "hostIP", default: "", "The address of the host; all of them when empty.")
            guard let inner = UInt16(exactly: container), inner > 0 else {
                throw keys.invalid(
                    "containerPort", "Invalid container port number: \(container)")
            }
            guard let outer = UInt16(exactly: host), outer > 0 else {
                throw keys.invalid("hostPort", "Invalid host port number: \(host)")
            }
            (hostPort, containerPort) = (outer, inner)
            guard let transport = Transport(rawValue: kind.lowercased()) else {
                throw keys.invalid("protocol", "unknown protocol \"\(kind)\"")
            }
            (name, number) = (transport.rawValue, transport.number)
            let parsed = IPAddress(text)
            guard text.isEmpty || parsed != nil else {
                throw keys.invalid("hostIP", "not an IP address: \"\(text)\"")
            }
            family = parsed?.family
            // The unspecified address stands for all of its family.
            address = parsed.flatMap { $0.bits == 0 ? nil : $0 }
        }
    }
}
