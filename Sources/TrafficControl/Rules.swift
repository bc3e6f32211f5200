internal import Netlink
internal import Nftables
internal import Rtnetlink

/// The nftables of the two namespaces, open for as long as the kernel is.
///
/// Closing them right after something was removed waits for the kernel to be done with it, 15 ms
/// and more; one wait at the end of the program does for all.
private final class OpenRules {
    final class One {
        var rules: Ruleset
        init() throws(KernelError) { rules = try Ruleset() }
    }
    var open: [Side: One] = [:]
}

extension Kernel {
    /// Runs `body` with the nftables of a namespace.
    func withRules<Result>(
        _ side: Side, _ body: (inout Ruleset) throws(KernelError) -> Result
    ) throws(KernelError) -> Result {
        let all = companion as? OpenRules ?? OpenRules()
        companion = all
        if let one = all.open[side] { return try body(&one.rules) }
        try enter(side)
        let one = try OpenRules.One()
        try returnHome()
        all.open[side] = one
        return try body(&one.rules)
    }
}
