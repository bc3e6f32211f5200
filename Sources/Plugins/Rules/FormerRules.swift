import Addressing
import Netlink
import Nftables
import Plan
import PluginRuntime
import Rtnetlink

/// Rules that an attachment may have though its configuration does not say so: that may have been changed
/// since ADD.
///
/// DEL asks for all of them at once; ADD makes none, and CHECK knows of none.
struct FormerRules: Resource {
    let owner: Owner
    /// Whether its traffic may be masqueraded.
    let masquerade: Bool
    /// Whether its addresses may be checked.
    let check: Bool

    var sharing: Sharing { .owned }
    var isExclusive: Bool { true }
    var goesFirst: Bool { true }
    var description: String { "former rules of " + owner.tag }

    private var former: [(resource: any Resource<Kernel>, questions: [Ruleset.Question])] {
        let iptables = IPTablesRules(owner: owner, kind: .masquerade)
        let masquerades: [(resource: any Resource<Kernel>, questions: [Ruleset.Question])] = [
            (Masquerade(owner: owner, addresses: []), Masquerade.questions(of: owner)),
            (iptables, Family.allCases.map { .chain(iptables.chain($0)) }),
        ]
        let check = SpoofCheck(owner: owner, port: owner.hostEnd, mac: nil)
        let checks: [Ruleset.Question] =
            [.element(SpoofRules.claims.map, Claims.key(of: owner, 0))]
            + ReferenceSpoofCheck.chains(of: owner).prefix(1).map { .chain($0) }
        return (masquerade ? masquerades : []) + (self.check ? [(check, checks)] : [])
    }

    func read(_ kernel: Kernel) throws(KernelError) -> FormerRules? { self }

    func write(_ kernel: Kernel, over found: FormerRules?) throws(KernelError) {}

    func erase(_ kernel: Kernel) throws(KernelError) {
        try kernel.returnHome()
        let former = former
        let looks = try kernel.findRules(former.flatMap(\.questions))
        for (resource, questions) in former where questions.contains(where: { looks[$0] != nil }) {
            try resource.erase(kernel)
        }
    }

    func differences(from found: FormerRules) -> [Difference] { [] }
}
