import Addressing
import Netlink
import Nftables
import PluginRuntime
import Rtnetlink

// What DEL and GC take away.
extension PortMappings {
    /// Whose mappings there are.
    static func owners(_ kernel: Kernel) throws(KernelError) -> [Owner] {
        try kernel.withRules { (rules) throws(KernelError) in
            try rules.owners(in: PortRules.Sets.all.map(\.claims))
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

    /// Removes claims, of each family, and the mappings that they got; who waits for one gets it.
    static func remove(
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

    /// A claim with the element that says whose it is.
    private struct Held {
        let claim: PortRules.Claim
        let element: Element

        var tag: String? { element.comment }

        init?(_ element: Element, _ sets: PortRules.Sets) {
            guard let claim = sets.claim(element) else { return nil }
            self.claim = claim
            self.element = element
        }
    }

    /// Elements that go, each once: an owner may have claimed a port twice.
    private struct Removals {
        private(set) var all: [(map: NamedSet, elements: [Element], keys: Set<[UInt8]>)] = []

        /// Takes an element in; whether it was not there yet.
        mutating func add(_ element: Element, from map: NamedSet) -> Bool {
            guard let place = all.firstIndex(where: { $0.map == map }) else {
                all.append((map, [element], [element.key]))
                return true
            }
            guard all[place].keys.insert(element.key).inserted else { return false }
            all[place].elements.append(element)
            return true
        }
    }

    /// Removes a family's claims with all that follows from them.
    private static func remove(
        _ gone: [Element], _ sets: PortRules.Sets, _ rules: inout Ruleset,
        _ batch: inout Batch, _ departure: inout Departure
    ) throws(KernelError) {
        batch.remove(gone, from: sets.claims.map)
        let claims = gone.compactMap { Held($0, sets) }
        let links = Array(Set(gone.map { Array($0.key.prefix(16)) }))
        let conditionKeys = links.flatMap { link in
            [true, false].map { PortRules.conditionKey(link, isForAny: $0) }
        }
        let ways: [(set: NamedSet, key: [UInt8])] =
            links.map { (sets.networks, $0) } + conditionKeys.map { (sets.conditions, $0) }
        let found = try rules.elements(
            ways
                + claims.flatMap { held -> [(set: NamedSet, key: [UInt8])] in
                    let (claim, maps) = (held.claim, sets.maps(held.claim))
                    return [
                        (maps.targets, claim.key), (maps.sources, claim.key),
                        (maps.conditions, claim.key), (sets.contested, claim.port),
                        (sets.waiting, claim.address),
                    ]
                })
        var removals = Removals()
        func remove(_ element: Element?, from map: NamedSet) {
            guard let element, removals.add(element, from: map), let chain = element.chain
            else { return }
            departure.note(
                Chain(chain, in: PortRules.table), PortRules.rulesOfNetwork, verdicts: 1)
        }
        for (map, key) in ways { remove(found[map, key], from: map) }
        var contested: [(port: Element, isFree: Bool)] = []
        for held in claims {
            let (claim, maps) = (held.claim, sets.maps(held.claim))
            let target = found[maps.targets, claim.key]
            let source = found[maps.sources, claim.key]
            // Somebody may have removed the one or the other.
            let isHolder = [target, source].contains { $0.map { $0.comment == held.tag } ?? false }
            if isHolder {
                remove(target, from: maps.targets)
                remove(source, from: maps.sources)
                remove(found[maps.conditions, claim.key], from: maps.conditions)
            }
            if let waiting = found[sets.waiting, claim.address], waiting.comment == held.tag {
                remove(waiting, from: sets.waiting)
            }
            guard let port = found[sets.contested, claim.port] else { continue }
            if let place = contested.firstIndex(where: { $0.port == port }) {
                contested[place].isFree = contested[place].isFree || isHolder
            } else {
                contested.append((port, isHolder))
            }
        }
        for (map, elements, _) in removals.all { batch.remove(elements, from: map) }
        guard !contested.isEmpty else { return }
        let keys = Set(gone.map(\.key))
        let left = try (rules.elements(of: sets.claims.map) ?? [])
            .filter { !keys.contains($0.key) }.compactMap { Held($0, sets) }
        for (port, isFree) in contested {
            try release(
                port, isFree: isFree, claims.filter { $0.claim.port == port.key },
                left.filter { $0.claim.port == port.key }, sets, &rules, &batch, &departure)
        }
    }

    /// Takes those who leave out of a port's queue, and gives the port, if it `isFree`, to the first of those
    /// who stay.
    private static func release(
        _ port: Element, isFree: Bool, _ leavers: [Held], _ stayers: [Held],
        _ sets: PortRules.Sets, _ rules: inout Ruleset, _ batch: inout Batch,
        _ departure: inout Departure
    ) throws(KernelError) {
        if Set(stayers.map(\.tag)).count < 2 { batch.remove([port], from: sets.contested) }
        guard let claim = leavers.first?.claim else { return }
        let queue = try queue(claim, sets, &rules)
        let first = (queue ?? []).compactMap { rule in
            stayers.first { rule.isOf($0.tag, $0.claim) }
        }.first
        let next = isFree ? first ?? stayers.first : nil
        if let queue {
            let gone = queue.filter { rule in
                (leavers + [next].compactMap { $0 }).contains { rule.isOf($0.tag, $0.claim) }
            }
            try leaveQueue(
                gone, isWhole: gone.count == queue.count, claim, sets, &rules, &batch, &departure)
        }
        if let next { try give(next, sets, &rules, &batch, &departure) }
    }

    /// Makes the mapping of a claim whose port has become free.
    private static func give(
        _ held: Held, _ sets: PortRules.Sets, _ rules: inout Ruleset, _ batch: inout Batch,
        _ departure: inout Departure
    ) throws(KernelError) {
        let (claim, maps) = (held.claim, sets.maps(held.claim))
        let link = Array(held.element.key.prefix(16))
        guard let network = try rules.elements([link], of: sets.networks)[0] else { return }
        // One that an earlier version has put here has but the one for all addresses.
        let condition = try rules.elements(
            [claim.isForAny, true].map { PortRules.conditionKey(link, isForAny: $0) },
            of: sets.conditions
        ).compactMap { $0 }.first
        batch.add(
            [Element(claim.key, .data(claim.target), comment: held.tag)], to: maps.targets)
        for (map, like) in [(maps.sources, network), (maps.conditions, condition)] {
            guard let like else { continue }
            batch.add([Element(claim.key, like.value, comment: held.tag)], to: map)
            guard let chain = like.chain else { continue }
            departure.note(
                Chain(chain, in: PortRules.table), PortRules.rulesOfNetwork, verdicts: -1)
        }
    }
}
