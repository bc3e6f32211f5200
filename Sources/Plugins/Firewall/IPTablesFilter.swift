import Addressing
import Netlink
import Nftables
import PluginRuntime

/// The table `filter` of iptables.
struct IPTablesFilter {
    let family: Family
    let adminName: String

    var table: Table { Table(family == .v4 ? .ip : .ip6, "filter") }
    var forward: Chain { Chain("FORWARD", in: table, .forward(.filter, priority: 0)) }
    var own: Chain { Chain("CNI-FORWARD", in: table) }
    var admin: Chain { Chain(adminName, in: table) }

    /// What leads from FORWARD to the plugin's chain.
    var jumpToOwn: Rule {
        Rule(
            in: forward,
            [.comment("CNI firewall plugin rules"), .counter, .verdict(.jump(own.name))])
    }

    /// What leads from the plugin's chain to the operator's.
    var jumpToAdmin: Rule {
        Rule(
            in: own,
            [
                .comment("CNI firewall plugin admin overrides"), .counter,
                .verdict(.jump(admin.name)),
            ])
    }

    /// How many rules admit an address.
    var rulesPerAddress: Int { 2 }

    /// Admits replies to an address, and all that it sends.
    func rules(for address: IPAddress, of owner: Owner) -> [Rule] {
        let size = family.bitWidth / 8
        return [true, false].map { isReply in
            let offset = family.sourceOffset + (isReply ? size : 0)
            return Rule(
                in: own, owner: owner.tag,
                [
                    .payload(.network, offset: offset, length: size, to: FirewallRules.name),
                    .compare(FirewallRules.name, .equal, address.networkOrder),
                ] + (isReply ? [.isReply] : []) + [.counter, .verdict(.accept)])
        }
    }
}

extension IPTablesFilter {
    /// Whether packets come to the plugin's chain, and from there to the operator's.
    func isReached(_ rules: inout Ruleset) throws(KernelError) -> Bool {
        for jump in [jumpToOwn, jumpToAdmin] {
            let listed = try rules.listedRules(of: jump.chain) ?? []
            guard listed.contains(where: { $0.verdict == jump.expressions.last?.verdict }) else {
                return false
            }
        }
        return true
    }

    /// What `draft` must know of the chains.
    var questions: [Ruleset.Question] {
        [.table(table)] + ([forward, own, admin] + others).map { .chain($0) }
    }

    /// The table's other chains that packets enter by themselves.
    private var others: [Chain] { ["INPUT", "OUTPUT"].map { Chain($0, in: table) } }

    /// The table and the chains, as far as they are missing; what there is stays as it is.
    func draft(
        _ looks: Ruleset.Findings, _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        if looks[forward] == nil { batch.add(table) }
        for chain in [forward, own, admin] where looks[chain] == nil {
            batch.add(chain, exclusively: true)
        }
        let isEmpty = looks[forward]?.uses ?? 0 == 0
        let forwarded = isEmpty ? [] : try rules.listedRules(of: forward) ?? []
        if !forwarded.contains(where: { $0.verdict == .jump(own.name) }) {
            batch.add(jumpToOwn, first: true)
        }
        if try !leadsToAdmin(looks, forwarded, &rules) { batch.add(jumpToAdmin, first: true) }
    }

    /// Whether the plugin's chain leads to the operator's.
    private func leadsToAdmin(
        _ looks: Ruleset.Findings, _ forwarded: [ListedRule], _ rules: inout Ruleset
    ) throws(KernelError) -> Bool {
        // The kernel counts a chain's rules and what leads to it.
        guard let there = looks[own], let aim = looks[admin], there.uses > 0, aim.uses > 0 else {
            return false
        }
        // Where no other chain has rules that may lead there, it is enough to count: the plugin's has
        // two for each container.
        let known = [forward, own, admin] + others
        let isOnlyOurs =
            looks[table]?.uses ?? 0 <= known.count
            && others.allSatisfy { looks[$0]?.uses ?? 0 == 0 }
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
    func remove(
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
    func removeUnowned(
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
    func isSame(as rule: Rule) -> Bool {
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
