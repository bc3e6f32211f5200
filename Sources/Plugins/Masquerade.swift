import Addressing
import Netlink
import Nftables
import Plan
import PluginRuntime
import Rtnetlink
import SystemPackage

/// Gives packets that leave a container's network the host's address.
///
/// The rules are the same for any number of containers: a map leads from a source address to the
/// chain of its network, and that chain masquerades what goes elsewhere. A second map says who
/// has which address. Only when the last who has an address goes does the address leave the first.
struct Masquerade: Resource {
    /// The attachment whose addresses these are.
    let owner: Owner
    /// Its addresses with their networks; none are known at DEL.
    let addresses: [IPPrefix]

    var sharing: Sharing { .owned }
    /// An owner's elements come into being once, with its link.
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
            var found: [IPPrefix] = []
            for address in addresses {
                let sets = Sets(address.family)
                let keys = [sets.holder(address.address, owner), address.address.networkOrder]
                let holder = try rules.elements([keys[0]], of: sets.holders)[0]
                let source = try rules.elements([keys[1]], of: sets.sources)[0]
                let chain = Self.chain(for: address)
                let isHeld = holder?.value == .verdict(.goto(chain.name)) && source != nil
                if isHeld, try Self.isWhole(chain, Self.rules(for: address), &rules) {
                    found.append(address)
                }
            }
            return Masquerade(owner: owner, addresses: found)
        }
    }

    func write(_ kernel: Kernel, over found: Masquerade?) throws(KernelError) {
        guard !addresses.isEmpty else { return }
        try kernel.addRules { (rules) throws(KernelError) in
            // A look costs less than a transaction that fails, which waits 10 ms.
            var batch = try structure(&rules)
            try displace(&rules, &batch)
            add(to: &batch)
            return batch
        }
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        let tag = owner.tag
        // What the rules were there for must not get by while the link is still there.
        try kernel.stopPort(owner.hostEnd, alias: tag, in: .host)
        if try !Self.remove(from: kernel, { $0 == tag }) {
            try ReferenceRules.masquerade.remove(of: owner, from: kernel)
        }
    }

    func differences(from found: Masquerade) -> [Difference] {
        addresses.filter { !found.addresses.contains($0) }.map {
            Difference("masquerade of " + $0.description, wanted: "present", found: "absent")
        }
    }

    /// Removes what has the tags of some owners, and with the last address of a network its chain, and
    /// with the last of all the table; says whether there was any.
    @discardableResult
    static func remove(
        from kernel: Kernel, _ isStale: (String) -> Bool
    ) throws(KernelError) -> Bool {
        var wasAny = false
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            var chains: [(name: String, stays: Bool)] = []
            var stays = false
            for family in Family.allCases {
                let sets = Sets(family)
                var (gone, left): ([Element], [Element]) = ([], [])
                for element in try rules.elements(of: sets.holders) ?? [] {
                    let isGone = element.comment.map(isStale) ?? false
                    if isGone { gone.append(element) } else { left.append(element) }
                }
                batch.remove(gone, from: sets.holders)
                var addresses: [[UInt8]] = []
                for element in gone where !addresses.contains(sets.address(of: element)) {
                    addresses.append(sets.address(of: element))
                }
                // An address that somebody else has too stays, in that one's network.
                let found = try rules.elements(addresses, of: sets.sources)
                batch.remove(found.compactMap { $0 }, from: sets.sources)
                for address in addresses {
                    guard let heir = left.last(where: { sets.address(of: $0) == address })
                    else { continue }
                    batch.add([Element(address, heir.value)], to: sets.sources)
                }
                let inUse = left.compactMap(\.chain)
                for name in gone.compactMap(\.chain)
                where !chains.contains(where: { $0.name == name }) {
                    chains.append((name, inUse.contains(name)))
                }
                stays = stays || !left.isEmpty
            }
            wasAny = !batch.isEmpty
            guard wasAny, !stays else {
                for chain in chains where !chain.stays {
                    batch.remove(Chain(chain.name, in: table))
                }
                return
            }
            batch = Batch()
            batch.remove(table)
        }
        return wasAny
    }

    /// Who has which address of a family.
    static func holders(
        _ family: Family, _ rules: inout Ruleset
    ) throws(KernelError) -> [(tag: String, address: IPAddress)] {
        let sets = Sets(family)
        return try (rules.elements(of: sets.holders) ?? []).compactMap { element in
            guard let address = IPAddress(networkOrder: sets.address(of: element)),
                let tag = element.comment
            else { return nil }
            return (tag, address)
        }
    }

    /// The chains, sets and rules that are missing.
    private func structure(_ rules: inout Ruleset) throws(KernelError) -> Batch {
        var batch = Batch()
        if try !rules.has(Self.start) {
            batch.add(Self.table)
            for family in Family.allCases {
                batch.add(Sets(family).sources)
                batch.add(Sets(family).holders)
            }
            batch.add(Self.start, exclusively: true)
            for rule in Self.startRules { batch.add(rule) }
        }
        var made: [Chain] = []
        for address in addresses {
            let chain = Self.chain(for: address)
            guard !made.contains(chain), try !rules.has(chain) else { continue }
            made.append(chain)
            batch.add(chain, exclusively: true)
            for rule in Self.rules(for: address) { batch.add(rule) }
        }
        return batch
    }

    /// Removes an address from the network that it has been in: the latest holder counts.
    private func displace(_ rules: inout Ruleset, _ batch: inout Batch) throws(KernelError) {
        for address in addresses {
            let sources = Sets(address.family).sources
            let wanted = source(address)
            if let found = try rules.elements([wanted.key], of: sources)[0], found != wanted {
                batch.remove([wanted], from: sources)
            }
        }
    }

    private func add(to batch: inout Batch) {
        for address in addresses {
            let sets = Sets(address.family)
            let source = source(address)
            let holder = Element(
                sets.holder(address.address, owner), source.value, comment: owner.tag)
            batch.add([holder], to: sets.holders, exclusively: true)
            batch.add([source], to: sets.sources)
        }
    }

    private func source(_ address: IPPrefix) -> Element {
        Element(address.address.networkOrder, .verdict(.goto(Self.chain(for: address).name)))
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

    /// The maps of a family.
    private struct Sets {
        let sources: NamedSet
        let holders: NamedSet

        init(_ family: Family) {
            let digit = family == .v4 ? "4" : "6"
            let type: DataType = family == .v4 ? .ipv4 : .ipv6
            sources = NamedSet("sources" + digit, in: table, of: [type], to: .verdict)
            holders = NamedSet(
                "holders" + digit, in: table, of: [.interfaceName, type], to: .verdict)
        }

        func holder(_ address: IPAddress, _ owner: Owner) -> [UInt8] {
            Element.key(Element.interfaceName(owner.hostEnd), address.networkOrder)
        }

        func address(of holder: Element) -> [UInt8] { Array(holder.key.dropFirst(16)) }
    }
}
