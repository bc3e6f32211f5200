import Netlink
import Nftables
import Rtnetlink
import SystemPackage

/// How often a change of the ruleset is tried again because somebody else's came first.
let ruleAttempts = 20

extension Kernel {
    /// Runs `body` with the host's nftables.
    func withRules<Result>(
        _ body: (inout Ruleset) throws(KernelError) -> Result
    ) throws(KernelError) -> Result {
        try returnHome()
        var rules = try Ruleset()
        return try body(&rules)
    }

    /// Makes the changes that `plan` draws up from what it reads, again if the ruleset is no longer
    /// what it read; none on a kernel without nftables.
    func changeRules(
        _ plan: (inout Ruleset, inout Batch) throws(KernelError) -> Void
    ) throws(KernelError) {
        do throws(KernelError) {
            try withRules { (rules) throws(KernelError) in
                for attempt in 1...ruleAttempts {
                    let generation = try rules.generation()
                    var batch = Batch()
                    try plan(&rules, &batch)
                    guard !batch.isEmpty else { return }
                    do throws(KernelError) {
                        return try rules.commit(batch, generation: generation)
                    } catch  where error.errno.isRestart && attempt < ruleAttempts {
                        continue
                    }
                }
            }
        } catch  where error.errno == .protocolNotSupported {
            return
        }
    }
}

extension Errno {
    /// ERESTART: the ruleset has changed meanwhile.
    fileprivate var isRestart: Bool { rawValue == 85 }
}
