import Netlink
import Nftables
import Rtnetlink
import SystemPackage

/// The links of the host whose `route_localnet` is on for port mappings.
///
/// With it packets from elsewhere may be to and from 127.0.0.0/8, but for what guards them. So it comes
/// on after the guards, and is off before they go with the last mapping; also where it was on before, since
/// that may be what is left of mappings whose rules somebody has flushed.
struct LoopbackRoutes {
    private static let table = Table(.inet, "cni_route_localnet")
    private static let links = NamedSet("links", in: table, of: [.interfaceName])

    /// The links that are off because the guards are about to go.
    private var closed: [String] = []

    /// The path of a link's setting below /proc/sys.
    static func path(_ link: String) -> String { "net/ipv4/conf/\(link)/route_localnet" }

    /// What shows whether a link is noted.
    static func question(_ link: String) -> Ruleset.Question {
        .element(links, Element.interfaceName(link))
    }

    /// Notes a link in the transaction that makes the guards.
    static func note(_ link: String, _ batch: inout Batch) {
        batch.add(table)
        batch.add(links)
        batch.add([Element(Element.interfaceName(link))], to: links)
    }

    /// Switches it off if the batch removes the last guards; on again if an earlier try has, and others
    /// have come meanwhile.
    mutating func settle(
        isLast: Bool, _ kernel: Kernel, _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) {
        guard isLast else {
            // Without the table another has closed them with the last mapping.
            guard !closed.isEmpty, try rules.contains(Self.table) else { return }
            for link in closed { try Self.set(link, "1", kernel) }
            closed = []
            return
        }
        guard let noted = try rules.elements(of: Self.links) else { return }
        for element in noted {
            let link = String(decoding: element.key.prefix { $0 != 0 }, as: UTF8.self)
            try Self.set(link, "0", kernel)
            closed.append(link)
        }
        batch.remove(Self.table)
    }

    /// Sets a link's setting; the link may have gone.
    private static func set(
        _ link: String, _ value: String, _ kernel: Kernel
    ) throws(KernelError) {
        do throws(KernelError) {
            try kernel.setSysctl(path(link), to: value, in: .host)
        } catch  where error.errno == .noSuchFileOrDirectory {
            return
        } catch  where error.errno == .readOnlyFileSystem {
            guard try kernel.sysctl(path(link), in: .host) == value else { throw error }
        }
    }
}
