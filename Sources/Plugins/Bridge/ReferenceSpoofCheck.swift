import Netlink
import Nftables
import PluginRuntime

/// What `macspoofchk` of the Go reference plugins made for a container, for a DEL after the programs were
/// swapped.
///
/// Their names say container and interface and not which network they are of, so GC takes nothing.
enum ReferenceSpoofCheck {
    private static let table = Table(.bridge, "nat")

    /// The chain to which a container's port leads, and the one for its hardware address, to which that leads;
    /// none where no chain's name is as long as theirs would be.
    static func chains(of owner: Owner) -> [Chain] {
        let name = "cni-br-iface-\(owner.containerID)-\(owner.interface)"
        let chains = [name, name + "-mac"].map { Chain($0, in: table) }
        return chains.allSatisfy { $0.name.utf8.count <= Chain.longestName } ? chains : []
    }

    /// Removes an owner's chains and what leads to them; table and base chain stay, as with the reference.
    static func remove(
        of owner: Owner, _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        let chains = chains(of: owner)
        guard let first = chains.first else { return }
        let looks = try rules.findings(chains.map { .chain($0) })
        guard !looks.isEmpty else { return }
        let start = Chain("PREROUTING", in: table)
        for rule in try rules.listedRules(of: start) ?? []
        where rule.verdict == .jump(first.name) {
            batch.remove(rule: rule.handle, from: start)
        }
        // What is led to goes after what leads there.
        for chain in chains where looks[chain] != nil { batch.remove(chain) }
    }
}
