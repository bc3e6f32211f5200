import Addressing
import CNI
import Netlink
import Nftables
import Plan
import PluginRuntime
import Rtnetlink
import SystemPackage

/// Gives packets that leave a container's network the host's address.
///
/// The rules are the same for any number of containers: a map leads from a source address to the
/// chain of its network, and that chain masquerades what goes elsewhere. Claims say who has which
/// address. The latest who got an address counts; when he goes, and another still has it, that one.
struct Masquerade: Resource {
    /// The attachment whose addresses these are.
    let owner: Owner
    /// Its addresses with their networks; none are known at DEL.
    let addresses: [IPPrefix]

    var sharing: Sharing { .owned }
    /// An owner's elements come into being with its link; older ones are nobody's any more.
    var isExclusive: Bool { true }
    var goesFirst: Bool { true }
    var description: String {
        var list = ""
        for address in addresses { list += (list.isEmpty ? "" : ", ") + address.description }
        return "masquerade of " + (list.isEmpty ? owner.tag : list)
    }

    static let table = Table(.inet, "cni_masquerade")
    private static let start = Chain(
        "postrouting", in: table, .postrouting(.nat, priority: 100))

    func read(_ kernel: Kernel) throws(KernelError) -> Masquerade? {
        guard !addresses.isEmpty else { return self }
        return try kernel.withRules { (rules) throws(KernelError) -> Masquerade? in
            guard try Self.isWhole(Self.start, Self.startRules, &rules) else { return nil }
            let claims = try rules.claims(of: owner, in: Sets.all.map(\.claims)).joined()
            var found: [IPPrefix] = []
            for address in addresses {
                let (sets, chain) = (Sets(address.family), Self.chain(for: address))
                let source = try rules.elements([address.address.networkOrder], of: sets.sources)
                let isClaimed = claims.contains { $0.value == .data(sets.claim(address)) }
                if isClaimed, source[0] != nil,
                    try Self.isWhole(chain, Self.rules(for: address), &rules)
                {
                    found.append(address)
                }
            }
            return Masquerade(owner: owner, addresses: found)
        }
    }

    func write(_ kernel: Kernel, over found: Masquerade?) throws(KernelError) {
        guard !addresses.isEmpty else { return }
        let remove = { () throws(KernelError) in try removeClaims(kernel) }
        try kernel.replacing(former: remove) { () throws(KernelError) in
            // A look costs less than a transaction that fails, which waits 10 ms.
            try kernel.addRules(contesting: Sets.all.map(\.sources), draft)
        }
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        // What the rules were there for must not get by while the link is still there.
        try kernel.stopPort(owner.hostEnd, alias: owner.tag, in: .host)
        try removeClaims(kernel)
    }

    private func removeClaims(_ kernel: Kernel) throws(KernelError) {
        try Self.remove(from: kernel) { (rules, maps) throws(KernelError) in
            try rules.claims(of: owner, in: maps)
        }
    }

    func differences(from found: Masquerade) -> [Difference] {
        addresses.filter { !found.addresses.contains($0) }.map {
            Difference("masquerade of " + $0.description, wanted: "present", found: "absent")
        }
    }

    /// Removes what has the tags of some owners.
    static func remove(
        from kernel: Kernel, _ isStale: (String) -> Bool
    ) throws(KernelError) {
        try remove(from: kernel) { (rules, maps) throws(KernelError) in
            try rules.claims(in: maps, of: isStale)
        }
    }

    /// What shows whether an owner has any address.
    static func questions(of owner: Owner) -> [Ruleset.Question] {
        Sets.all.map { .element($0.claims.map, Claims.key(of: owner, 0)) }
    }

    /// Who has which address of a family.
    static func holders(
        _ family: Family, _ rules: inout Ruleset
    ) throws(KernelError) -> [(tag: String, address: IPAddress)] {
        let sets = Sets(family)
        return try (rules.elements(of: sets.claims.map) ?? []).compactMap { claim in
            guard let prefix = sets.prefix(claim), let tag = claim.comment else { return nil }
            return (tag, prefix.address)
        }
    }

    /// Removes claims, of each family, and what they stand for.
    private static func remove(
        from kernel: Kernel,
        _ claims: (inout Ruleset, [Claims]) throws(KernelError) -> [[Element]]
    ) throws(KernelError) {
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            let families = Sets.all
            var departure = Departure(from: table, fixed: 1 + families.flatMap(\.all).count)
            for (sets, gone) in zip(families, try claims(&rules, families.map(\.claims))) {
                try remove(gone, sets, &rules, &batch, &departure)
            }
            try departure.complete(&batch, &rules)
        }
    }

    private static func remove(
        _ gone: [Element], _ sets: Sets, _ rules: inout Ruleset, _ batch: inout Batch,
        _ departure: inout Departure
    ) throws(KernelError) {
        guard !gone.isEmpty else { return }
        batch.remove(gone, from: sets.claims.map)
        let prefixes = gone.compactMap(sets.prefix)
        let found = try rules.findings(
            prefixes.flatMap {
                [
                    .element(sets.sources, $0.address.networkOrder),
                    .element(sets.shared, $0.address.networkOrder),
                ]
            })
        let tags = Set(gone.compactMap(\.comment))
        var (sources, shared): ([Element], [Element]) = ([], [])
        for prefix in prefixes {
            departure.note(chain(for: prefix), Self.rules(for: prefix), verdicts: 0)
            let key = prefix.address.networkOrder
            if let others = found[sets.shared, key], !shared.contains(others) {
                shared.append(others)
            }
            guard let source = found[sets.sources, key], !sources.contains(source),
                let owner = source.comment, tags.contains(owner)
            else { continue }
            sources.append(source)
            if let name = source.chain {
                departure.note(Chain(name, in: table), [], verdicts: 1)
            }
        }
        batch.remove(sources, from: sets.sources)
        guard !shared.isEmpty else { return }
        let keys = Set(gone.map(\.key))
        let left = try rules.elements(of: sets.claims.map)?.filter { !keys.contains($0.key) } ?? []
        for address in shared {
            let heirs = left.filter { sets.prefix($0)?.address.networkOrder == address.key }
            if heirs.count < 2 { batch.remove([address], from: sets.shared) }
            guard sources.contains(where: { $0.key == address.key }), let heir = heirs.last,
                let prefix = sets.prefix(heir)
            else { continue }
            let network = chain(for: prefix)
            if try !rules.has(network) {
                batch.add(network, exclusively: true)
                for rule in Self.rules(for: prefix) { batch.add(rule) }
            } else {
                departure.note(network, Self.rules(for: prefix), verdicts: -1)
            }
            batch.add([source(prefix, of: heir.comment)], to: sets.sources)
        }
    }

    /// Everything that is missing.
    private func draft(_ rules: inout Ruleset) throws(KernelError) -> Batch {
        var batch = Batch()
        var networks: [(chain: Chain, rules: [Rule])] = []
        for address in addresses {
            let chain = Self.chain(for: address)
            guard !networks.contains(where: { $0.chain == chain }) else { continue }
            networks.append((chain, Self.rules(for: address)))
        }
        let looks = try rules.findings(
            [.chain(Self.start)] + networks.map { .chain($0.chain) }
                + addresses.map {
                    .element(Sets($0.family).sources, $0.address.networkOrder)
                })
        if looks[Self.start] == nil {
            batch.add(Self.table)
            for set in Sets.all.flatMap(\.all) { batch.add(set) }
        }
        try batch.complete([(Self.start, Self.startRules)] + networks, looks, &rules)
        for sets in Sets.all {
            let own = addresses.filter { $0.family == sets.family }
            let claims = own.enumerated().map { number, address in
                sets.claims.element(number, sets.claim(address), of: owner)
            }
            batch.add(claims, to: sets.claims.map)
        }
        for address in addresses {
            let sets = Sets(address.family)
            let source = Self.source(address, of: owner.tag)
            let former = looks[sets.sources, source.key]
            guard source != former else { continue }
            if let former {
                batch.remove([former], from: sets.sources)
                if former.comment != owner.tag {
                    batch.add([Element(source.key)], to: sets.shared)
                }
            }
            batch.add([source], to: sets.sources, exclusively: true)
        }
        return batch
    }

    private static func source(_ address: IPPrefix, of tag: String?) -> Element {
        Element(
            address.address.networkOrder, .verdict(.goto(chain(for: address).name)), comment: tag)
    }

    private static func isWhole(
        _ chain: Chain, _ wanted: [Rule], _ rules: inout Ruleset
    ) throws(KernelError) -> Bool {
        try rules.rules(of: chain) == wanted.map(\.names)
    }

    private static func chain(for address: IPPrefix) -> Chain {
        Chain("net-" + address.network.nameInRules, in: table)
    }

    private static var startRules: [Rule] {
        Family.allCases.map { family in
            Rule(
                in: start,
                family.isThePackets + [
                    .payload(
                        .network, offset: family.sourceOffset, length: family.bitWidth / 8,
                        to: Register(word: 0)),
                    .map(Register(word: 0), by: Sets(family).sources.name, to: .verdict),
                ])
        }
    }

    private static func rules(for address: IPPrefix) -> [Rule] {
        let (chain, family) = (chain(for: address), address.family)
        let spared = [address.network, family.multicast].map { network in
            Rule(in: chain, family.isThePackets + network.isTheDestination + [.verdict(.return)])
        }
        return spared + [Rule(in: chain, [.masquerade])]
    }

    /// The sets of a family.
    private struct Sets {
        let family: Family
        /// The way of an address's packets.
        let sources: NamedSet
        /// The addresses that several have.
        let shared: NamedSet
        /// Who has which address, and how long its network's prefix is.
        let claims: Claims

        init(_ family: Family) {
            let digit = family == .v4 ? "4" : "6"
            let type: DataType = family == .v4 ? .ipv4 : .ipv6
            self.family = family
            sources = NamedSet("sources" + digit, in: table, of: [type], to: .verdict)
            shared = NamedSet("shared" + digit, in: table, of: [type])
            claims = Claims("holders" + digit, in: table, of: [type, .mark])
        }

        static var all: [Sets] { Family.allCases.map(Sets.init) }

        var all: [NamedSet] { [sources, shared, claims.map] }

        /// The value of a claim.
        func claim(_ address: IPPrefix) -> [UInt8] {
            address.address.networkOrder + Claims.word(UInt32(address.length))
        }

        /// The address that a claim is of, with its network.
        func prefix(_ claim: Element) -> IPPrefix? {
            let size = family.bitWidth / 8
            guard case .data(let bytes) = claim.value, bytes.count == size + 4 else { return nil }
            return IPAddress(networkOrder: bytes.prefix(size)).flatMap {
                IPPrefix($0, length: Int(Claims.number(bytes.suffix(4))))
            }
        }
    }
}

extension Attachment {
    /// What masquerades the attachment's traffic; at DEL, when no addresses are known, by either way, and what
    /// else of rules there may be that the configuration no longer asks for.
    func masquerade(
        _ options: MasqueradeOptions, mayHaveCheck: Bool = false
    ) -> [any Resource<Kernel>] {
        guard !isForeign else { return [] }
        // Only DEL knows no hardware address.
        let isGoing = addresses.isEmpty && mac == nil
        let former = FormerRules(owner: owner, masquerade: !options.isOn, check: mayHaveCheck)
        let others: [any Resource<Kernel>] =
            isGoing && (former.masquerade || former.check) ? [former] : []
        guard options.isOn else { return others }
        let prefixes = addresses.map(\.address)
        if prefixes.isEmpty {
            return others + [
                Masquerade(owner: owner, addresses: []),
                IPTablesRules(owner: owner, kind: .masquerade),
            ]
        }
        guard !options.usesIPTables else {
            return [IPTablesRules(masquerading: prefixes, of: owner)]
        }
        // The same address in two networks is masqueraded as one of the first.
        var distinct: [IPPrefix] = []
        for prefix in prefixes
        where !distinct.contains(where: { $0.address == prefix.address }) {
            distinct.append(prefix)
        }
        return [Masquerade(owner: owner, addresses: distinct)]
    }
}
