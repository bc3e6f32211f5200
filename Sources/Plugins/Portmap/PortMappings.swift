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
    /// The link whose `route_localnet` comes on after the rules.
    var opened: String?

    var sharing: Sharing { .owned }
    /// An owner's elements come into being once.
    var isExclusive: Bool { true }
    var description: String { "port mappings of " + owner.tag }

    func read(_ kernel: Kernel) throws(KernelError) -> PortMappings? {
        let served = served
        guard !served.isEmpty else { return self }
        return try kernel.withRules { (rules) throws(KernelError) -> PortMappings? in
            var chains = PortRules.chains(needs)
            for address in served where masquerades && !masqueradesAll {
                chains.append((PortRules.chain(for: address), PortRules.rules(for: address)))
            }
            for (chain, wanted) in chains {
                guard try rules.rules(of: chain) == wanted.map(\.names) else { return nil }
            }
            for (chain, wanted) in served.flatMap({ conditionChains($0.family) }) {
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
                    let isServed =
                        isOwn
                        ? target?.value == .data(claim.target)
                            && source?.value == verdict(for: address)
                            && check?.chain == condition(address.family, claim.isForAny)?.name
                        : try isWaiting(for: claim, address, &rules)
                    isWhole =
                        isWhole && isClaimed && target != nil && source != nil && isServed
                }
                if isWhole { found.append(mapping) }
            }
            return PortMappings(
                owner: owner, mappings: found, addresses: addresses, masquerades: masquerades,
                masqueradesAll: masqueradesAll, conditions: conditions)
        }
    }

    /// The chain of a family's conditions for ports of all addresses, or of one; nil without any.
    func condition(_ family: Family, _ isForAny: Bool) -> Chain? {
        guard let conditions = conditions[family], !conditions.isEmpty else { return nil }
        return PortRules.chain(for: conditions, family, isForAny: isForAny)
    }

    /// The chains of a family's conditions that its ports need, with their rules.
    func conditionChains(_ family: Family) -> [(chain: Chain, rules: [Rule])] {
        guard let conditions = conditions[family], !conditions.isEmpty else { return [] }
        return kinds(family).map { isForAny in
            (
                PortRules.chain(for: conditions, family, isForAny: isForAny),
                PortRules.rules(for: conditions, family, isForAny: isForAny)
            )
        }
    }

    /// Whether a family's ports are of all addresses, of one, or of either kind.
    func kinds(_ family: Family) -> [Bool] {
        let mappings = mappings(of: family)
        return [true, false].filter { isForAny in
            mappings.contains { ($0.address == nil) == isForAny }
        }
    }

    /// The addresses that any port leads to.
    var served: [IPPrefix] {
        addresses.filter { !mappings(of: $0.family).isEmpty }
    }

    /// The mappings for connections of a family, as far as these can meet the conditions.
    func mappings(of family: Family) -> [Portmap.Mapping] {
        mappings.filter { $0.isFor(family) && conditions[family]?.admit($0.number) ?? true }
    }

    func write(_ kernel: Kernel, over found: PortMappings?) throws(KernelError) {
        let contested = PortRules.Sets.all.flatMap { [$0.any, $0.one] }
        var hasFormer = false
        let add = { () throws(KernelError) in
            _ = try kernel.addRules(contesting: contested) { (rules) throws(KernelError) in
                var batch = Batch()
                hasFormer = try !draft(&rules, &batch)
                return hasFormer ? Batch() : batch
            }
        }
        try add()
        if hasFormer {
            // The container has been started anew, and has another address or other ports.
            try erase(kernel)
            try add()
        }
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
        var loopback = LoopbackRoutes()
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            let families = PortRules.Sets.all
            ports = []
            var departure = Departure(
                from: PortRules.table,
                fixed: PortRules.fixedChains.count + families.flatMap(\.all).count,
                PortRules.chains(PortRules.targets.contains))
            for (sets, gone) in zip(families, try claims(&rules, families.map(\.claims)))
            where !gone.isEmpty {
                ports += gone.compactMap(sets.claim)
                try remove(gone, sets, &rules, &batch, &departure)
            }
            var isLast = try departure.complete(&batch, &rules)
            // Or somebody has deleted the table with all that was in it.
            if ports.isEmpty { isLast = try !rules.contains(PortRules.table) }
            // Those by iptables have guards of their own.
            if isLast { isLast = try !IPTables(.v4).hasGuards(&rules) }
            try loopback.settle(isLast: isLast, kernel, &rules, &batch)
        }
        try kernel.forgetConnections(
            to: ports.map { Connections.Port($0.protocolNumber, $0.hostPort) })
    }

    private static func remove(
        _ gone: [Element], _ sets: PortRules.Sets, _ rules: inout Ruleset,
        _ batch: inout Batch, _ departure: inout Departure
    ) throws(KernelError) {
        batch.remove(gone, from: sets.claims.map)
        let owners = Array(Set(gone.map { Array($0.key.prefix(16)) }))
        let claims = gone.compactMap { claim in
            sets.claim(claim).map { (claim: $0, tag: claim.comment) }
        }
        let conditionKeys = owners.flatMap { owner in
            [true, false].map { PortRules.conditionKey(owner, isForAny: $0) }
        }
        let ways: [(map: NamedSet, keys: [[UInt8]])] = [
            (sets.networks, owners), (sets.conditions, conditionKeys),
        ]
        var asked = ways.flatMap { way in way.keys.map { (set: way.map, key: $0) } }
        for one in claims {
            let maps = sets.maps(one.claim)
            asked += [
                (maps.targets, one.claim.key), (maps.sources, one.claim.key),
                (maps.conditions, one.claim.key), (sets.contested, one.claim.port),
                (sets.waiting, one.claim.address),
            ]
        }
        let found = try rules.elements(asked)
        var verdicts: [String] = []
        var answers = found[...]
        for (map, keys) in ways {
            let elements = answers.prefix(keys.count).compactMap { $0 }
            answers = answers.dropFirst(keys.count)
            batch.remove(elements, from: map)
            verdicts += elements.compactMap(\.chain)
        }
        var removed: [(map: NamedSet, elements: [Element], keys: Set<[UInt8]>)] = []
        var contested: [(port: Element, isFree: Bool)] = []
        for (index, one) in claims.enumerated() {
            let answers = Array(answers.dropFirst(5 * index).prefix(5))
            // Somebody may have removed the one or the other.
            let isHolder = answers[..<2].contains { $0.map { $0.comment == one.tag } ?? false }
            if let port = answers[3] {
                if let place = contested.firstIndex(where: { $0.port == port }) {
                    contested[place].isFree = contested[place].isFree || isHolder
                } else {
                    contested.append((port, isHolder))
                }
            }
            let maps = sets.maps(one.claim)
            let places =
                isHolder
                ? zip([maps.targets, maps.sources, maps.conditions], answers).map { ($0, $1) } : []
            let waiting = answers[4].flatMap { $0.comment == one.tag ? $0 : nil }
            for (map, element) in places + [(sets.waiting, waiting)] {
                guard let element else { continue }
                if let place = removed.firstIndex(where: { $0.map == map }) {
                    // A port that its owner has claimed twice.
                    guard removed[place].keys.insert(element.key).inserted else { continue }
                    removed[place].elements.append(element)
                } else {
                    removed.append((map, [element], [element.key]))
                }
                if let chain = element.chain { verdicts.append(chain) }
            }
        }
        for (map, elements, _) in removed { batch.remove(elements, from: map) }
        for chain in verdicts {
            departure.note(
                Chain(chain, in: PortRules.table), PortRules.rulesOfNetwork, verdicts: 1)
        }
        guard !contested.isEmpty else { return }
        let keys = Set(gone.map(\.key))
        let left = try rules.elements(of: sets.claims.map)?.filter { !keys.contains($0.key) } ?? []
        for (port, isFree) in contested {
            let waiting = left.compactMap { claim in
                sets.claim(claim).map { (element: claim, claim: $0) }
            }.filter { $0.claim.port == port.key }
            if Set(waiting.map(\.element.comment)).count < 2 {
                batch.remove([port], from: sets.contested)
            }
            let leavers = claims.filter { $0.claim.port == port.key }
            guard let claim = leavers.first?.claim else { continue }
            let queue = try queue(claim, sets, &rules)
            let first = (queue ?? []).compactMap { rule in
                waiting.first { rule.isOf($0.element.comment, $0.claim) }
            }.first
            let next = isFree ? first ?? waiting.first : nil
            if let queue {
                let gone = queue.filter { rule in
                    leavers.contains { rule.isOf($0.tag, $0.claim) }
                        || next.map { rule.isOf($0.element.comment, $0.claim) } ?? false
                }
                try leaveQueue(
                    gone, isWhole: gone.count == queue.count, claim, sets, &rules, &batch,
                    &departure)
            }
            guard let next else { continue }
            let owner = Array(next.element.key.prefix(16))
            guard let network = try rules.elements([owner], of: sets.networks)[0] else { continue }
            // One that an earlier version has put here has but the one for all addresses.
            let condition = try rules.elements(
                [next.claim.isForAny, true].map { PortRules.conditionKey(owner, isForAny: $0) },
                of: sets.conditions
            ).compactMap { $0 }.first
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

    /// Which sources to hide.
    func verdict(for address: IPPrefix) -> Element.Value {
        if masquerades && masqueradesAll { return .verdict(.goto(PortRules.everything.name)) }
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
