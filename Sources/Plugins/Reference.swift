internal import CMd
import Netlink
import Nftables
import PluginRuntime
import Rtnetlink

/// The rules that a Go reference plugin made for a container, for a DEL after the programs were swapped.
///
/// Chains of the tables `nat` are theirs, as `iptables` keeps them in nftables. What its legacy variant
/// made is out of nftables' reach.
struct ReferenceRules {
    /// What the name of the container's chain begins with.
    private let prefix: String
    /// The chain whose rules lead there.
    private let start: String

    /// What `bridge` and `ptp` make for `ipMasq`.
    static let masquerade = ReferenceRules(prefix: "CNI-", start: "POSTROUTING")
    /// What `portmap` makes.
    static let portMappings = ReferenceRules(prefix: "CNI-DN-", start: "CNI-HOSTPORT-DNAT")

    /// Removes the container's chain and what leads there, in both families.
    func remove(of owner: Owner, from kernel: Kernel) throws(KernelError) {
        let name = owner.referenceName(prefix, length: 28)
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            for family in [TableFamily.ip, .ip6] {
                let table = Table(family, "nat")
                let chain = Chain(name, in: table)
                let start = Chain(start, in: table)
                guard try rules.has(chain) else { continue }
                for handle in try rules.rules(of: start, leadingTo: chain) {
                    batch.remove(rule: handle, from: start)
                }
                batch.remove(chain)
            }
        }
    }
}

extension Owner {
    /// The name that the reference plugins give to what they make for the container: a prefix and
    /// digits of the SHA-512 of network and container ID, whatever the interface.
    func referenceName(_ prefix: String, length: Int) -> String {
        var digits = [CChar](repeating: 0, count: 2 * Int(SHA512_DIGEST_LENGTH) + 1)
        let text = Array((network + containerID).utf8)
        unsafe SHA512Data(text, text.count, &digits)
        let wanted = digits.prefix(length - prefix.utf8.count).map { UInt8(bitPattern: $0) }
        return prefix + String(decoding: wanted, as: UTF8.self)
    }
}
