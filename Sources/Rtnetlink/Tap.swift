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
    /// The SELinux context it is made under, which the kernel does not show afterwards; nil for the
    /// plugin's own.
    public var context: String?

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
        let (owner, group) = (Int64(settings.owner ?? -1), Int64(settings.group ?? -1))
        if let context = settings.context {
            var isLabel: Int32 = 0
            guard
                unsafe linux_make_tap_as(
                    context, name, Int32(flags), owner, group, &isLabel) == 0
            else {
                throw isLabel == 0
                    ? Self.tapError(operation)
                    : KernelError(lastOf: "take SELinux context \(context) to \(operation)")
            }
            return
        }
        let tap = unsafe linux_open_tap(name, Int32(flags))
        guard tap >= 0 else { throw Self.tapError(operation) }
        defer { _ = Glibc.close(tap) }
        guard linux_keep_tap(tap, owner, group) == 0 else { throw KernelError(lastOf: operation) }
    }

    /// The error of the last call, with which a tap that is there already is like any other link.
    private static func tapError(_ operation: String) -> KernelError {
        let errno = Errno.current
        return KernelError(operation, errno == .resourceBusy ? .fileExists : errno)
    }
}

/// Whether this kernel has SELinux, and it is on.
public func hasSELinux() -> Bool {
    // The kernel registers this file system when SELinux is on, mounted or not.
    let file = unsafe Glibc.open("/proc/filesystems", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { _ = Glibc.close(file) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe Glibc.read(file, &bytes, bytes.count)
    return bytes[..<max(0, count)].split(separator: UInt8(ascii: "\n"))
        .contains { $0.split(separator: UInt8(ascii: "\t")).last == Array("selinuxfs".utf8)[...] }
}
