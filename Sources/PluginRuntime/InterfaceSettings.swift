public import Addressing
public import CNI
public import Plan
public import Rtnetlink

extension Sysctl {
    /// The IPv6 settings of a container's interface.
    public static func forIPv6(
        of attachment: Attachment, detectsDuplicates: Bool, hasAddress: Bool
    ) -> [any Resource<Kernel>] {
        let own = "net/ipv6/conf/\(attachment.interface)"
        let set = { (path: String, value: String) in
            Sysctl(path, value, in: .container, ifPresent: true)
        }
        var settings = [set("\(own)/accept_dad", detectsDuplicates ? "1" : "0")]
        if detectsDuplicates { settings.append(set("\(own)/enhanced_dad", "1")) }
        guard hasAddress else { return settings }
        settings += [
            Sysctl("net/ipv6/conf/lo/disable_ipv6", "0", in: .container),
            Sysctl("\(own)/disable_ipv6", "0", in: .container),
        ]
        guard !attachment.isForeign else { return settings }
        return settings + [
            set("\(own)/keep_addr_on_down", "1"), set("\(own)/ndisc_notify", "1"),
        ]
    }
}

extension Address {
    /// An address of a container's interface.
    public init(
        _ prefix: IPPrefix, on link: String, in side: Side, detectsDuplicates: Bool
    ) {
        self.init(prefix, on: link, in: side)
        self.detectsDuplicates = detectsDuplicates
    }
}

extension Route {
    /// A result's route in the container.
    public init(_ entry: RouteEntry, by gateway: IPAddress?, on link: String) {
        self.init(to: entry.destination, by: gateway, on: link, in: .container)
        mtu = entry.mtu
        advmss = entry.advmss
        priority = entry.priority
        table = entry.table
        scope = entry.scope
    }
}
