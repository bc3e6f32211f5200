import CNI
import Glibc
import Netlink
import Nftables
import Rtnetlink
import SystemPackage
import TrafficControl

/// How often a change of the ruleset is tried again because somebody else's came first.
private let ruleAttempts = 20

extension Kernel {
    /// Runs `body` with the host's nftables.
    func withRules<Result>(
        _ body: (inout Ruleset) throws(KernelError) -> Result
    ) throws(KernelError) -> Result { try withRules(.host, body) }

    /// Throws code 50 if the kernel has no nftables, or does not let it be used.
    func requireRules() throws(CNIError) {
        var cause = ""
        do throws(KernelError) {
            let generation = try withRules { (rules) throws(KernelError) in
                try rules.generation()
            }
            guard generation == nil else { return }
        } catch  where error.errno == .notPermitted {
            throw CNIError(.notAvailable, "nftables cannot be used: \(error)")
        } catch {
            cause = ": \(error)"
        }
        throw CNIError(.notAvailable, "the kernel has no nftables" + cause)
    }

    /// Adds what `draft` draws up from what it reads, again if another ADD or DEL has made or removed
    /// a chain meanwhile, or has put an element into one of the contested sets.
    ///
    /// - Returns: The handles that were asked for.
    @discardableResult
    func addRules(
        contesting sets: [NamedSet] = [],
        _ draft: (inout Ruleset) throws(KernelError) -> Batch
    ) throws(KernelError) -> [UInt64] {
        try withRules { (rules) throws(KernelError) in
            for attempt in 1...ruleAttempts {
                do throws(KernelError) {
                    return try rules.commitHandled(draft(&rules))
                } catch  where attempt < ruleAttempts && error.isObstacle(sets) {
                    continue
                }
            }
            return []
        }
    }

    /// Makes what is an owner's with `write`, after `remove` where something of the owner's is in the way.
    ///
    /// Then its container has been started anew without a DEL, and has other addresses now. Where `isLive`
    /// says that it has not, the error stays.
    func replacing(
        former remove: () throws(KernelError) -> Void,
        unless isLive: () throws(KernelError) -> Bool = { () throws(KernelError) in false },
        _ write: () throws(KernelError) -> Void
    ) throws(KernelError) {
        do throws(KernelError) {
            try write()
        } catch  where error.errno == .fileExists {
            guard try !isLive() else { throw error }
            try remove()
            try write()
        }
    }

    /// Looks for objects of nftables; a kernel without it has none.
    func findRules(
        _ questions: [Ruleset.Question]
    ) throws(KernelError) -> Ruleset.Findings {
        do throws(KernelError) {
            return try withRules { (rules) throws(KernelError) in try rules.findings(questions) }
        } catch  where error.errno == .protocolNotSupported || error.errno == .invalidArgument {
            return Ruleset.Findings()
        }
    }

    /// Makes the changes that `plan` draws up from what it reads, again if the ruleset is no longer
    /// what it read; none on a kernel without nftables.
    func changeRules(
        _ plan: (inout Ruleset, inout Batch) throws(KernelError) -> Void
    ) throws(KernelError) {
        do throws(KernelError) {
            try withRules { (rules) throws(KernelError) in
                for attempt in 1...ruleAttempts {
                    guard let generation = try rules.generation() else { return }
                    var batch = Batch()
                    try plan(&rules, &batch)
                    guard !batch.isEmpty else { return }
                    do throws(KernelError) {
                        return try rules.commit(batch, generation: generation)
                    } catch  where error.errno.isRestart && attempt < ruleAttempts {
                        // Several who are in each other's way do not try again at once.
                        usleep(.random(in: 0..<500 << UInt32(min(attempt, 7))))
                        continue
                    }
                }
            }
        } catch  where error.errno == .protocolNotSupported {
            return
        }
    }
}

extension Ruleset {
    /// Whether a chain that has been looked at has as many rules as it should.
    ///
    /// The kernel counts together what a chain consists of and what leads to it. Where it is not known
    /// how much that is, the rules are counted, which takes one more question.
    mutating func isWhole(
        _ chain: Chain, _ look: Finding, rules: Int, references: Int? = nil
    ) throws(KernelError) -> Bool {
        if let references = chain.hook == nil ? references : 0 {
            return look.uses >= rules + references
        }
        guard look.uses >= rules else { return false }
        return try countRules(of: chain) >= rules
    }
}

extension Batch {
    /// Makes what is missing of chains that have been looked at, and fills those again that have lost rules.
    ///
    /// Where it is not `isCounting`, nothing is taken to lead to them, and no rules are counted.
    mutating func complete(
        _ chains: [(chain: Chain, rules: [Rule])], _ looks: Ruleset.Findings,
        isCounting: Bool = true, _ rules: inout Ruleset
    ) throws(KernelError) {
        for (chain, _) in chains where looks[chain] == nil { add(chain, exclusively: true) }
        for (chain, wanted) in chains {
            if let look = looks[chain] {
                let references = isCounting ? nil : 0
                if try !rules.isWhole(chain, look, rules: wanted.count, references: references) {
                    refill(chain, wanted)
                }
            } else {
                for rule in wanted { add(rule) }
            }
        }
    }

    /// Makes rules the only ones of a chain that has lost some.
    mutating func refill(_ chain: Chain, _ rules: [Rule]) {
        removeRules(of: chain)
        for rule in rules { add(rule) }
    }
}

extension KernelError {
    /// Whether another look at the ruleset may help.
    fileprivate func isObstacle(_ contested: [NamedSet]) -> Bool {
        switch errno {
        case .noSuchFileOrDirectory, .resourceBusy: true
        case .fileExists:
            operation.hasPrefix("add chain")
                || contested.contains { operation.hasSuffix($0.description) }
        default: false
        }
    }
}

extension Errno {
    /// The ruleset has changed meanwhile.
    fileprivate var isRestart: Bool { rawValue == ERESTART }
}
