import Addressing
import Netlink
import Nftables
import Plan
import PluginRuntime
import Rtnetlink
import SystemPackage

/// What a container has in the tables of iptables: a chain of its own in `nat`, and what leads there.
///
/// Chains, names and comments are those of the reference plugins, so that either removes what the other
/// has made. The rules are what `iptables` itself would write. Whose they are is in their user data,
/// which it neither shows nor compares; the reference's have none.
struct IPTablesRules: Resource {
    /// What the rules are for.
    enum Kind: Sendable {
        /// `ipMasq` of bridge and ptp.
        case masquerade
        /// Port mappings.
        case portMappings
    }

    /// The rules of a family.
    struct Content: Sendable, Equatable {
        let family: Family
        /// Rules that all containers need; one that comes first in its chain is marked.
        var shared: [(rule: Rule, isFirst: Bool)] = []
        /// What leads to the container's chain.
        var entries: [Rule] = []
        /// The rules of the container's chain.
        var rules: [Rule] = []
        /// A chain of somebody else's that they lead to.
        var foreignChain: Chain?

        static func == (one: Content, other: Content) -> Bool {
            one.family == other.family && one.entries == other.entries
                && one.rules == other.rules && one.shared.map(\.rule) == other.shared.map(\.rule)
        }
    }

    let owner: Owner
    let kind: Kind
    /// What there should be; nothing is known at DEL.
    var contents: [Content] = []
    /// The ports that connections without an end may still go to the former holder of.
    var ports: [Connections.Port] = []
    /// The link whose `route_localnet` comes on after the rules.
    var opened: String?
    /// The addresses that the container had, if that is known, for rules that say no more than these.
    var formerAddresses: [IPAddress] = []

    var sharing: Sharing { .owned }
    /// `write` finds what is there.
    var isExclusive: Bool { true }
    var goesFirst: Bool { kind == .masquerade }
    var description: String {
        (kind == .masquerade ? "masquerade" : "port mappings") + " in iptables of " + owner.tag
    }

    func read(_ kernel: Kernel) throws(KernelError) -> IPTablesRules? {
        try kernel.withRules { (rules) throws(KernelError) -> IPTablesRules? in
            var found = self
            found.contents = []
            for content in contents {
                var there = content
                var lists: [String: [ListedRule]] = [:]
                let wanted = content.shared.map(\.rule) + content.entries + content.rules
                for chain in wanted.map(\.chain) where lists[chain.description] == nil {
                    lists[chain.description] = try rules.listedRules(of: chain) ?? []
                }
                let isThere = { (rule: Rule, isShared: Bool) in
                    lists[rule.chain.description, default: []].contains {
                        $0.isSame(as: rule, ofAnybody: isShared)
                    }
                }
                // The reference has no guards for what it attaches.
                let own = lists[chain(content.family).description, default: []]
                let isForeign = !own.isEmpty && own.allSatisfy { $0.owner == nil }
                there.shared = content.shared.filter { rule, _ in
                    isThere(rule, true)
                        || (isForeign && rule.chain == IPTables(content.family).rawPrerouting)
                }
                there.entries = content.entries.filter { isThere($0, false) }
                there.rules = content.rules.filter { isThere($0, false) }
                found.contents.append(there)
            }
            return found
        }
    }

    func write(_ kernel: Kernel, over found: IPTablesRules?) throws(KernelError) {
        guard contents.contains(where: { !$0.rules.isEmpty }) else { return }
        try kernel.addRules { (rules) throws(KernelError) in
            var batch = try draft(&rules)
            if let opened, try rules.find([LoopbackRoutes.question(opened)])[0] == nil {
                LoopbackRoutes.note(opened, &batch)
            }
            return batch
        }
        try kernel.forgetConnections(to: ports)
    }

    func differences(from found: IPTablesRules) -> [Difference] {
        var chains: [Chain] = []
        for (wanted, found) in zip(contents, found.contents) where wanted != found {
            let there = found.shared.map(\.rule) + found.entries + found.rules
            for rule in wanted.shared.map(\.rule) + wanted.entries + wanted.rules
            where !there.contains(rule) && !chains.contains(rule.chain) {
                chains.append(rule.chain)
            }
        }
        return chains.map { Difference("rules of \($0)", wanted: "present", found: "absent") }
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        var freed: [Connections.Port] = []
        let questions =
            Family.allCases.map { Ruleset.Question.chain(chain($0)) }
            + ReferenceTables.questions(kind)
        // Most hosts have none of it.
        guard try !kernel.findRules(questions).isEmpty else { return }
        var loopback = LoopbackRoutes()
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            freed = []
            let looks = try rules.findings(questions)
            if kind == .masquerade {
                // What the rules were there for must not get by while the link is still there.
                try kernel.stopPort(owner.hostEnd, alias: owner.tag, in: .host)
            }
            var isLast = false
            for family in Family.allCases where looks[chain(family)] != nil {
                let (ports, hasOthers) = try remove(family, &rules, &batch)
                freed += ports
                if family == .v4 { isLast = !hasOthers }
            }
            if kind == .portMappings {
                // Those by the other backend have guards of their own.
                if isLast { isLast = try !rules.contains(PortRules.table) }
                try loopback.settle(isLast: isLast, kernel, &rules, &batch)
            }
            freed += try ReferenceTables.remove(
                of: owner, kind, formerAddresses, &rules, &batch)
        }
        try kernel.forgetConnections(to: freed)
    }

    /// Whose rules of a kind there are.
    static func owners(_ kind: Kind, _ kernel: Kernel) throws(KernelError) -> [Owner] {
        try kernel.withRules { (rules) throws(KernelError) in
            var owners: [Owner] = []
            for family in Family.allCases {
                let start = IPTables(family).start(of: kind)
                for rule in try rules.listedRules(of: start) ?? [] {
                    guard let owner = rule.owner.flatMap({ Owner(tag: $0) }),
                        !owners.contains(owner)
                    else { continue }
                    owners.append(owner)
                }
            }
            return owners
        }
    }

    /// Removes the rules of some owners.
    static func remove(
        _ kind: Kind, from kernel: Kernel, _ isStale: (Owner) -> Bool
    ) throws(KernelError) {
        for owner in try owners(kind, kernel) where isStale(owner) {
            try IPTablesRules(owner: owner, kind: kind).erase(kernel)
        }
    }

    /// The owner's chain of a family.
    func chain(_ family: Family) -> Chain {
        let prefix = kind == .masquerade ? "CNI-" : "CNI-DN-"
        return Chain(owner.referenceName(prefix, length: 28), in: IPTables(family).nat)
    }
}

// MARK: ADD

extension IPTablesRules {
    /// Everything that is missing; what the owner has had is replaced.
    private func draft(_ rules: inout Ruleset) throws(KernelError) -> Batch {
        var batch = Batch()
        for content in contents where !content.rules.isEmpty {
            if let foreign = content.foreignChain, try !rules.has(foreign) {
                throw KernelError("find \(foreign)", .noSuchFileOrDirectory)
            }
            let (tables, own) = (IPTables(content.family), chain(content.family))
            var chains = tables.natChains + [tables.start(of: kind), own]
            for (rule, _) in content.shared where !chains.contains(rule.chain) {
                // As iptables does, a table is made with all its chains.
                if rule.chain.table == tables.raw { chains += tables.rawChains }
                if !chains.contains(rule.chain) { chains.append(rule.chain) }
            }
            var unique: [Chain] = []
            for chain in chains where !unique.contains(chain) { unique.append(chain) }
            let looks = try rules.findings(unique.map { .chain($0) })
            let missing = unique.filter { looks[$0] == nil }
            for table in [tables.nat, tables.raw]
            where missing.contains(where: { $0.table == table }) {
                batch.add(table)
            }
            for chain in missing { batch.add(chain, exclusively: true) }
            for (rule, isFirst) in content.shared {
                let listed =
                    missing.contains(rule.chain) ? [] : try rules.listedRules(of: rule.chain) ?? []
                if !listed.contains(where: { $0.isSame(as: rule, ofAnybody: true) }) {
                    batch.add(rule, first: isFirst)
                }
            }
            if !missing.contains(own) {
                for (rule, chain) in try ownRules(content.family, &rules).mine {
                    batch.remove(rule: rule.handle, from: chain)
                }
            }
            for rule in content.rules + content.entries { batch.add(rule) }
        }
        return batch
    }
}

// MARK: DEL

extension IPTablesRules {
    /// The owner's rules in its chain and those that lead there; nobody's are its own too, and others are
    /// those of the container's other interfaces.
    ///
    /// What else leads to containers' chains is left.
    private func ownRules(
        _ family: Family, _ rules: inout Ruleset
    ) throws(KernelError) -> (mine: [(rule: ListedRule, chain: Chain)], others: Int, left: Int) {
        let (own, start) = (chain(family), IPTables(family).start(of: kind))
        let isMine = { (rule: ListedRule) in rule.owner == nil || rule.owner == owner.tag }
        let content = try rules.listedRules(of: own) ?? []
        let all = try rules.listedRules(of: start) ?? []
        let entries = all.filter { $0.verdict == .jump(own.name) }
        let mine =
            entries.filter(isMine).map { ($0, start) } + content.filter(isMine).map { ($0, own) }
        return (
            mine, entries.count + content.count - mine.count,
            all.count - entries.filter(isMine).count
        )
    }

    /// Removes what the owner has in a family, and with the last of all what all have needed; the ports
    /// that are free then, and whether anybody has any still.
    private func remove(
        _ family: Family, _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) -> (ports: [Connections.Port], hasOthers: Bool) {
        var ports: [Connections.Port] = []
        let (mine, others, left) = try ownRules(family, &rules)
        let own = chain(family)
        var departure = IPTablesDeparture(IPTables(family))
        for (rule, chain) in mine {
            departure.note(rule, of: chain)
            ports += rule.portsOfEntry
            guard others > 0 || chain != own else { continue }
            batch.remove(rule: rule.handle, from: chain)
        }
        if others == 0 {
            batch.remove(own)
            departure.note(own)
        }
        if kind == .portMappings, left == 0 { try departure.takeShared(&batch, &rules) }
        try departure.complete(&batch, &rules)
        return (ports, left > 0)
    }
}

extension ListedRule {
    /// The ports that it leads to a container's chain.
    fileprivate var portsOfEntry: [Connections.Port] {
        guard let number = compared.first(where: { $0.count == 1 })?.first else { return [] }
        return portsOfMatch.map { Connections.Port(number, $0) }
    }

    /// Whether it does what a rule does: to the last byte, or as another version of `iptables` has written
    /// it for the reference, or for all.
    fileprivate func isSame(as rule: Rule, ofAnybody: Bool) -> Bool {
        if isExactly(rule) { return ofAnybody || owner == nil || owner == rule.owner }
        if ofAnybody, case .jump = verdict { return ends(as: rule) }
        return owner == nil && ends(as: rule)
    }
}

extension Kernel {
    /// Makes connections without an end of their own, those of UDP and the long ones of SCTP, look
    /// for their way anew.
    func forgetConnections(to ports: [Connections.Port]) throws(KernelError) {
        let ports = ports.filter(\.hasNoEnd)
        guard !ports.isEmpty else { return }
        try returnHome()
        var connections = try Connections()
        var known: [ArraySlice<UInt8>: Bool] = [:]
        // What passes through the host to the same port elsewhere is nobody's here.
        try connections.forget(ports) { (bytes) throws(KernelError) in
            if let isLocal = known[bytes] { return isLocal }
            let isLocal = try IPAddress(networkOrder: bytes).map { (address) throws(KernelError) in
                try self.isOwn(address)
            }
            known[bytes] = isLocal ?? false
            return isLocal ?? false
        }
    }
}

extension Connections.Port {
    /// Whether connections to it stay when whoever had it goes.
    fileprivate var hasNoEnd: Bool { kind != Transport.tcp.number }
}
