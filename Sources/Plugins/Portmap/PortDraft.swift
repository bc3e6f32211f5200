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
        let looks = try rules.findings(questions)
        if PortRules.fixedChains.first.flatMap({ looks[$0] }) == nil {
            batch.add(PortRules.table)
            for set in families.flatMap(\.all) { batch.add(set) }
            for chain in PortRules.fixedChains { batch.add(chain, exclusively: true) }
            for (_, rules) in PortRules.chains() { for rule in rules { batch.add(rule) } }
        } else {
            try mend(looks, &rules, &batch)
        }
        try batch.complete(own, looks, &rules)
        let hasAny = families.flatMap(former).contains {
            looks[$0]?.element?.comment == owner.tag
        }
        if hasAny, try !isSame(looks, wanted, &rules) { return false }
        if let opened, looks[LoopbackRoutes.question(opened)] == nil {
            LoopbackRoutes.note(opened, &batch)
        }
        for one in wanted { try draft(one, looks, &rules, &batch) }
        return true
    }

    /// Fills the chains that are there for all again, where they have lost rules.
    private func mend(
        _ looks: Ruleset.Findings, _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        let isOfElements = { (part: (chain: Chain, size: PortRules.Size)) in
            PortRules.targets.contains(part.chain)
        }
        let parts = PortRules.sizes
        var isDamaged = false
        for (chain, size) in parts.filter({ !isOfElements($0) }) + parts.filter(isOfElements) {
            // Of the chains that elements lead to, most owners need none.
            guard let look = looks[chain], isDamaged || needs(chain),
                try !rules.isWhole(
                    chain, look, rules: size.rules, references: size.references)
            else { continue }
            isDamaged = true
            for (_, rules) in PortRules.chains({ $0 == chain }) { batch.refill(chain, rules) }
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
        _ before: Ruleset.Findings, _ wanted: [Wanted], _ rules: inout Ruleset
    ) throws(KernelError) -> Bool {
        let families = PortRules.Sets.all
        let link = Element.interfaceName(owner.hostEnd)
        var values: [Family: [[UInt8]: [UInt8]]] = [:]
        for one in wanted {
            let (address, sets) = (one.address, PortRules.Sets(one.address.family))
            for (number, claim) in one.claims.enumerated() {
                values[address.family, default: [:]][Claims.key(of: owner, number)] = claim.bytes
            }
            // What is missing is made again.
            let network = before[sets.networks, link]
            guard network.map({ $0.value == verdict(for: address) }) ?? true,
                [true, false].allSatisfy({ isForAny in
                    let key = PortRules.conditionKey(link, isForAny: isForAny)
                    let chain = condition(address.family, isForAny)?.name
                    return before[sets.conditions, key].map { $0.chain == chain } ?? true
                })
            else { return false }
        }
        let found = try rules.claims(of: owner, in: families.map(\.claims))
        return zip(families, found).allSatisfy { sets, elements in
            elements.allSatisfy { element in
                values[sets.family]?[element.key].map { element.value == .data($0) } ?? false
            }
        }
    }

    /// A family's elements.
    private func draft(
        _ wanted: Wanted, _ looks: Ruleset.Findings, _ rules: inout Ruleset,
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
        for claim in claims where taken.insert(claim.port).inserted {
            let holder = looks[sets.maps(claim).targets, claim.key]
            if let holder, holder.comment != owner.tag {
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
