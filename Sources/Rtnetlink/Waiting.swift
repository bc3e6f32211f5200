internal import CLinux
internal import Glibc
public import Netlink
internal import SystemPackage

/// What the kernel tells of without being asked.
public enum Event: Sendable {
    /// A link changed.
    case link
    /// An IPv6 address changed.
    case addressV6

    fileprivate var group: UInt32 {
        switch self {
        case .link: RTNLGRP_LINK.rawValue
        case .addressV6: RTNLGRP_IPV6_IFADDR.rawValue
        }
    }
}

extension Kernel {
    /// Waits until a condition holds, looking again whenever the kernel tells of an event.
    ///
    /// The limit is in milliseconds; returns whether the condition came to hold within it.
    public func wait(
        for event: Event, in side: Side, atMost limit: Int64,
        until holds: () throws(KernelError) -> Bool
    ) throws(KernelError) -> Bool {
        if try holds() { return true }
        try enter(side)
        var events = try NetlinkSocket(protocol: NETLINK_ROUTE)
        try events.join(group: event.group)
        let end = linux_milliseconds() + limit
        while try !holds() {
            let left = end - linux_milliseconds()
            guard left > 0 else { return false }
            var ready = pollfd(fd: events.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
            unsafe _ = poll(&ready, 1, Int32(left))
            events.discardReceived()
        }
        return true
    }
}
