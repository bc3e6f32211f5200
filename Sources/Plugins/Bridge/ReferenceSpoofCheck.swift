import Netlink
import Nftables
import PluginRuntime
import Rtnetlink

/// What `macspoofchk` of the Go reference plugins made for a container, for a DEL after the programs were
/// swapped.
///
/// Their names say container and interface and not which network they are of, so GC takes nothing.
enum ReferenceSpoofCheck {
    private static let table = Table(.bridge, "nat")

    /// The chain to which a container's port leads.
    static func chain(of owner: Owner) -> Chain {
        Chain("cni-br-iface-\(owner.containerID)-\(owner.interface)", in: table)
    }

    /// Removes an owner's chains and what leads to them; table and base chain stay, as with the reference.
    static func remove(of owner: Owner, from kernel: Kernel) throws(KernelError) {
        let chain = chain(of: owner)
        // From the port to the hardware address: what is led to goes after what leads there.
        let chains = [chain, Chain(chain.name + "-mac", in: table)]
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            let looks = try rules.find(chains.map { .chain($0) })
            guard looks.contains(where: { $0 != nil }) else { return }
            let start = Chain("PREROUTING", in: table)
            for rule in try rules.listedRules(of: start) ?? []
            where rule.verdict == .jump(chain.name) {
                batch.remove(rule: rule.handle, from: start)
            }
            for (chain, look) in zip(chains, looks) where look != nil { batch.remove(chain) }
        }
    }
}
