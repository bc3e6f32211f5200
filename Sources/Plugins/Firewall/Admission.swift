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
        let found = try rules.find([
            .element(bridges.from, bridge), .element(bridges.to, bridge),
        ])
        guard found[0]?.element?.value == member.value, found[1] != nil else { return false }
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
        let looks = try rules.find(
            [.element(FirewallRules.members, member.key), .chain(chain.chain)]
                + (shared + bridged).map { .chain($0.chain) } + filters.flatMap(\.questions))
        let before = looks[0]?.element
        let places = looks.dropFirst(2)
        if isThere || before?.comment == owner.tag {
            // No packet sees the rules missing meanwhile: it is one transaction.
            try remove(&rules, &batch, keepsTable: true)
        }
        if places.prefix(shared.count).contains(where: { $0 == nil }) {
            batch.add(FirewallRules.table)
            for set in FirewallRules.allSets { batch.add(set) }
        }
        // No packet comes by the chain of those who are open, so that its rules need not be counted.
        try batch.complete(
            shared, Array(places.prefix(shared.count)), isCounting: false, &rules)
        // A chain that the removal above takes away is made again with the rest.
        let isGone = before?.comment == owner.tag && before?.value == member.value
        if let isolation {
            let isRemoved = isGone ? try isLast(chain, &rules) : false
            try batch.complete([chain], [isRemoved ? nil : looks[1]], &rules)
            let bridges = FirewallRules.bridges(isolation.policy)
            let bridge = Element.interfaceName(isolation.bridge)
            batch.add([Element(bridge, member.value)], to: bridges.from)
            batch.add([Element(bridge)], to: bridges.to)
            if let port = isolation.port {
                let looks = Array(places.dropFirst(shared.count).prefix(bridged.count))
                try draft(port, looks, &rules, &batch)
            }
        }
        batch.add([member], to: FirewallRules.members, exclusively: true)
        for (index, filter) in filters.enumerated() {
            let own = addresses(of: filter.family)
            let size = filter.questions.count
            let chains = places.dropFirst(shared.count + bridged.count + index * size).prefix(size)
            try filter.draft(Array(chains), &rules, &batch)
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
        _ port: String, _ looks: [Ruleset.Finding?], _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        if looks.contains(where: { $0 == nil }) {
            batch.add(FirewallRules.Bridged.table)
            batch.add(FirewallRules.Bridged.isolated)
        }
        try batch.complete(FirewallRules.Bridged.chains, looks, &rules)
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
        for (map, claims) in zip(maps, claims) { batch.remove(claims, from: map.map) }
        for (index, filter) in filters.enumerated() where !claims[index].isEmpty {
            try filter.remove(
                claims[index], handles: claims[filters.count + index], of: owner, &rules, &batch)
        }
        batch.remove([found], from: FirewallRules.members)
        try removeIsolation(
            found, claims[2 * filters.count], &rules, &batch, keepsTable: keepsTable)
        guard !keepsTable else { return }
        let looks = try rules.find([.chain(FirewallRules.open), .table(FirewallRules.table)])
        guard let open = looks[0], let all = looks[1] else { return }
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

extension IPTablesFilter {
    /// Whether packets come to the plugin's chain, and from there to the operator's.
    fileprivate func isReached(_ rules: inout Ruleset) throws(KernelError) -> Bool {
        for jump in jumps {
            let listed = try rules.listedRules(of: jump.chain) ?? []
            guard listed.contains(where: { $0.verdict == jump.expressions.last?.verdict }) else {
                return false
            }
        }
        return true
    }

    /// What `draft` must know of the chains.
    fileprivate var questions: [Ruleset.Question] {
        [.chain(forward), .chain(own), .chain(admin), .table(table)] + others.map { .chain($0) }
    }

    /// The table's other chains that packets enter by themselves.
    private var others: [Chain] { ["INPUT", "OUTPUT"].map { Chain($0, in: table) } }

    /// The table and the chains, as far as they are missing; what there is stays as it is.
    fileprivate func draft(
        _ looks: [Ruleset.Finding?], _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        if looks[0] == nil { batch.add(table) }
        for (chain, look) in zip([forward, own, admin], looks) where look == nil {
            batch.add(chain, exclusively: true)
        }
        // The kernel counts a chain's rules and what leads to it.
        let uses = looks.map { $0?.uses ?? 0 }
        let listed = uses[0] == 0 ? [] : try rules.listedRules(of: forward) ?? []
        if !listed.contains(where: { $0.verdict == .jump(own.name) }) {
            batch.add(jumps[0], first: true)
        }
        if try !isJumpedTo(looks, listed, &rules) { batch.add(jumps[1], first: true) }
    }

    /// Whether the plugin's chain leads to the operator's.
    private func isJumpedTo(
        _ looks: [Ruleset.Finding?], _ forwarded: [ListedRule], _ rules: inout Ruleset
    ) throws(KernelError) -> Bool {
        guard let there = looks[1], let aim = looks[2], there.uses > 0, aim.uses > 0 else {
            return false
        }
        // Where no other chain has rules that may lead there, it is enough to count: the plugin's has
        // two for each container.
        let isOnlyOurs =
            looks[3]?.uses ?? 0 <= 3 + others.count && looks[4...].allSatisfy { $0?.uses ?? 0 == 0 }
            && !forwarded.contains {
                $0.verdict == .jump(admin.name) || $0.verdict == .goto(admin.name)
            }
        return isOnlyOurs
            ? try aim.uses > rules.countRules(of: admin)
            : try !rules.rules(of: own, leadingTo: admin).isEmpty
    }

    /// Removes the rules of an owner's addresses, by their handles where these are known.
    ///
    /// Who has loaded the tables from a listing of iptables has given the rules other handles, and no owners.
    fileprivate func remove(
        _ claims: [Element], handles: [Element], of owner: Owner, _ rules: inout Ruleset,
        _ batch: inout Batch
    ) throws(KernelError) {
        let known = handles.compactMap { element -> UInt64? in
            guard case .data(let word) = element.value else { return nil }
            return UInt64(Claims.number(word))
        }
        let found = try rules.find(known.map { .rule(own, $0) })
        if known.count == claims.count * rulesPerAddress,
            found.allSatisfy({ $0?.owner == owner.tag })
        {
            for handle in known { batch.remove(rule: handle, from: own) }
            return
        }
        let listed = try rules.listedRules(of: own) ?? []
        let mine = listed.filter { $0.owner == owner.tag }
        for rule in mine { batch.remove(rule: rule.handle, from: own) }
        guard mine.isEmpty else { return }
        for claim in claims {
            guard case .data(let bytes) = claim.value,
                let address = IPAddress(networkOrder: bytes[...])
            else { continue }
            removeUnowned(address, of: owner, listed, &batch)
        }
    }

    /// Removes the rules of an address that are nobody's, unless somebody has some for it.
    fileprivate func removeUnowned(
        _ address: IPAddress, of owner: Owner, _ listed: [ListedRule], _ batch: inout Batch
    ) {
        let isTaken = listed.contains {
            $0.owner != nil && $0.compared == [address.networkOrder]
        }
        guard !isTaken else { return }
        for rule in self.rules(for: address, of: owner) {
            if let rule = listed.first(where: { $0.isSame(as: rule) }) {
                batch.remove(rule: rule.handle, from: own)
            }
        }
    }
}

extension ListedRule {
    /// Whether it is what a rule is, whoever has made it.
    fileprivate func isSame(as rule: Rule) -> Bool {
        names == rule.names && verdict == rule.expressions.last?.verdict
            && compared == rule.expressions.compactMap(\.compared)
    }
}

extension Expression {
    fileprivate var verdict: Verdict? {
        if case .verdict(let verdict) = self { verdict } else { nil }
    }

    fileprivate var compared: [UInt8]? {
        if case .compare(_, _, let bytes) = self { bytes } else { nil }
    }
}
