import Addressing
import Nftables
import PluginRuntime

/// The rules that lead ports of the host to containers; containers are elements of the maps.
enum PortRules {
    static let table = Table(.inet, "cni_portmap")
    private static let local = Chain("mapped", in: table)
    /// Hides every source.
    static let everything = Chain("hidden", in: table)
    /// Hides no source.
    static let nothing = Chain("plain", in: table)
    /// The chains that elements lead to, besides those of the networks.
    static let targets = [everything, nothing]

    /// After those who translate at the usual place: a service's address is theirs, even where it
    /// is the host's as well.
    private static let afterOthers = -95

    private static let guardian = Chain("guard", in: table, .prerouting(.filter, priority: -300))
    private static let incoming = Chain(
        "prerouting", in: table, .prerouting(.nat, priority: afterOthers))
    private static let own = Chain("output", in: table, .output(.nat, priority: afterOthers))
    private static let leaving = Chain(
        "postrouting", in: table, .postrouting(.nat, priority: 100))

    /// The chains that are there for all, in the order in which they are made, with what makes their rules:
    /// of most calls only the chains are asked for.
    private static let parts: [(chain: Chain, size: Size, rules: @Sendable () -> [Rule])] = [
        (local, Size(rules: 8, references: 2), { Family.allCases.flatMap(translations) }),
        (everything, Size(rules: 1), { [Rule(in: everything, [.masquerade])] }),
        (nothing, Size(rules: 1), { [Rule(in: nothing, [.verdict(.accept)])] }),
        (guardian, Size(rules: 2), { loopbacks.map { Rule(in: guardian, $0) } }),
        (
            incoming, Size(rules: 1),
            { [Rule(in: incoming, isLocal + [.verdict(.jump(local.name))])] }
        ),
        (own, Size(rules: 1), { [Rule(in: own, isLocal + [.verdict(.jump(local.name))])] }),
        (leaving, Size(rules: 14), { Family.allCases.flatMap { sources($0, leaving) } }),
    ]

    /// How many rules a chain has, and how many rules lead to it if no element does.
    struct Size: Sendable {
        let rules: Int
        var references: Int?
    }

    /// The chains that are there for all.
    static var fixedChains: [Chain] { parts.map(\.chain) }

    /// The chains that are there for all, with what shows whether they are whole.
    static var sizes: [(chain: Chain, size: Size)] { parts.map { ($0.chain, $0.size) } }

    /// Those chains, or some of them, with their rules.
    static func chains(
        _ isWanted: (Chain) -> Bool = { _ in true }
    ) -> [(chain: Chain, rules: [Rule])] {
        parts.filter { isWanted($0.chain) }.map { part in
            let rules = part.rules()
            assert(rules.count == part.size.rules, "\(part.chain)")
            return (part.chain, rules)
        }
    }

    /// With `route_localnet` the kernel no longer drops what comes from elsewhere and is from or to
    /// 127.0.0.0/8; these rules do.
    private static var loopbacks: [[Expression]] {
        let isFromElsewhere: [Expression] =
            [
                .meta(.inputName, to: first),
                .compare(first, .different, Element.interfaceName("lo")),
            ] + Family.v4.isThePackets
        return [loopback.isTheDestination, loopback.isTheSource].map {
            isFromElsewhere + $0 + [.verdict(.drop)]
        }
    }

    private static var loopback: IPPrefix {
        IPPrefix(IPAddress(.v4, bits: 0x7f00_0000), length: 8) ?? IPPrefix(everythingIn: .v4)
    }

    /// The chain that hides the sources with which replies would not come back to the host.
    static func chain(for address: IPPrefix) -> Chain {
        Chain("net-" + address.network.nameInRules, in: table)
    }

    /// The rules of a network's chain.
    static func rules(for address: IPPrefix) -> [Rule] {
        let chain = chain(for: address)
        // What comes from ::1 cannot leave the host at all.
        let sources = [address.network] + (address.family == .v4 ? [loopback] : [])
        return sources.map { network in
            Rule(in: chain, address.family.isThePackets + network.isTheSource + [.masquerade])
        }
    }

    /// The chain that lets only connections pass that meet a network's conditions.
    ///
    /// Networks that ask for the same share it.
    static func chain(
        for conditions: PortConditions, _ family: Family, isForAny: Bool
    ) -> Chain {
        let digits = hashDigits(of: "\(family.bitWidth) " + conditions.text)
        return Chain("if-" + digits + (isForAny ? "" : "-one"), in: table)
    }

    /// The key, in the map of each owner's conditions, of those for ports of all addresses, or of one.
    static func conditionKey(_ link: [UInt8], isForAny: Bool) -> [UInt8] {
        // No link has a name with a stroke.
        isForAny ? link : [UInt8(ascii: "/")] + link.dropFirst()
    }

    /// The rules of such a chain: who meets the conditions goes back to be translated, who does not
    /// may meet those of another who waits for the port, or is none of ours; where the port is of one
    /// address, he may be another's who has it on all.
    static func rules(
        for conditions: PortConditions, _ family: Family, isForAny: Bool
    ) -> [Rule] {
        let chain = chain(for: conditions, family, isForAny: isForAny)
        let sets = Sets(family)
        let (one, any) = (key(family, isForAny: false), key(family, isForAny: true))
        let lead = { (map: NamedSet) in [Expression.map(first, by: map.name, to: .verdict)] }
        let others =
            isForAny
            ? [one + lead(sets.oneQueue), any + lead(sets.anyQueue)]
            : [
                one + lead(sets.oneQueue), any + lead(sets.anyCondition),
                any + [.map(first, by: sets.any.name, to: first), translation(family)],
            ]
        return
            ([conditions.all.flatMap(\.expressions) + [.verdict(.return)]]
            + others.map { family.isThePackets + $0 } + [[.verdict(.accept)]])
            .map { Rule(in: chain, $0) }
    }

    /// Rules of any network, which are to be counted: as many as any network has.
    static var rulesOfNetwork: [Rule] { rules(for: .none, .v4, isForAny: false) }

    /// A port that somebody wants to lead to a container.
    struct Claim {
        /// The host's address, or the unspecified one; the protocol; the port.
        let port: [UInt8]
        /// The container's address and port.
        let target: [UInt8]
        let isForAny: Bool

        /// The key of the mapping's elements.
        var key: [UInt8] { isForAny ? Array(port.suffix(8)) : port }
        /// The protocol's number.
        var protocolNumber: UInt8 { port[port.count - 8] }
        /// The port of the host.
        var hostPort: UInt16 { UInt16(port[port.count - 4]) << 8 | UInt16(port[port.count - 3]) }
        /// The container's address.
        var address: [UInt8] { Array(target.dropLast(4)) }
        /// The claim's value.
        var bytes: [UInt8] { port + target }

        init(_ mapping: Portmap.Mapping, to address: IPAddress) {
            let (outer, inner) = (mapping.hostPort, mapping.containerPort)
            let host = mapping.address ?? address.family.any
            isForAny = mapping.address == nil
            port = Element.key(
                host.networkOrder, [mapping.number], outer.networkOrder)
            target = Element.key(
                address.networkOrder, inner.networkOrder)
        }

        init?(_ bytes: [UInt8], _ family: Family) {
            let size = family.bitWidth / 8
            guard bytes.count == 2 * size + 12 else { return nil }
            port = Array(bytes.prefix(size + 8))
            target = Array(bytes.suffix(size + 4))
            isForAny = bytes.prefix(size).allSatisfy { $0 == 0 }
        }
    }

    /// The maps of a family.
    struct Sets {
        let family: Family
        let any: NamedSet
        let one: NamedSet
        let anySource: NamedSet
        let oneSource: NamedSet
        /// Who wants which port.
        let claims: Claims
        /// Which sources to hide for whom.
        let networks: NamedSet
        /// The ports that several want.
        let contested: NamedSet
        /// What connections must be like, by their port.
        let anyCondition: NamedSet
        let oneCondition: NamedSet
        /// What connections must be like for whom.
        let conditions: NamedSet
        /// Who else wants a port, by the port.
        let anyQueue: NamedSet
        let oneQueue: NamedSet
        /// Which sources to hide from containers that wait for a port.
        let waiting: NamedSet

        init(_ family: Family) {
            let digit = family == .v4 ? "4" : "6"
            let address: DataType = family == .v4 ? .ipv4 : .ipv6
            let (any, one): ([DataType], [DataType]) = (
                [.ipProtocol, .port], [address, .ipProtocol, .port]
            )
            self.family = family
            self.any = NamedSet("any" + digit, in: table, of: any, to: .data([address, .port]))
            self.one = NamedSet("one" + digit, in: table, of: one, to: .data([address, .port]))
            anySource = NamedSet("any" + digit + "_source", in: table, of: any, to: .verdict)
            oneSource = NamedSet("one" + digit + "_source", in: table, of: one, to: .verdict)
            claims = Claims("holders" + digit, in: table, of: one + [address, .port])
            networks = NamedSet(
                "networks" + digit, in: table, of: [.interfaceName], to: .verdict)
            contested = NamedSet("contested" + digit, in: table, of: one)
            anyCondition = NamedSet("any" + digit + "_condition", in: table, of: any, to: .verdict)
            oneCondition = NamedSet("one" + digit + "_condition", in: table, of: one, to: .verdict)
            conditions = NamedSet(
                "conditions" + digit, in: table, of: [.interfaceName], to: .verdict)
            anyQueue = NamedSet("any" + digit + "_queue", in: table, of: any, to: .verdict)
            oneQueue = NamedSet("one" + digit + "_queue", in: table, of: one, to: .verdict)
            waiting = NamedSet("waiting" + digit, in: table, of: [address], to: .verdict)
        }

        static var all: [Sets] { Family.allCases.map(Sets.init) }

        var all: [NamedSet] {
            [
                any, one, anySource, oneSource, claims.map, networks, contested, anyCondition,
                oneCondition, conditions, anyQueue, oneQueue, waiting,
            ]
        }

        /// The maps that a claim's elements are in.
        func maps(
            _ claim: Claim
        ) -> (targets: NamedSet, sources: NamedSet, conditions: NamedSet, queues: NamedSet) {
            claim.isForAny
                ? (any, anySource, anyCondition, anyQueue)
                : (one, oneSource, oneCondition, oneQueue)
        }

        /// What a claim is of.
        func claim(_ element: Element) -> Claim? {
            guard case .data(let bytes) = element.value else { return nil }
            return Claim(bytes, family)
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

    /// Loads what the keys of a family's maps are made of.
    private static func key(_ family: Family, isForAny: Bool) -> [Expression] {
        let words = isForAny ? 0 : family.bitWidth / 32
        return (isForAny ? [] : [destination(family)]) + [
            .meta(.ipProtocol, to: Register(word: words)),
            .payload(.transport, offset: 2, length: 2, to: Register(word: words + 1)),
        ]
    }

    private static func destination(_ family: Family) -> Expression {
        let size = family.bitWidth / 8
        return .payload(
            .network, offset: family.sourceOffset + size, length: size, to: first)
    }

    /// Translates to the address and the port that have been loaded.
    private static func translation(_ family: Family, port: Register? = nil) -> Expression {
        .destinationNAT(
            family == .v4 ? .ip : .ip6, address: first,
            port: port ?? Register(word: family.bitWidth / 32))
    }

    private static func translations(_ family: Family) -> [Rule] {
        let sets = Sets(family)
        let (one, any) = (key(family, isForAny: false), key(family, isForAny: true))
        let check = { (map: NamedSet) in [Expression.map(first, by: map.name, to: .verdict)] }
        let target = { (map: NamedSet) in
            [Expression.map(first, by: map.name, to: first), translation(family)]
        }
        return [
            one + check(sets.oneCondition), one + target(sets.one),
            any + check(sets.anyCondition), any + target(sets.any),
        ].map { Rule(in: local, family.isThePackets + $0) }
    }

    /// The chain of those who wait for a port.
    static func queue(_ claim: Claim, _ family: Family) -> Chain {
        let port = claim.port.map { String($0) }.joined(separator: " ")
        return Chain("queue-" + hashDigits(of: "\(family.bitWidth) " + port), in: table)
    }

    /// Leads connections that meet the conditions of one who waits for a port to him.
    static func rule(
        for claim: Claim, _ conditions: PortConditions, _ family: Family, of tag: String
    ) -> Rule {
        let size = family.bitWidth / 8
        // As `nft` reads its listing: it wants the protocol before a port, which gets a register of its own.
        let port = Register(word: 4)
        return Rule(
            in: queue(claim, family), owner: tag,
            [
                .meta(.ipProtocol, to: first),
                .compare(first, .equal, [claim.protocolNumber]),
            ] + conditions.all.flatMap(\.expressions) + [
                .immediate(claim.address, to: first),
                .immediate(Array(claim.target.dropFirst(size).prefix(2)), to: port),
                translation(family, port: port),
            ])
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
        let waiting: [Expression] = [
            PortRules.destination(family), .map(first, by: sets.waiting.name, to: .verdict),
        ]
        // A rule for each protocol, since `nft` only then reads the port where it is listed; and in the first
        // the family comes where `nft` puts it.
        return [Rule(in: chain, isTranslated + family.isThePackets + waiting)]
            + [one, any].flatMap { lookup in
                Transport.allCases.map { transport in
                    Rule(
                        in: chain,
                        family.isThePackets
                            + [proto(0), .compare(first, .equal, [transport.number])]
                            + isTranslated + lookup)
                }
            }
    }
}
