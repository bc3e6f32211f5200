internal import CLinux
public import Netlink
public import Plan

/// A link that is administratively up.
public struct LinkUp: Resource {
    /// The link's name.
    public let link: String
    /// The namespace it is in.
    public let side: Side
    /// Whose it is: `.part` of a link that is owned, or `.shared`.
    public let sharing: Sharing
    private var isUp = true

    /// A link of a name, up.
    public init(_ link: String, in side: Side, _ sharing: Sharing = .part) {
        self.link = link
        self.side = side
        self.sharing = sharing
    }

    /// `link eth0 up`.
    public var description: String { "link \(link) up" }

    /// For a link that is new, the message that brings it up.
    public func creation(_ kernel: Kernel) throws(KernelError) -> Request? {
        guard sharing == .part else { return nil }
        return Request(side: side, message: try message(kernel))
    }

    /// Whether the link is up.
    public func read(_ kernel: Kernel) throws(KernelError) -> LinkUp? {
        guard let state = try kernel.link(link, in: side) else { return nil }
        var found = self
        found.isUp = state.isUp
        return found
    }

    /// Brings the link up.
    public func write(_ kernel: Kernel, over found: LinkUp?) throws(KernelError) {
        try kernel.request(side, message(kernel))
    }

    /// Leaves the link to what made it.
    public func erase(_ kernel: Kernel) {}

    /// Takes the link down.
    public func reverse(_ kernel: Kernel) throws(KernelError) {
        let index = try kernel.index(of: link, in: side)
        let header = ifinfomsg(index: index, clear: UInt32(IFF_UP))
        try kernel.request(
            side, Message("set link \(link) down", type: RTM_SETLINK, header))
    }

    /// Whether the link is down.
    public func differences(from found: LinkUp) -> [Difference] {
        found.isUp ? [] : [Difference("link \(link)", wanted: "up", found: "down")]
    }

    private func message(_ kernel: Kernel) throws(KernelError) -> Message {
        let index = try kernel.index(of: link, in: side)
        let up = UInt32(IFF_UP)
        return Message(
            "set \(description)", type: RTM_SETLINK, ifinfomsg(index: index, set: up))
    }
}
