import Addressing
import Netlink
import Nftables
import PluginRuntime

// Who wants a port that another has: he gets the connections that do not meet the other's conditions and
// meet his own, and the port when the other goes.
extension PortMappings {
    /// Joins those who wait for a port.
    func wait(
        for claim: PortRules.Claim, of holder: Element, _ address: IPPrefix,
        _ sets: PortRules.Sets, _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        let (maps, family) = (sets.maps(claim), address.family)
        let (chain, rule) = (PortRules.queue(claim, family), waitingRule(claim, family))
        let looks = try rules.findings([.chain(chain), .element(sets.waiting, claim.address)])
        let isFirst = looks[chain] == nil
        if isFirst {
            batch.add(chain, exclusively: true)
            batch.add([Element(claim.key, .verdict(.jump(chain.name)))], to: maps.queues)
        }
        let own =
            isFirst
            ? []
            : try (rules.listedRules(of: chain) ?? []).filter { $0.isOf(owner.tag, claim) }
        // A second ADD keeps its place.
        if own.count != 1 || !own[0].isExactly(rule) {
            for rule in own { batch.remove(rule: rule.handle, from: chain) }
            batch.add(rule)
        }
        let waiting = Element(claim.address, verdict(for: address), comment: owner.tag)
        if let former = looks[sets.waiting, claim.address], former != waiting {
            batch.remove([former], from: sets.waiting)
        }
        batch.add([waiting], to: sets.waiting)
        // Fails where the other has gone meanwhile, so that the port is looked at again.
        batch.remove([holder], from: maps.targets)
        batch.add([holder], to: maps.targets)
    }

    /// Whether the owner is among those who wait for a port.
    func isWaiting(
        for claim: PortRules.Claim, _ address: IPPrefix, _ rules: inout Ruleset
    ) throws(KernelError) -> Bool {
        let wanted = waitingRule(claim, address.family)
        let sets = PortRules.Sets(address.family)
        let waiting = try rules.elements([claim.address], of: sets.waiting)[0]
        let listed = try rules.listedRules(of: wanted.chain) ?? []
        return waiting?.value == verdict(for: address)
            && listed.contains { $0.isOf(owner.tag, claim) && $0.isExactly(wanted) }
    }

    private func waitingRule(_ claim: PortRules.Claim, _ family: Family) -> Rule {
        PortRules.rule(
            for: claim, conditions[family] ?? PortConditions.none, family, of: owner.tag)
    }

    /// The rules of those who wait for a port, in the order in which they came; nil without any.
    static func queue(
        _ claim: PortRules.Claim, _ sets: PortRules.Sets, _ rules: inout Ruleset
    ) throws(KernelError) -> [ListedRule]? {
        try rules.listedRules(of: PortRules.queue(claim, sets.family))
    }

    /// Removes rules of those who wait for a port, or the chain with the last of them.
    static func leaveQueue(
        _ gone: [ListedRule], isWhole: Bool, _ claim: PortRules.Claim, _ sets: PortRules.Sets,
        _ rules: inout Ruleset, _ batch: inout Batch, _ departure: inout Departure
    ) throws(KernelError) {
        let (chain, queues) = (PortRules.queue(claim, sets.family), sets.maps(claim).queues)
        guard isWhole else {
            for rule in gone { batch.remove(rule: rule.handle, from: chain) }
            return
        }
        batch.remove(try rules.elements([claim.key], of: queues).compactMap { $0 }, from: queues)
        batch.remove(chain)
        departure.removed += 1
    }
}

extension ListedRule {
    /// Whether it is of an owner that waits for a port; of one that was loaded from a listing, which names no
    /// owner, the container's address tells.
    func isOf(_ tag: String?, _ claim: PortRules.Claim) -> Bool {
        owner.map { $0 == tag } ?? (loaded.first == claim.address)
    }
}
