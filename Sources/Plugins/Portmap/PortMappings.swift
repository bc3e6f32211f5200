import Addressing
import Netlink
import Nftables
import Plan
import PluginRuntime
import Rtnetlink
import SystemPackage

/// Leads ports of the host to a container, by the same few rules for any number of them.
///
/// One map has protocol and port and gives the container's address and port, another has the
/// host's address as well. Two more, with the same keys, say which sources to hide. Claims say who
/// wants which port: the first who came has it, and when he goes, the next.
struct PortMappings: Resource {
    let owner: Owner
    let mappings: [Portmap.Mapping]
    /// The container's first address of each family, with its network.
    let addresses: [IPPrefix]
    let masquerades: Bool
    let masqueradesAll: Bool
    /// What connections of a family must be like.
    var conditions: [Family: PortConditions] = [:]

    var sharing: Sharing { .owned }
    /// An owner's elements come into being once.
    var isExclusive: Bool { true }
    var description: String { "port mappings of " + owner.tag }

    func read(_ kernel: Kernel) throws(KernelError) -> PortMappings? {
        let served = served
        guard !served.isEmpty else { return self }
        return try kernel.withRules { (rules) throws(KernelError) -> PortMappings? in
            var chains = PortRules.chains
            for address in served where masquerades && !masqueradesAll {
                chains.append((PortRules.chain(for: address), PortRules.rules(for: address)))
            }
            for (chain, wanted) in chains {
                guard try rules.rules(of: chain) == wanted.map(\.names) else { return nil }
            }
            for address in served {
                guard let (chain, wanted) = condition(address.family) else { continue }
                guard try rules.hasExactly(wanted, in: chain) == true else { return nil }
            }
            let families = PortRules.Sets.all
            let own = try rules.claims(of: owner, in: families.map(\.claims))
            var found: [Portmap.Mapping] = []
            for mapping in mappings {
                var isWhole = true
                for address in addresses where mappings(of: address.family).contains(mapping) {
                    let sets = PortRules.Sets(address.family)
                    let claim = PortRules.Claim(mapping, to: address.address)
                    let isClaimed = own[sets.family == .v4 ? 0 : 1].contains {
                        $0.value == .data(claim.bytes)
                    }
                    let maps = sets.maps(claim)
                    let target = try rules.elements([claim.key], of: maps.targets)[0]
                    let source = try rules.elements([claim.key], of: maps.sources)[0]
                    let check = try rules.elements([claim.key], of: maps.conditions)[0]
                    // Where another had the port first, that is as it was at ADD.
                    let isOwn = target?.comment == owner.tag
                    isWhole =
                        isWhole && isClaimed && target != nil && source != nil
                        && (!isOwn
                            || (target?.value == .data(claim.target)
                                && source?.value == verdict(for: address)
                                && check?.chain == condition(address.family)?.chain.name))
                }
                if isWhole { found.append(mapping) }
            }
            return PortMappings(
                owner: owner, mappings: found, addresses: addresses, masquerades: masquerades,
                masqueradesAll: masqueradesAll, conditions: conditions)
        }
    }

    /// The chain of a family's conditions, with its rules; nil without any.
    private func condition(_ family: Family) -> (chain: Chain, rules: [Rule])? {
        guard let conditions = conditions[family], !conditions.isEmpty else { return nil }
        return (
            PortRules.chain(for: conditions, family), PortRules.rules(for: conditions, family)
        )
    }

    /// The addresses that any port leads to.
    private var served: [IPPrefix] {
        addresses.filter { !mappings(of: $0.family).isEmpty }
    }

    /// The mappings for connections of a family, as far as these can meet the conditions.
    private func mappings(of family: Family) -> [Portmap.Mapping] {
        mappings.filter { $0.isFor(family) && conditions[family]?.admit($0.number) ?? true }
    }

    func write(_ kernel: Kernel, over found: PortMappings?) throws(KernelError) {
        let contested = PortRules.Sets.all.flatMap { [$0.any, $0.one] }
        try kernel.addRules(contesting: contested, draft)
        do throws(KernelError) {
            try kernel.forgetConnections(
                to: addresses.flatMap { address in
                    mappings(of: address.family).map { Connections.Port($0.number, $0.hostPort) }
                })
        } catch {
            // To the outside the mappings are made whole or not at all.
            try? erase(kernel)
            throw error
        }
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        try Self.remove(from: kernel) { (rules, maps) throws(KernelError) in
            try rules.claims(of: owner, in: maps)
        }
    }

    func differences(from found: PortMappings) -> [Difference] {
        mappings.filter { !found.mappings.contains($0) }.map {
            Difference("port mapping " + $0.description, wanted: "present", found: "absent")
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

    /// Whose mappings there are.
    static func owners(_ kernel: Kernel) throws(KernelError) -> [Owner] {
        try kernel.withRules { (rules) throws(KernelError) in
            try rules.owners(in: PortRules.Sets.all.map(\.claims))
        }
    }

    /// Removes claims, of each family, and the mappings that they got; who waits for one gets it.
    private static func remove(
        from kernel: Kernel,
        _ claims: (inout Ruleset, [Claims]) throws(KernelError) -> [[Element]]
    ) throws(KernelError) {
        var ports: [PortRules.Claim] = []
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            let families = PortRules.Sets.all
            ports = []
            var departure = Departure(
                from: PortRules.table,
                fixed: PortRules.chains.count + families.flatMap(\.all).count,
                PortRules.chains.filter { PortRules.targets.contains($0.chain) })
            for (sets, gone) in zip(families, try claims(&rules, families.map(\.claims)))
            where !gone.isEmpty {
                ports += gone.compactMap(sets.claim)
                try remove(gone, sets, &rules, &batch, &departure)
            }
            try departure.complete(&batch, &rules)
        }
        try kernel.forgetConnections(
            to: ports.map { Connections.Port($0.protocolNumber, $0.hostPort) })
    }

    private static func remove(
        _ gone: [Element], _ sets: PortRules.Sets, _ rules: inout Ruleset,
        _ batch: inout Batch, _ departure: inout Departure
    ) throws(KernelError) {
        batch.remove(gone, from: sets.claims.map)
        var owners: [[UInt8]] = []
        for element in gone {
            let owner = Array(element.key.prefix(16))
            if !owners.contains(owner) { owners.append(owner) }
        }
        var verdicts: [String] = []
        for map in [sets.networks, sets.conditions] {
            let elements = try rules.elements(owners, of: map).compactMap { $0 }
            batch.remove(elements, from: map)
            verdicts += elements.compactMap(\.chain)
        }

        let claims = gone.compactMap { claim in
            sets.claim(claim).map { (claim: $0, tag: claim.comment) }
        }
        let answers = try rules.find(
            claims.flatMap { one -> [Ruleset.Question] in
                let maps = sets.maps(one.claim)
                return [
                    .element(maps.targets, one.claim.key), .element(maps.sources, one.claim.key),
                    .element(maps.conditions, one.claim.key),
                    .element(sets.contested, one.claim.port),
                ]
            })
        var removed: [(map: NamedSet, elements: [Element])] = []
        var contested: [(port: Element, isFree: Bool)] = []
        for (index, one) in claims.enumerated() {
            let answers = answers[4 * index..<4 * index + 4].map { $0?.element }
            // Somebody may have removed the one or the other.
            let isHolder = answers[..<2].contains { $0.map { $0.comment == one.tag } ?? false }
            if let port = answers[3] {
                if let place = contested.firstIndex(where: { $0.port == port }) {
                    contested[place].isFree = contested[place].isFree || isHolder
                } else {
                    contested.append((port, isHolder))
                }
            }
            guard isHolder else { continue }
            let maps = sets.maps(one.claim)
            for (map, element) in zip([maps.targets, maps.sources, maps.conditions], answers) {
                guard let element else { continue }
                if let place = removed.firstIndex(where: { $0.map == map }) {
                    // A port that its owner has claimed twice.
                    guard !removed[place].elements.contains(element) else { continue }
                    removed[place].elements.append(element)
                } else {
                    removed.append((map, [element]))
                }
                if let chain = element.chain { verdicts.append(chain) }
            }
        }
        for (map, elements) in removed { batch.remove(elements, from: map) }
        for chain in verdicts {
            departure.note(
                Chain(chain, in: PortRules.table), PortRules.rulesOfNetwork, verdicts: 1)
        }
        guard !contested.isEmpty else { return }
        let left = try rules.elements(of: sets.claims.map)?.filter { !gone.contains($0) } ?? []
        for (port, isFree) in contested {
            let waiting = left.compactMap { claim in
                sets.claim(claim).map { (element: claim, claim: $0) }
            }.filter { $0.claim.port == port.key }
            if Set(waiting.map(\.element.comment)).count < 2 {
                batch.remove([port], from: sets.contested)
            }
            guard isFree, let next = waiting.first else { continue }
            let owner = Array(next.element.key.prefix(16))
            guard let network = try rules.elements([owner], of: sets.networks)[0] else { continue }
            let condition = try rules.elements([owner], of: sets.conditions)[0]
            let maps = sets.maps(next.claim)
            let tag = next.element.comment
            batch.add(
                [Element(next.claim.key, .data(next.claim.target), comment: tag)],
                to: maps.targets)
            for (map, like) in [(maps.sources, network), (maps.conditions, condition)] {
                guard let like else { continue }
                batch.add([Element(next.claim.key, like.value, comment: tag)], to: map)
                if let chain = like.chain {
                    departure.note(
                        Chain(chain, in: PortRules.table), PortRules.rulesOfNetwork, verdicts: -1)
                }
            }
        }
    }

    /// Everything that is missing.
    private func draft(_ rules: inout Ruleset) throws(KernelError) -> Batch {
        var batch = Batch()
        let served = served
        guard !served.isEmpty else { return batch }
        if try !rules.has(PortRules.chains[0].chain) {
            batch.add(PortRules.table)
            for set in PortRules.Sets.all.flatMap(\.all) { batch.add(set) }
            for (chain, _) in PortRules.chains { batch.add(chain, exclusively: true) }
            for (_, rules) in PortRules.chains { for rule in rules { batch.add(rule) } }
        }
        for address in served { try draft(address, &rules, &batch) }
        return batch
    }

    /// A family's elements.
    private func draft(
        _ address: IPPrefix, _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        let (sets, verdict) = (PortRules.Sets(address.family), verdict(for: address))
        let chain = PortRules.chain(for: address)
        if verdict == .verdict(.goto(chain.name)), try !rules.has(chain) {
            batch.add(chain, exclusively: true)
            for rule in PortRules.rules(for: address) { batch.add(rule) }
        }
        let wanted = mappings(of: address.family)
        let condition = condition(address.family)
        if let condition {
            if try !rules.has(condition.chain) {
                batch.add(condition.chain, exclusively: true)
                for rule in condition.rules { batch.add(rule) }
            }
            batch.add(
                [
                    Element(
                        Element.interfaceName(owner.hostEnd),
                        .verdict(.jump(condition.chain.name)), comment: owner.tag)
                ], to: sets.conditions)
        }
        let claims = wanted.map { PortRules.Claim($0, to: address.address) }
        let holders = try rules.find(
            claims.map { .element(sets.maps($0).targets, $0.key) })
        batch.add(
            claims.enumerated().map { number, claim in
                sets.claims.element(number, claim.bytes, of: owner)
            }, to: sets.claims.map)
        batch.add(
            [Element(Element.interfaceName(owner.hostEnd), verdict, comment: owner.tag)],
            to: sets.networks)
        var taken: [[UInt8]] = []
        var additions: [Bool: (targets: [Element], sources: [Element])] = [:]
        for (claim, holder) in zip(claims, holders) where !taken.contains(claim.port) {
            taken.append(claim.port)
            if let holder = holder?.element, holder.comment != owner.tag {
                batch.add([Element(claim.port)], to: sets.contested)
                continue
            }
            // Somebody may have removed another part of an own one.
            if holder == nil {
                additions[claim.isForAny, default: ([], [])].targets.append(
                    Element(claim.key, .data(claim.target), comment: owner.tag))
            }
            additions[claim.isForAny, default: ([], [])].sources.append(
                Element(claim.key, verdict, comment: owner.tag))
            if let condition {
                batch.add(
                    [
                        Element(
                            claim.key, .verdict(.jump(condition.chain.name)), comment: owner.tag)
                    ], to: sets.maps(claim).conditions)
            }
        }
        for (isForAny, elements) in additions {
            batch.add(elements.targets, to: isForAny ? sets.any : sets.one, exclusively: true)
            batch.add(elements.sources, to: isForAny ? sets.anySource : sets.oneSource)
        }
    }

    /// Which sources to hide.
    private func verdict(for address: IPPrefix) -> Element.Value {
        if masqueradesAll { return .verdict(.goto(PortRules.everything.name)) }
        return .verdict(
            .goto(masquerades ? PortRules.chain(for: address).name : PortRules.nothing.name))
    }
}

extension Portmap.Mapping {
    /// Whether connections of a family are to be mapped.
    func isFor(_ family: Family) -> Bool { self.family ?? family == family }

    /// `8080/tcp to 80`.
    var description: String {
        (address.map { "\($0) " } ?? "") + "\(hostPort)/" + name + " to \(containerPort)"
    }
}
