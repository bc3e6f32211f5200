import Addressing
import Netlink
import Nftables

/// The tables of iptables that a family's packets go through, as far as plugins have rules there.
struct IPTables {
    let family: Family

    init(_ family: Family) { self.family = family }

    private var tableFamily: TableFamily { family == .v4 ? .ip : .ip6 }

    var nat: Table { Table(tableFamily, "nat") }
    var raw: Table { Table(tableFamily, "raw") }

    var prerouting: Chain { Chain("PREROUTING", in: nat, .prerouting(.nat, priority: -100)) }
    var output: Chain { Chain("OUTPUT", in: nat, .output(.nat, priority: -100)) }
    var postrouting: Chain { Chain("POSTROUTING", in: nat, .postrouting(.nat, priority: 100)) }
    /// Where connections to the host's own addresses come by.
    var hostPorts: Chain { Chain("CNI-HOSTPORT-DNAT", in: nat) }
    /// What marks packets that are to be masqueraded.
    var setMark: Chain { Chain("CNI-HOSTPORT-SETMARK", in: nat) }
    /// What masquerades marked packets.
    var masquerade: Chain { Chain("CNI-HOSTPORT-MASQ", in: nat) }
    var rawPrerouting: Chain {
        Chain("PREROUTING", in: raw, .prerouting(.filter, priority: -300))
    }

    /// The chains that iptables makes with the table nat.
    var natChains: [Chain] {
        [
            prerouting, Chain("INPUT", in: nat, .input(.nat, priority: 100)), output, postrouting,
        ]
    }

    /// The chains that iptables makes with the table raw.
    var rawChains: [Chain] {
        [rawPrerouting, Chain("OUTPUT", in: raw, .output(.filter, priority: -300))]
    }

    /// The chain that leads to the containers' own.
    func start(of kind: IPTablesRules.Kind) -> Chain {
        kind == .masquerade ? postrouting : hostPorts
    }

    // MARK: what all port mappings need

    /// What leads connections to the host's own addresses to the mappings.
    var jumps: [Rule] {
        [prerouting, output].map {
            Rule(in: $0, [.isForHost, .counter, .verdict(.jump(hostPorts.name))])
        }
    }

    /// What marks, what masquerades by the mark, and what leads there.
    func marking(bit: Int) -> [(rule: Rule, isFirst: Bool)] {
        let bits = UInt32(1) << UInt32(bit)
        let rules = [
            Rule(
                in: setMark,
                [.comment("CNI portfwd masquerade mark"), .counter, .setMark(bits)]),
            Rule(
                in: masquerade,
                PortCondition(test: .mark(bits, mask: bits), isInverted: false).expressions
                    + [.counter, .masqueradeTarget(tableFamily)]),
            Rule(
                in: postrouting,
                [
                    .comment("CNI portfwd requiring masquerade"), .counter,
                    .verdict(.jump(masquerade.name)),
                ]),
        ]
        return rules.map { ($0, $0.chain == postrouting) }
    }

    static let guardComment = "CNI portfwd loopback guard"

    /// Whether there are the guards of port mappings.
    func hasGuards(_ rules: inout Ruleset) throws(KernelError) -> Bool {
        try (rules.listedRules(of: rawPrerouting) ?? []).contains {
            $0.commentOfMatch == Self.guardComment
        }
    }

    /// With `route_localnet` the kernel no longer drops what comes from elsewhere and is from or to
    /// 127.0.0.0/8; these rules do.
    var guards: [Rule] {
        guard family == .v4,
            let loopback = IPPrefix(IPAddress(.v4, bits: 0x7f00_0000), length: 8)
        else { return [] }
        let isFromElsewhere = PortCondition(test: .link(isInput: true, "lo"), isInverted: true)
        return [true, false].map { isSource in
            Rule(
                in: rawPrerouting,
                isFromElsewhere.expressions + loopback.iptables(isSource: isSource)
                    + [.comment(Self.guardComment), .counter, .verdict(.drop)])
        }
    }
}

/// Removes from the tables of iptables what nobody needs any more, the tables among it.
///
/// Who made a table that is empty cannot be told, and need not: iptables makes it whenever it is missing.
struct IPTablesDeparture {
    private let tables: IPTables
    /// How many rules of a chain the batch removes, and how many that lead there.
    private var rules: [String: Int] = [:]
    private var jumps: [String: Int] = [:]
    private var chains: [Chain] = []
    private var hadGuards = false

    init(_ tables: IPTables) { self.tables = tables }

    /// Notes that the batch removes a rule of a chain, or the chain with it.
    mutating func note(_ rule: ListedRule, of chain: Chain) {
        rules[chain.description, default: 0] += 1
        guard case .jump(let target) = rule.verdict else { return }
        jumps[Chain(target, in: chain.table).description, default: 0] += 1
    }

    /// Notes that the batch removes a chain.
    mutating func note(_ chain: Chain) { chains.append(chain) }

    /// Removes what all port mappings have needed, but for what somebody else uses as well.
    mutating func takeShared(_ batch: inout Batch, _ ruleset: inout Ruleset) throws(KernelError) {
        let shared = [tables.hostPorts, tables.masquerade, tables.setMark]
        for chain in [tables.prerouting, tables.output, tables.postrouting] {
            for rule in try ruleset.listedRules(of: chain) ?? []
            where shared.contains(where: { rule.verdict == .jump($0.name) }) {
                batch.remove(rule: rule.handle, from: chain)
                note(rule, of: chain)
            }
        }
        if tables.family == .v4 {
            for rule in try ruleset.listedRules(of: tables.rawPrerouting) ?? []
            where rule.commentOfMatch == IPTables.guardComment {
                batch.remove(rule: rule.handle, from: tables.rawPrerouting)
                note(rule, of: tables.rawPrerouting)
                hadGuards = true
            }
        }
        let looks = try ruleset.findings(shared.map { .chain($0) })
        for chain in shared {
            guard let look = looks[chain] else { continue }
            let content = try ruleset.listedRules(of: chain)?.count ?? 0
            guard look.uses <= content + jumps[chain.description, default: 0] else { continue }
            batch.remove(chain)
            chains.append(chain)
        }
    }

    /// Removes the tables that have nothing but their own chains, without rules.
    func complete(_ batch: inout Batch, _ ruleset: inout Ruleset) throws(KernelError) {
        try complete(tables.nat, tables.natChains, &batch, &ruleset)
        if hadGuards { try complete(tables.raw, tables.rawChains, &batch, &ruleset) }
    }

    private func complete(
        _ table: Table, _ own: [Chain], _ batch: inout Batch, _ ruleset: inout Ruleset
    ) throws(KernelError) {
        let looks = try ruleset.findings([.table(table)] + own.map { .chain($0) })
        let there = own.filter { looks[$0] != nil }
        let isEmpty = there.allSatisfy { chain in
            looks[chain]?.uses ?? 0 <= rules[chain.description, default: 0]
        }
        let gone = chains.filter { $0.table == table }.count
        guard isEmpty, let uses = looks[table]?.uses, uses <= there.count + gone else { return }
        batch.remove(table)
    }
}
