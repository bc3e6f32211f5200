import Addressing
import Nftables

/// The rules that lead ports of the host to containers; containers are elements of the maps.
enum PortRules {
    private static let table = PortMappings.table
    private static let local = Chain("mapped", in: table)
    /// Hides every source.
    static let everything = Chain("masquerade", in: table)

    /// The chains and rules that are there for all, in the order in which they are made.
    static var chains: [(chain: Chain, rules: [Rule])] {
        let incoming = Chain("prerouting", in: table, .prerouting(.nat, priority: -100))
        let own = Chain("output", in: table, .output(.nat, priority: -100))
        let leaving = Chain("postrouting", in: table, .postrouting(.nat, priority: 100))
        return [
            (local, Family.allCases.flatMap(translations)),
            (everything, [Rule(in: everything, [.masquerade])]),
            (incoming, [Rule(in: incoming, isLocal + [.verdict(.jump(local.name))])]),
            (own, [Rule(in: own, isLocal + [.verdict(.jump(local.name))])]),
            (leaving, Family.allCases.flatMap { sources($0, leaving) }),
        ]
    }

    /// The chain that hides the sources with which replies would not come back to the host.
    static func chain(for address: IPPrefix) -> Chain {
        Chain("net-" + address.network.nameInRules, in: table)
    }

    /// The rules of a network's chain.
    static func rules(for address: IPPrefix) -> [Rule] {
        let chain = chain(for: address)
        // What comes from ::1 cannot leave the host at all.
        let loopback = address.family == .v4 ? IPPrefix("127.0.0.0/8") : nil
        return [address.network, loopback].compactMap { $0 }.map { network in
            Rule(in: chain, address.family.isThePackets + network.isTheSource + [.masquerade])
        }
    }

    static var allSets: [NamedSet] {
        Family.allCases.flatMap { (family) -> [NamedSet] in
            let sets = Sets(family)
            return [sets.any, sets.one, sets.anySource, sets.oneSource]
        }
    }

    /// The maps of a family.
    struct Sets {
        let any: NamedSet
        let one: NamedSet
        let anySource: NamedSet
        let oneSource: NamedSet

        init(_ family: Family) {
            let digit = family == .v4 ? "4" : "6"
            let address: DataType = family == .v4 ? .ipv4 : .ipv6
            let (any, one): ([DataType], [DataType]) = (
                [.ipProtocol, .port], [address, .ipProtocol, .port]
            )
            let target = NamedSet.Value.data([address, .port])
            self.any = NamedSet("any" + digit, in: table, of: any, to: target)
            self.one = NamedSet("one" + digit, in: table, of: one, to: target)
            anySource = NamedSet("any" + digit + "_source", in: table, of: any, to: .verdict)
            oneSource = NamedSet("one" + digit + "_source", in: table, of: one, to: .verdict)
        }
    }

    private static let first = Register(word: 0)

    /// Lets only packets to the host's own addresses pass: RTN_LOCAL.
    private static let isLocal: [Expression] = [
        .destinationType(to: first), .compare(first, .equal, [2, 0, 0, 0]),
    ]

    /// Lets only packets of connections with a translated destination pass: IPS_DST_NAT.
    private static let isTranslated: [Expression] = [
        .conntrack(.status, to: first),
        .bitwise(first, mask: [0x20, 0, 0, 0], flip: [0, 0, 0, 0], to: first),
        .compare(first, .different, [0, 0, 0, 0]),
    ]

    private static func translations(_ family: Family) -> [Rule] {
        let (sets, size) = (Sets(family), family.bitWidth / 8)
        let address = Expression.payload(
            .network, offset: family.sourceOffset + size, length: size, to: first)
        let port = { (word: Int) in
            Expression.payload(.transport, offset: 2, length: 2, to: Register(word: word))
        }
        let translate = Expression.destinationNAT(
            family == .v4 ? .ip : .ip6, address: first, port: Register(word: size / 4))
        let proto = { (word: Int) in Expression.meta(.ipProtocol, to: Register(word: word)) }
        let one = [
            address, proto(size / 4), port(size / 4 + 1),
            .map(first, by: sets.one.name, to: first), translate,
        ]
        let any = [proto(0), port(1), .map(first, by: sets.any.name, to: first), translate]
        return [one, any].map { Rule(in: local, family.isThePackets + $0) }
    }

    private static func sources(_ family: Family, _ chain: Chain) -> [Rule] {
        let (sets, words) = (Sets(family), family.bitWidth / 32)
        let destination: Expression.Conntrack =
            family == .v4 ? .originalDestination : .originalDestination6
        let proto = { (word: Int) in Expression.meta(.ipProtocol, to: Register(word: word)) }
        let port = { (word: Int) in
            Expression.conntrack(.originalPort, to: Register(word: word))
        }
        let one = [
            .conntrack(destination, to: first), proto(words), port(words + 1),
            .map(first, by: sets.oneSource.name, to: .verdict),
        ]
        let any = [proto(0), port(1), .map(first, by: sets.anySource.name, to: .verdict)]
        return [one, any].map {
            Rule(in: chain, family.isThePackets + isTranslated + $0)
        }
    }
}
