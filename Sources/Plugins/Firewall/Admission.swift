import Addressing
import Netlink
import Nftables
import Plan
import PluginRuntime
import Rtnetlink

/// From which other containers a container is kept apart.
struct Isolation: Sendable, Equatable {
    let policy: Firewall.Policy
    /// The bridge, or whatever link of the host the container's packets come in by.
    let bridge: String
    /// The container's port of the bridge, where it may not reach its neighbours either.
    let port: String?
}

/// Admits a container's packets through the chains of iptables, and keeps others' out.
///
/// The rules of iptables are those that `iptables` itself would have written. Whose they are is in
/// their user data, which it neither shows nor compares.
struct Admission: Resource {
    let owner: Owner
    /// The container's addresses; at DEL those of the result, if there is one.
    let addresses: [IPAddress]
    /// The operator's chain.
    let adminChain: String
    let isolation: Isolation?

    /// Of how many addresses the kernel is asked what it calls their rules: of more the answers would not
    /// fit into a socket's buffer.
    private static let mostRemembered = 50

    var sharing: Sharing { .owned }
    /// ADD need not look first: `write` finds what is there.
    var isExclusive: Bool { true }
    var description: String { "firewall rules of " + owner.tag }

    private var filters: [IPTablesFilter] {
        Family.allCases.map { IPTablesFilter(family: $0, adminName: adminChain) }
    }

    private func addresses(of family: Family) -> [IPAddress] {
        addresses.filter { $0.family == family }
    }

    private var member: Element {
        Element(
            Element.interfaceName(owner.hostEnd),
            .verdict(.goto(FirewallRules.chain(isolation).chain.name)), comment: owner.tag)
    }

    func read(_ kernel: Kernel) throws(KernelError) -> Admission? {
        try kernel.withRules { (rules) throws(KernelError) -> Admission? in
            var found: [IPAddress] = []
            for filter in filters where !addresses(of: filter.family).isEmpty {
                let listed = try rules.listedRules(of: filter.own) ?? []
                guard try filter.isReached(&rules) else { continue }
                found += addresses(of: filter.family).filter { address in
                    filter.rules(for: address, of: owner).allSatisfy { rule in
                        listed.contains { $0.isSame(as: rule) }
                    }
                }
            }
            return Admission(
                owner: owner, addresses: found, adminChain: adminChain,
                isolation: try isIsolated(&rules) ? isolation : nil)
        }
    }

    /// Whether everything that keeps others out is there.
    private func isIsolated(_ rules: inout Ruleset) throws(KernelError) -> Bool {
        guard let isolation else { return true }
        for (chain, wanted) in FirewallRules.chains + [FirewallRules.chain(isolation)] {
            guard try rules.rules(of: chain) == wanted.map(\.names) else { return false }
        }
        let bridges = FirewallRules.bridges(isolation.policy)
        let bridge = Element.interfaceName(isolation.bridge)
        let found = try rules.findings([
            .element(bridges.from, bridge), .element(bridges.to, bridge),
        ])
        guard found[bridges.from, bridge]?.value == member.value, found[bridges.to, bridge] != nil
        else { return false }
        guard let port = isolation.port else { return true }
        for (chain, wanted) in FirewallRules.Bridged.chains {
            guard try rules.rules(of: chain) == wanted.map(\.names) else { return false }
        }
        return try rules.elements(
            [Element.interfaceName(port)], of: FirewallRules.Bridged.isolated)[0] != nil
    }

    func write(_ kernel: Kernel, over found: Admission?) throws(KernelError) {
        let handles = try kernel.addRules(contesting: [FirewallRules.members]) {
            (rules) throws(KernelError) in try draft(&rules, replacing: found != nil)
        }
        // Without it, DEL looks through the chains.
        try? kernel.withRules { (rules) throws(KernelError) in
            try rules.commit(remembering(handles))
        }
    }

    /// Notes what the kernel calls the rules of the addresses, which are in the families' order.
    private func remembering(_ handles: [UInt64]) -> Batch {
        var batch = Batch()
        var rest = handles[...]
        for filter in filters {
            let part = rest.prefix(addresses(of: filter.family).count * filter.rulesPerAddress)
            rest = rest.dropFirst(part.count)
            let numbers = part.compactMap { UInt32(exactly: $0) }
            guard numbers.count == part.count else { continue }
            let map = FirewallRules.handles(filter.family)
            batch.add(
                numbers.enumerated().map { map.element($0, Claims.word($1), of: owner) },
                to: map.map)
        }
        return batch
    }

    func differences(from found: Admission) -> [Difference] {
        var all = addresses.filter { !found.addresses.contains($0) }.map {
            Difference("firewall rules for \($0)", wanted: "present", found: "absent")
        }
        if let isolation, found.isolation == nil {
            all.append(
                Difference(
                    "ingress policy of \(owner.interface)", wanted: isolation.policy.rawValue,
                    found: "open"))
        }
        return all
    }

    /// Everything, in place of what the owner has; of what is left of it too, which tells less than the
    /// whole does.
    private func draft(
        _ rules: inout Ruleset, replacing isThere: Bool
    ) throws(KernelError) -> Batch {
        var batch = Batch()
        let chain = FirewallRules.chain(isolation)
        let filters = filters.filter { !addresses(of: $0.family).isEmpty }
        let bridged = isolation?.port == nil ? [] : FirewallRules.Bridged.chains
        let shared = FirewallRules.chains
        let chains = [chain] + shared + bridged
        var looks = try rules.findings(
            [.element(FirewallRules.members, member.key)] + chains.map { .chain($0.chain) }
                + filters.flatMap(\.questions))
        let before = looks[FirewallRules.members, member.key]
        let isOurs = before?.comment == owner.tag
        if isThere || isOurs {
            // No packet sees the rules missing meanwhile: it is one transaction.
            try remove(&rules, &batch, keepsTable: true)
        }
        if shared.contains(where: { looks[$0.chain] == nil }) {
            batch.add(FirewallRules.table)
            for set in FirewallRules.allSets { batch.add(set) }
        }
        // No packet comes by the chain of those who are open, so that its rules need not be counted.
        try batch.complete(shared, looks, isCounting: false, &rules)
        if let isolation {
            // A chain that the removal above takes away is made again with the rest.
            if isOurs, before?.value == member.value, try isLast(chain, &rules) {
                looks[.chain(chain.chain)] = nil
            }
            try batch.complete([chain], looks, &rules)
            let bridges = FirewallRules.bridges(isolation.policy)
            let bridge = Element.interfaceName(isolation.bridge)
            batch.add([Element(bridge, member.value)], to: bridges.from)
            batch.add([Element(bridge)], to: bridges.to)
            if let port = isolation.port { try draft(port, looks, &rules, &batch) }
        }
        batch.add([member], to: FirewallRules.members, exclusively: true)
        for filter in filters {
            let own = addresses(of: filter.family)
            try filter.draft(looks, &rules, &batch)
            let claims = FirewallRules.claims(filter.family)
            batch.add(
                own.enumerated().map { claims.element($0, $1.networkOrder, of: owner) },
                to: claims.map)
            for rule in own.flatMap({ filter.rules(for: $0, of: owner) }) {
                batch.add(rule, handled: addresses.count <= Self.mostRemembered)
            }
        }
        return batch
    }

    private func draft(
        _ port: String, _ looks: Ruleset.Findings, _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        let chains = FirewallRules.Bridged.chains
        if chains.contains(where: { looks[$0.chain] == nil }) {
            batch.add(FirewallRules.Bridged.table)
            batch.add(FirewallRules.Bridged.isolated)
        }
        try batch.complete(chains, looks, &rules)
        batch.add([FirewallRules.Bridged.element(port, owner)], to: FirewallRules.Bridged.isolated)
        batch.add(
            [FirewallRules.ports.element(0, Element.interfaceName(port), of: owner)],
            to: FirewallRules.ports.map)
    }

    /// Whether one owner alone needs a chain of a bridge: its rules, the bridge's element, the owner's.
    private func isLast(
        _ chain: (chain: Chain, rules: [Rule]), _ rules: inout Ruleset
    ) throws(KernelError) -> Bool {
        try rules.find([.chain(chain.chain)])[0].map { $0.uses <= chain.rules.count + 2 } ?? false
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            try remove(&rules, &batch, keepsTable: false)
        }
    }

    /// Removes what the owner has; of another implementation's, what is for its addresses.
    private func remove(
        _ rules: inout Ruleset, _ batch: inout Batch, keepsTable: Bool
    ) throws(KernelError) {
        let found = try rules.elements([member.key], of: FirewallRules.members)[0]
        guard let found, found.comment == owner.tag else {
            return try removeForeign(&rules, &batch)
        }
        let maps =
            filters.map { FirewallRules.claims($0.family) }
            + filters.map { FirewallRules.handles($0.family) } + [FirewallRules.ports]
        let claims = try rules.claims(of: owner, in: maps)
        var own: [NamedSet: [Element]] = [:]
        for (map, claims) in zip(maps, claims) {
            batch.remove(claims, from: map.map)
            own[map.map] = claims
        }
        for filter in filters {
            let handles = own[FirewallRules.handles(filter.family).map, default: []]
            guard let claims = own[FirewallRules.claims(filter.family).map], !claims.isEmpty
            else { continue }
            try filter.remove(claims, handles: handles, of: owner, &rules, &batch)
        }
        batch.remove([found], from: FirewallRules.members)
        try removeIsolation(
            found, own[FirewallRules.ports.map, default: []], &rules, &batch,
            keepsTable: keepsTable)
        guard !keepsTable else { return }
        let looks = try rules.findings([.chain(FirewallRules.open), .table(FirewallRules.table)])
        guard let open = looks[FirewallRules.open], let all = looks[FirewallRules.table] else {
            return
        }
        let isOpen = found.chain == FirewallRules.open.name
        var isLastOfBridge = false
        if let (policy, bridge) = found.chain.flatMap(FirewallRules.bridge) {
            isLastOfBridge = try isLast(FirewallRules.chain(policy, bridge), &rules)
        }
        let fixed = FirewallRules.chains.count + FirewallRules.allSets.count
        let isEmpty =
            open.uses - (isOpen ? 1 : 0) <= FirewallRules.chains[0].rules.count
            && all.uses - (isLastOfBridge ? 1 : 0) <= fixed
        if isEmpty { batch.remove(FirewallRules.table) }
    }

    private func removeIsolation(
        _ found: Element, _ ports: [Element], _ rules: inout Ruleset, _ batch: inout Batch,
        keepsTable: Bool
    ) throws(KernelError) {
        if let name = found.chain, let (policy, bridge) = FirewallRules.bridge(ofChain: name) {
            let chain = FirewallRules.chain(policy, bridge)
            if try isLast(chain, &rules) {
                let (from, to) = FirewallRules.bridges(policy)
                let key = Element.interfaceName(bridge)
                batch.remove(try rules.elements([key], of: from).compactMap { $0 }, from: from)
                batch.remove(try rules.elements([key], of: to).compactMap { $0 }, from: to)
                batch.remove(chain.chain)
            }
        }
        let bridged = FirewallRules.Bridged.self
        for claim in ports {
            guard case .data(let port) = claim.value,
                let alone = try rules.find([.chain(bridged.alone)])[0]
            else { continue }
            let element = try rules.elements([port], of: bridged.isolated)[0]
            let own = [element].compactMap { $0 }.filter { $0.comment == owner.tag }
            batch.remove(own, from: bridged.isolated)
            // Its rule is left, and nothing that leads there.
            if !keepsTable, alone.uses - own.count <= 1 { batch.remove(bridged.table) }
        }
    }

    /// Removes the rules of another implementation, which say nothing but the address, unless
    /// somebody else has that by now.
    private func removeForeign(
        _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        for filter in filters {
            let own = addresses(of: filter.family)
            let listed = try rules.listedRules(of: filter.own) ?? []
            // Somebody may have removed the table that says who has any.
            for rule in listed where rule.owner == owner.tag {
                batch.remove(rule: rule.handle, from: filter.own)
            }
            for address in own { filter.removeUnowned(address, of: owner, listed, &batch) }
        }
    }
}
