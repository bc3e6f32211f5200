import Addressing
import CNI
import PluginRuntime

extension Portmap {
    /// The keys of the portmap plugin.
    public struct Options: Sendable {
        let mappings: [Mapping]
        let masquerades: Bool
        let masqueradesAll: Bool
        private let backend: String
        private let isForIptables: String?

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
            backend = try keys(
                "backend", default: "nftables",
                "How to map: nftables; iptables is not supported yet.")
            let bit = try keys(
                "markMasqBit", default: 13, "A bit for iptables, not needed here, 0 to 31.")
            let chain: String? = try keys(
                "externalSetMarkChain", "A chain of iptables; not supported yet.")
            let v4: [String]? = try keys(
                "conditionsV4", "Further conditions of iptables; not supported yet.")
            let v6: [String]? = try keys(
                "conditionsV6", "Further conditions of iptables; not supported yet.")
            var different: [Mapping] = []
            for entry in entries ?? [] where !different.contains(entry) { different.append(entry) }
            mappings = different
            guard (0...31).contains(bit) else {
                throw keys.invalid("markMasqBit", "MasqMarkBit must be between 0 and 31")
            }
            guard ["", "nftables", "iptables"].contains(backend) else {
                throw keys.invalid("backend", "unrecognized backend \"\(backend)\"")
            }
            isForIptables =
                if chain ?? "" != "" {
                    "externalSetMarkChain"
                } else if !(v4 ?? []).isEmpty {
                    "conditionsV4"
                } else if !(v6 ?? []).isEmpty {
                    "conditionsV6"
                } else {
                    nil
                }
        }

        init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys)
            // What another implementation has made can be removed nevertheless.
            guard call.invocation.verb != .del else { return }
            if backend == "iptables" {
                throw CNIError(.unsupportedField, "backend: iptables is not supported yet")
            }
            if let isForIptables {
                throw CNIError(.unsupportedField, "\(isForIptables): not supported yet")
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
            name = kind.lowercased()
            switch name {
            case "tcp": number = 6
            case "udp": number = 17
            case "sctp": number = 132
            default: throw keys.invalid("protocol", "unknown protocol \"\(kind)\"")
            }
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
