package import Netlink
package import Nftables
package import Rtnetlink

/// The nftables of the two namespaces, each opened once for as long as the kernel is.
private final class OpenRules {
    final class One {
        var rules: Ruleset
        init() throws(KernelError) { rules = try Ruleset() }
    }
    var host: One?
    var container: One?

    subscript(side: Side) -> One? {
        get { side == .host ? host : container }
        set { if side == .host { host = newValue } else { container = newValue } }
    }
}

extension Kernel {
    /// Runs `body` with the nftables of a namespace.
    package func withRules<Result>(
        _ side: Side, _ body: (inout Ruleset) throws(KernelError) -> Result
    ) throws(KernelError) -> Result {
        let open = companion as? OpenRules ?? OpenRules()
        companion = open
        if let one = open[side] { return try body(&one.rules) }
        try enter(side)
        let one = try OpenRules.One()
        try returnHome()
        open[side] = one
        return try body(&one.rules)
    }
}
