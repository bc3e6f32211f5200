public import Addressing
public import CNI
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

extension Sysctl {
    /// The settings that let the host forward for the families in use.
    public static func forwarding(_ addresses: [AddResult.Address]) -> [String] {
        let uses = { (family: Family) in addresses.contains { $0.address.family == family } }
        return (uses(.v4) ? ["net/ipv4/ip_forward"] : [])
            + (uses(.v6) ? ["net/ipv6/conf/all/forwarding"] : [])
    }

    /// What lets an interface announce its IPv4 addresses when it comes up.
    public static func announcesAddresses(of interface: String) -> Sysctl {
        Sysctl(
            "net/ipv4/conf/\(interface)/arp_notify", "1", in: .container, ifPresent: true,
            mayBeChanged: true)
    }

    /// The IPv6 settings of a container's interface.
    ///
    /// Without a word on duplicates their detection stays as the kernel has it.
    public static func forIPv6(
        of attachment: Attachment, detectsDuplicates: Bool? = nil, hasAddress: Bool
    ) -> [any Resource<Kernel>] {
        let own = "net/ipv6/conf/\(attachment.interface)"
        let set = { (path: String, value: String) in
            Sysctl(path, value, in: .container, ifPresent: true, mayBeChanged: true)
        }
        var settings: [any Resource<Kernel>] = []
        if let detectsDuplicates {
            settings.append(set("\(own)/accept_dad", detectsDuplicates ? "1" : "0"))
        }
        if detectsDuplicates == true { settings.append(set("\(own)/enhanced_dad", "1")) }
        guard hasAddress else { return settings }
        settings +=
            [
                Sysctl("net/ipv6/conf/lo/disable_ipv6", "0", in: .container),
                Sysctl("\(own)/disable_ipv6", "0", in: .container),
            ] as [any Resource<Kernel>]
        guard !attachment.isForeign else { return settings }
        settings.append(set("\(own)/keep_addr_on_down", "1"))
        settings.append(set("\(own)/ndisc_notify", "1"))
        return settings
    }
}

extension Kernel {
    /// How long a link may take to carry packets, in milliseconds.
    ///
    /// A bridge with a spanning tree takes four seconds at least, and the kernel of a busy machine, which
    /// looks for new carriers once a second, more than the 2,550 ms of the reference's bridge.
    private static let linkPatience: Int64 = 10_000
    /// How long duplicate address detection may take, in milliseconds, as in the reference: it begins when
    /// the kernel has seen the carrier.
    private static let detectionPatience: Int64 = 10_000
    /// How long to wait before an address that somebody has is asked for again, in milliseconds.
    private static let pauseBeforeAsking: Int64 = 500

    /// Waits until the host's end carries packets; of a bridge's port, until the bridge forwards.
    public func waitForHostEnd(_ name: String) throws(KernelError) {
        var isPort = false
        let works = try wait(for: .link, in: .host, atMost: Self.linkPatience) {
            () throws(KernelError) in
            guard let link = try link(name, in: .host) else {
                throw KernelError("wait for link \(name)", .noSuchDevice)
            }
            isPort = link.port != nil
            return link.port?.isForwarding ?? link.isOperational
        }
        guard works else {
            throw KernelError(
                "wait for link \(name)", .timedOut,
                detail: isPort ? "bridge port in error state" : "no carrier")
        }
    }

    /// Waits until duplicate address detection has passed all addresses of a container's link.
    ///
    /// What somebody has is asked for once more, a little later: a link in a namespace that the kernel
    /// has not finished removing answers until then, and nobody can tell it from one that stays.
    public func waitForAddresses(of link: String) throws(KernelError) {
        guard let duplicate = try firstDuplicate(on: link) else { return }
        _ = try wait(for: .addressV6, in: .container, atMost: Self.pauseBeforeAsking) { false }
        try duplicate.erase(self)
        try duplicate.write(self, over: nil)
        guard let duplicate = try firstDuplicate(on: link) else { return }
        throw KernelError("wait for \(duplicate)", .addressInUse, detail: "somebody else has it")
    }

    /// Waits until duplicate address detection has passed all addresses of a container's link, or
    /// found one that somebody else has.
    private func firstDuplicate(on link: String) throws(KernelError) -> Address? {
        let index = try index(of: link, in: .container)
        var duplicate: Address?
        let isSettled = try wait(
            for: .addressV6, in: .container, atMost: Self.detectionPatience
        ) { () throws(KernelError) in
            let addresses = try addresses(of: index, link, in: .container)
            duplicate = addresses.first { $0.isDuplicate }
            duplicate?.detectsDuplicates = true
            return duplicate != nil || addresses.allSatisfy { !$0.isTentative }
        }
        guard isSettled else {
            throw KernelError(
                "wait for addresses of \(link)", .timedOut, detail: "still tentative")
        }
        return duplicate
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
