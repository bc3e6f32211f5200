import Addressing
import Netlink
import Nftables
import PluginRuntime

/// The rules that check senders; ports and what they may send from are elements.
enum SpoofRules {
    static let table = Table(.bridge, "cni_macspoofchk")
    /// Which chain checks a port.
    static let ports = NamedSet("ports", in: table, of: [.interfaceName], to: .verdict)
    /// The hardware addresses of each port.
    static let senders = NamedSet("senders", in: table, of: [.interfaceName, .ethernet])
    static let claims = Claims("holders", in: table, of: [.ethernet])
    /// Checks hardware addresses alone.
    static let mac = Chain("mac", in: table)
    /// Checks all addresses.
    static let addresses = Chain("addresses", in: table)

    /// Senders of a port, and the claims from which they follow.
    struct SenderMap {
        let set: NamedSet
        let claims: Claims
        /// Bytes of an address.
        let size: Int

        /// The key, in the set, of what a claim is of.
        func key(_ claim: Element) -> [UInt8]? {
            guard case .data(let bytes) = claim.value else { return nil }
            return Element.key(Array(claim.key.prefix(16)), Array(bytes.prefix(size)))
        }
    }

    /// The addresses of a family that each port may send from.
    static func sources(_ family: Family) -> SenderMap {
        let digit = family == .v4 ? "4" : "6"
        let type: DataType = family == .v4 ? .ipv4 : .ipv6
        return SenderMap(
            set: NamedSet("sources" + digit, in: table, of: [.interfaceName, type]),
            claims: Claims("holders" + digit, in: table, of: [type]), size: family.bitWidth / 8)
    }

    static var senderMaps: [SenderMap] {
        [SenderMap(set: senders, claims: claims, size: 6)] + Family.allCases.map(sources)
    }

    static var allSets: [NamedSet] { [ports] + senderMaps.flatMap { [$0.set, $0.claims.map] } }

    /// A port's hardware address.
    static func sender(_ mac: MACAddress, _ port: String, _ tag: String) -> Element {
        Element(Element.key(Element.interfaceName(port), mac.bytes), comment: tag)
    }

    /// The key of a port's address.
    static func key(_ port: String, _ address: IPAddress) -> [UInt8] {
        Element.key(Element.interfaceName(port), address.networkOrder)
    }

    /// What is not there yet.
    static func missing(
        for target: Chain, _ rules: inout Ruleset
    ) throws(KernelError) -> Batch {
        var batch = Batch()
        let wanted = chains(for: target)
        let looks = try rules.findings(wanted.map { .chain($0.chain) })
        if looks[wanted[0].chain] == nil {
            batch.add(table)
            for set in allSets { batch.add(set) }
        }
        try batch.complete(wanted, looks, &rules)
        return batch
    }

    /// The chains that a port needs which one of them checks.
    static func chains(for target: Chain) -> [(chain: Chain, rules: [Rule])] {
        chains.filter { $0.chain.hook != nil || $0.chain == target }
    }

    /// The chains and rules, in the order in which they are made.
    static var chains: [(chain: Chain, rules: [Rule])] {
        let start = Chain("prerouting", in: table, .prerouting(.filter, priority: -300))
        let check = [
            Expression.meta(.inputName, to: port),
            .map(port, by: ports.name, to: .verdict),
        ]
        let others = [isNot(.payload(.link, offset: 6, length: 6, to: afterPort), senders)]
        return [
            (start, [Rule(in: start, check)]),
            (mac, others.map { Rule(in: mac, $0) }),
            (
                addresses,
                (others + arp + ipv4 + ipv6 + [[.verdict(.drop)]]).map {
                    Rule(in: addresses, $0)
                }
            ),
        ]
    }

    private static let port = Register(word: 0)
    private static let afterPort = Register(word: 4)

    /// Drops what does not come from one of the port's senders.
    private static func isNot(_ address: Expression, _ set: NamedSet) -> [Expression] {
        [
            .meta(.inputName, to: port), address,
            .lookup(port, in: set.name, inverted: true), .verdict(.drop),
        ]
    }

    private static func isProtocol(_ number: UInt16) -> [Expression] {
        [
            .meta(.protocol, to: port),
            .compare(port, .equal, [UInt8(number >> 8), UInt8(number & 0xff)]),
        ]
    }

    /// ARP of Ethernet and IPv4 may name only the port's own addresses as sender, or, to ask whether
    /// an address is taken, none.
    private static var arp: [[Expression]] {
        let isARP = isProtocol(0x0806)
        let kind = Expression.payload(.network, offset: 0, length: 6, to: port)
        let sender = Expression.payload(.network, offset: 14, length: 4, to: afterPort)
        return [
            isARP + [kind, .compare(port, .different, [0, 1, 8, 0, 6, 4]), .verdict(.drop)],
            isARP + isNot(.payload(.network, offset: 8, length: 6, to: afterPort), senders),
            isARP + [
                sender, .compare(afterPort, .equal, [0, 0, 0, 0]), .verdict(.accept),
            ],
            isARP + isNot(sender, sources(.v4).set),
            isARP + [.verdict(.accept)],
        ]
    }

    private static var ipv4: [[Expression]] {
        let source = Expression.payload(.network, offset: 12, length: 4, to: afterPort)
        return [
            isProtocol(0x0800) + isNot(source, sources(.v4).set),
            isProtocol(0x0800) + [.verdict(.accept)],
        ]
    }

    /// A container is no router, and advertises only addresses of its own as a neighbour.
    ///
    /// A node that has no address yet asks from `::`.
    private static var ipv6: [[Expression]] {
        let isIPv6 = isProtocol(0x86dd)
        let (routerAdvertisement, redirect): (UInt8, UInt8) = (134, 137)
        let source = Expression.payload(.network, offset: 8, length: 16, to: afterPort)
        let target = Expression.payload(.transport, offset: 8, length: 16, to: afterPort)
        let none = [UInt8](repeating: 0, count: 16)
        return [
            isIPv6 + isMessage(routerAdvertisement) + [.verdict(.drop)],
            isIPv6 + isMessage(redirect) + [.verdict(.drop)],
            // Of an advertisement in parts the target cannot be seen.
            isIPv6 + isMessage(136) + [
                .isFragment(to: port), .compare(port, .equal, [1]), .verdict(.drop),
            ],
            isIPv6 + isMessage(136) + isNot(target, sources(.v6).set),
        ]
            + [135, 143].map { number in
                isIPv6 + isMessage(number) + [
                    source, .compare(afterPort, .equal, none), .verdict(.accept),
                ]
            } + [
                isIPv6 + isNot(source, sources(.v6).set),
                isIPv6 + [.verdict(.accept)],
            ]
    }

    /// Lets only ICMPv6 of a type pass.
    private static func isMessage(_ number: UInt8) -> [Expression] {
        [
            .meta(.ipProtocol, to: port), .compare(port, .equal, [58]),
            .payload(.transport, offset: 0, length: 1, to: port),
            .compare(port, .equal, [number]),
        ]
    }
}
