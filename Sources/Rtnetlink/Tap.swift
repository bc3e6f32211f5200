internal import CLinux
internal import Glibc
internal import Netlink
internal import Plan
internal import SystemPackage

/// What a tap has that other links have not.
public struct TapSettings: Sendable, Equatable {
    /// Whether several programs, or threads, may each have a queue of packets.
    public var hasManyQueues = false
    /// The user that may open it; nil for root alone.
    public var owner: Int?
    /// The group that may open it; nil for none.
    public var group: Int?

    /// A tap for root alone, with one queue.
    public init() {}

    init(_ settings: Attributes?) {
        hasManyQueues = settings?[IFLA_TUN_MULTI_QUEUE]?.uint8 == 1
        owner = (settings?[IFLA_TUN_OWNER]?.uint32).map { Int($0) }
        group = (settings?[IFLA_TUN_GROUP]?.uint32).map { Int($0) }
    }

    func differences(from found: TapSettings, of link: String) -> [Difference] {
        [
            Difference(
                in: "\(link): multiQueue", wanted: hasManyQueues, found: found.hasManyQueues),
            Difference(in: "\(link): owner", wanted: owner, found: found.owner),
            Difference(in: "\(link): group", wanted: group, found: found.group),
        ].compactMap { $0 }
    }
}

extension Kernel {
    /// Makes a tap, which rtnetlink cannot; it stays only when all is set.
    func makeTap(
        _ name: String, _ settings: TapSettings, in side: Side
    ) throws(KernelError) {
        let operation = "add link \(name)"
        try enter(side)
        var flags = IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL
        if settings.hasManyQueues { flags |= IFF_MULTI_QUEUE }
        if settings.owner != nil, settings.group != nil { flags |= IFF_VNET_HDR }
        let tap = unsafe linux_open_tap(name, Int32(flags))
        guard tap >= 0 else {
            let errno = Errno.current
            throw KernelError(operation, errno == .resourceBusy ? .fileExists : errno)
        }
        defer { _ = Glibc.close(tap) }
        guard
            linux_keep_tap(tap, Int64(settings.owner ?? -1), Int64(settings.group ?? -1)) == 0
        else { throw KernelError(lastOf: operation) }
    }
}
