import Addressing
import Netlink
import Nftables
import PluginRuntime

// What ADD makes.
extension PortMappings {
    /// What a family's address is to have.
    private struct Wanted {
        let address: IPPrefix
        let claims: [PortRules.Claim]
    }

    /// The chains of an address's own that its elements lead to.
    private func ownChains(of address: IPPrefix) -> [(chain: Chain, rules: [Rule])] {
        let network = PortRules.chain(for: address)
        let hidden =
            verdict(for: address) == .verdict(.goto(network.name))
            ? [(chain: network, rules: PortRules.rules(for: address))] : []
        return hidden + conditionChains(address.family)
    }

    /// Everything that is missing; nothing and false where the owner has other claims from before.
    func draft(_ rules: inout Ruleset, _ batch: inout Batch) throws(KernelError) -> Bool {
        let served = served
        guard !served.isEmpty else { return true }
        let families = PortRules.Sets.all
        let own = served.flatMap(ownChains)
        let wanted = served.map { address in
            let mappings = mappings(of: address.family)
            return Wanted(
                address: address,
                claims: mappings.map { PortRules.Claim($0, to: address.address) })
        }
        // One question for all that is the same for any number of ports, with the first of these.
        var questions = (PortRules.fixedChains + own.map(\.chain)).map {
            Ruleset.Question.chain($0)
        }
        for sets in families { questions += former(sets) }
        if let opened { questions.append(LoopbackRoutes.question(opened)) }
        for one in wanted {
            let sets = PortRules.Sets(one.address.family)
            questions += one.claims.map { .element(sets.maps($0).targets, $0.key) }
        }
        var looks = try rules.find(questions)[...]
        let shared = looks.take(PortRules.fixedChains.count)
        if shared[0] == nil {
            batch.add(PortRules.table)
            for set in families.flatMap(\.all) { batch.add(set) }
            for chain in PortRules.fixedChains { batch.add(chain, exclusively: true) }
            for (_, rules) in PortRules.chains() { for rule in rules { batch.add(rule) } }
        } else {
            try mend(shared, &rules, &batch)
        }
        try batch.complete(own, looks.take(own.count), &rules)
        let before = families.map { looks.take(former($0).count).map { $0?.element } }
        let hasAny = before.joined().contains { $0?.comment == owner.tag }
        if hasAny, try !isSame(before, wanted, &rules) { return false }
        if let opened, looks.take(1)[0] == nil { LoopbackRoutes.note(opened, &batch) }
        for one in wanted { try draft(one, looks.take(one.claims.count), &rules, &batch) }
        return true
    }

    /// Fills the chains that are there for all again, where they have lost rules.
    private func mend(
        _ looks: [Ruleset.Finding?], _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        let places = zip(PortRules.sizes, looks).map { (part: $0, look: $1) }
        let isOfElements = { (chain: Chain) in PortRules.targets.contains(chain) }
        var isDamaged = false
        for (part, look) in places.filter({ !isOfElements($0.part.chain) })
            + places.filter({ isOfElements($0.part.chain) })
        {
            // Of the chains that elements lead to, most owners need none.
            guard let look, isDamaged || needs(part.chain),
                try !rules.isWhole(
                    part.chain, look, rules: part.size.rules,
                    references: part.size.references)
            else { continue }
            isDamaged = true
            for (_, rules) in PortRules.chains({ $0 == part.chain }) {
                batch.refill(part.chain, rules)
            }
        }
    }

    /// Whether a chain that is there for all is one that the owner's connections come by.
    func needs(_ chain: Chain) -> Bool {
        !PortRules.targets.contains(chain)
            || addresses.contains { verdict(for: $0) == .verdict(.goto(chain.name)) }
    }

    /// What shows whether the owner has anything of a family from before.
    private func former(_ sets: PortRules.Sets) -> [Ruleset.Question] {
        let link = Element.interfaceName(owner.hostEnd)
        return [
            .element(sets.claims.map, Claims.key(of: owner, 0)), .element(sets.networks, link),
        ]
            + [true, false].map {
                .element(sets.conditions, PortRules.conditionKey(link, isForAny: $0))
            }
    }

    /// Whether what the owner has from before is what it is to have now.
    private func isSame(
        _ before: [[Element?]], _ wanted: [Wanted], _ rules: inout Ruleset
    ) throws(KernelError) -> Bool {
        let families = PortRules.Sets.all
        var values: [[[UInt8]: [UInt8]]] = families.map { _ in [:] }
        for one in wanted {
            let (address, index) = (one.address, one.address.family == .v4 ? 0 : 1)
            for (number, claim) in one.claims.enumerated() {
                values[index][Claims.key(of: owner, number)] = claim.bytes
            }
            let elements = before[index]
            // What is missing is made again.
            guard elements[1].map({ $0.value == verdict(for: address) }) ?? true,
                zip([true, false], elements[2...]).allSatisfy({ isForAny, element in
                    element.map { $0.chain == condition(address.family, isForAny)?.name } ?? true
                })
            else { return false }
        }
        let found = try rules.claims(of: owner, in: families.map(\.claims))
        return zip(found, values).allSatisfy { elements, values in
            elements.allSatisfy { element in
                values[element.key].map { element.value == .data($0) } ?? false
            }
        }
    }

    /// A family's elements.
    private func draft(
        _ wanted: Wanted, _ holders: [Ruleset.Finding?], _ rules: inout Ruleset,
        _ batch: inout Batch
    ) throws(KernelError) {
        let (address, claims) = (wanted.address, wanted.claims)
        let (sets, verdict) = (PortRules.Sets(address.family), verdict(for: address))
        let link = Element.interfaceName(owner.hostEnd)
        let checks = kinds(address.family).compactMap { isForAny in
            condition(address.family, isForAny).map { chain in
                Element(
                    PortRules.conditionKey(link, isForAny: isForAny), .verdict(.jump(chain.name)),
                    comment: owner.tag)
            }
        }
        batch.add(checks, to: sets.conditions)
        batch.add(
            claims.enumerated().map { number, claim in
                sets.claims.element(number, claim.bytes, of: owner)
            }, to: sets.claims.map)
        batch.add(
            [Element(link, verdict, comment: owner.tag)], to: sets.networks)
        var taken: Set<[UInt8]> = []
        var additions: [Bool: (targets: [Element], sources: [Element])] = [:]
        for (claim, holder) in zip(claims, holders) where taken.insert(claim.port).inserted {
            if let holder = holder?.element, holder.comment != owner.tag {
                batch.add([Element(claim.port)], to: sets.contested)
                try wait(for: claim, of: holder, address, sets, &rules, &batch)
                continue
            }
            // Somebody may have removed another part of an own one.
            if holder == nil {
                additions[claim.isForAny, default: ([], [])].targets.append(
                    Element(claim.key, .data(claim.target), comment: owner.tag))
            }
            additions[claim.isForAny, default: ([], [])].sources.append(
                Element(claim.key, verdict, comment: owner.tag))
            if let chain = condition(address.family, claim.isForAny) {
                batch.add(
                    [Element(claim.key, .verdict(.jump(chain.name)), comment: owner.tag)],
                    to: sets.maps(claim).conditions)
            }
        }
        for (isForAny, elements) in additions {
            batch.add(elements.targets, to: isForAny ? sets.any : sets.one, exclusively: true)
            batch.add(elements.sources, to: isForAny ? sets.anySource : sets.oneSource)
        }
    }
}

extension ArraySlice {
    /// Takes the first elements out.
    fileprivate mutating func take(_ count: Int) -> [Element] {
        defer { self = dropFirst(count) }
        return Array(prefix(count))
    }
}
