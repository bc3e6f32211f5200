import Addressing
import CNI
import Glibc
import TrafficControl

extension Bandwidth {
    /// An object of `classes`: some of a container's packets, with numbers of their own.
    struct ClassKeys: Sendable {
        let name: String
        let cidrs: [IPPrefix]
        let protocols: [UInt8]
        let ports: [ClosedRange<UInt16>]
        let localPorts: [ClosedRange<UInt16>]
        let egress: Share?
        let ingress: Share?

        /// Protocols by their names; ICMP's is another one in IPv6.
        private static let known: [(name: String, numbers: [UInt8])] =
            Transport.allCases.map { ($0.rawValue, [$0.number]) }
            + [("icmp", [UInt8(IPPROTO_ICMP), UInt8(IPPROTO_ICMPV6)])]
        private static let withPorts = Transport.allCases.map(\.number)

        init(_ keys: inout Keys) throws(CNIError) {
            let name: String? = try keys("name", "The class's name, the container's own.")
            cidrs = try keys("cidrs", default: [], "The networks of the far end; without it all.")
            let transport: String? = try keys(
                "protocol", "tcp, udp, sctp or icmp; without it all, or those that have ports.")
            let ports: [PortRange] = try keys(
                "ports", default: [], "The ports of the far end; without it all.")
            let localPorts: [PortRange] = try keys(
                "localPorts", default: [], "The container's own ports; without it all.")
            egress = try keys.object("egress", "What the container sends of it.", Share.init)
            ingress = try keys.object("ingress", "What it receives of it.", Share.init)
            self.ports = ports.map(\.range)
            self.localPorts = localPorts.map(\.range)
            guard let name else { throw keys.invalid("name", "missing") }
            try requirePlain(name, "name", keys)
            self.name = name
            let hasPorts = !ports.isEmpty || !localPorts.isEmpty
            if let transport {
                let found = Self.known.first { $0.name == transport }
                guard let found, !hasPorts || Self.withPorts.contains(found.numbers[0]) else {
                    throw keys.invalid(
                        "protocol",
                        "\"\(transport)\" is not "
                            + (hasPorts ? "tcp, udp or sctp" : "tcp, udp, sctp or icmp"))
                }
                protocols = found.numbers
            } else {
                protocols = hasPorts ? Self.withPorts : []
            }
            guard !cidrs.isEmpty || !protocols.isEmpty else {
                throw keys.invalid(
                    "cidrs", "neither cidrs nor protocol, ports or localPorts are set")
            }
            guard egress != nil || ingress != nil else {
                throw keys.invalid("egress", "neither egress nor ingress is set")
            }
        }

        subscript(_ direction: Direction) -> Share? { direction == .egress ? egress : ingress }

        /// Its packets, with the class they get.
        func selection(_ id: ClassID) -> Selection {
            var selection = Selection(id)
            selection.prefixes = cidrs
            selection.protocols = protocols
            selection.ports = ports
            selection.localPorts = localPorts
            return selection
        }
    }

    /// A port, or from one to another.
    private struct PortRange: ConfigurationValue, CustomStringConvertible {
        static let typeName = "a port or a range of ports"
        let range: ClosedRange<UInt16>

        init?(_ json: JSON) {
            if let number = Int(json) {
                guard let port = UInt16(exactly: number), port > 0 else { return nil }
                range = port...port
            } else {
                let ends = (json.text ?? "").split(
                    separator: "-", omittingEmptySubsequences: false)
                let ports = ends.compactMap { UInt16($0) }
                guard (1...2).contains(ends.count), ports.count == ends.count,
                    let first = ports.first, let last = ports.last, first > 0, first <= last
                else { return nil }
                range = first...last
            }
        }

        var description: String { "\(range.lowerBound)-\(range.upperBound)" }
    }
}
