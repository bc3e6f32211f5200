public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// An address of a link.
public struct Address: Resource {
    /// The address and the length of its prefix.
    public let prefix: IPPrefix
    /// The link's name.
    public let link: String
    /// The namespace the link is in.
    public let side: Side
    /// Whose it is.
    public let sharing: Sharing
    /// Whether IPv6 first asks the network if somebody else has the address (DAD).
    public var detectsDuplicates = false
    /// Whether the address waits for duplicate address detection and cannot be used yet.
    public private(set) var isTentative = false

    /// Whether somebody else was found to have the address.
    public private(set) var isDuplicate = false
    /// Whether the network of the prefix is reached by the link, with no further route.
    public var bringsPrefixRoute = true
    /// Where IPv4 reaches all hosts of the network at once, or nil for nowhere.
    private var broadcast: IPAddress?
    private var scope = UInt8(RT_SCOPE_UNIVERSE.rawValue)

    /// An address on a link, usable at once.
    public init(
        _ prefix: IPPrefix, on link: String, in side: Side, _ sharing: Sharing = .part
    ) {
        self.prefix = prefix
        self.link = link
        self.side = side
        self.sharing = sharing
        broadcast = prefix.family == .v4 && prefix.length < 31 ? prefix.last : nil
    }

    /// `address 10.1.0.5/16 on eth0`.
    public var description: String { "address \(prefix) on \(link)" }

    /// The message that adds the address.
    public func creation(_ kernel: Kernel) throws(KernelError) -> Request? {
        let message = try message(
            "add address \(prefix) to \(link)", RTM_NEWADDR, [.create, .exclusive], kernel)
        return Request(side: side, message: message)
    }

    /// The address as the link has it, or nil.
    ///
    /// On a link that carries nothing, duplicates are not looked for until it does: an address is as
    /// usable there as it can be.
    public func read(_ kernel: Kernel) throws(KernelError) -> Address? {
        guard let state = try kernel.link(link, in: side) else { return nil }
        var found = try kernel.addresses(of: state.index, link, in: side)
            .first { $0.prefix == prefix }
        if !state.isOperational, found?.isDuplicate == false { found?.isTentative = false }
        return found
    }

    /// Adds the address; an address has nothing to change.
    public func write(_ kernel: Kernel, over found: Address?) throws(KernelError) {
        guard found == nil, let request = try creation(kernel) else { return }
        try tolerating(.fileExists) { () throws(KernelError) in
            try kernel.request(side, request.message)
        }
    }

    /// Removes the address.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard try kernel.link(link, in: side) != nil else { return }
        let message = try message("remove \(description)", RTM_DELADDR, [], kernel)
        try tolerating(.addressNotAvailable) { () throws(KernelError) in
            try kernel.request(side, message)
        }
    }

    /// Whether the address cannot be used yet.
    public func differences(from found: Address) -> [Difference] {
        found.isTentative
            ? [Difference(description, wanted: "usable", found: "tentative")] : []
    }

    private func message(
        _ operation: String, _ type: Int, _ flags: Message.Flags, _ kernel: Kernel
    ) throws(KernelError) -> Message {
        var header = ifaddrmsg()
        header.ifa_family = prefix.family.addressFamily
        header.ifa_prefixlen = UInt8(prefix.length)
        header.ifa_index = try kernel.index(of: link, in: side)
        header.ifa_scope = scope
        // This flag fits the old byte; the attribute replaces it.
        header.ifa_flags =
            prefix.family == .v6 && !detectsDuplicates ? UInt8(IFA_F_NODAD) : 0
        var message = Message(operation, type: type, flags: flags, header)
        if !bringsPrefixRoute {
            message.put(IFA_FLAGS, UInt32(header.ifa_flags) | UInt32(IFA_F_NOPREFIXROUTE))
        }
        message.put(IFA_LOCAL, bytes: prefix.address.networkOrder)
        message.put(IFA_ADDRESS, bytes: prefix.address.networkOrder)
        if let broadcast { message.put(IFA_BROADCAST, bytes: broadcast.networkOrder) }
        return message
    }

    fileprivate init?(_ reply: Reply, of index: UInt32, _ link: String, in side: Side) {
        guard reply.type == RTM_NEWADDR, let header = reply.header(ifaddrmsg.self),
            header.ifa_index == index
        else { return nil }
        let attributes = reply.attributes(after: ifaddrmsg.self)
        guard let prefix = IPPrefix(header, attributes) else { return nil }
        self.init(prefix, on: link, in: side)
        broadcast = (attributes[IFA_BROADCAST]?.payload).flatMap { IPAddress(networkOrder: $0) }
        scope = header.ifa_scope
        let flags = header.ifa_flags
        isTentative =
            flags & UInt8(IFA_F_TENTATIVE) != 0 && flags & UInt8(IFA_F_OPTIMISTIC) == 0
        isDuplicate = flags & UInt8(IFA_F_DADFAILED) != 0
    }
}

extension IPPrefix {
    /// The address in a reply to RTM_GETADDR, and its network.
    fileprivate init?(_ header: ifaddrmsg, _ attributes: Attributes) {
        guard let bytes = (attributes[IFA_LOCAL] ?? attributes[IFA_ADDRESS])?.payload,
            let address = IPAddress(networkOrder: bytes)
        else { return nil }
        self.init(address, length: Int(header.ifa_prefixlen))
    }
}

extension Kernel {
    /// The addresses of a link as last listed, or listed now if it is another link's that were.
    public func knownAddresses(
        of link: String, in side: Side
    ) throws(KernelError) -> [Address] {
        let index = try index(of: link, in: side)
        if let listed, listed.side == side, listed.index == index { return listed.addresses }
        let addresses = try addresses(of: index, link, in: side)
        listed = (side, index, addresses)
        return addresses
    }

    /// Lists addresses anew the next time, after one has been added or removed.
    public func forgetAddresses() { listed = nil }

    /// The addresses of a link, of both families.
    public func addresses(
        of index: UInt32, _ link: String, in side: Side
    ) throws(KernelError) -> [Address] {
        var header = ifaddrmsg()
        header.ifa_index = index
        let message = Message("list addresses of \(link)", type: RTM_GETADDR, flags: .dump, header)
        return try request(side, message).compactMap { Address($0, of: index, link, in: side) }
    }

    /// Every address of a namespace, each with the index of its link.
    package func allAddresses(
        in side: Side
    ) throws(KernelError) -> [(link: UInt32, prefix: IPPrefix)] {
        let message = Message("list addresses", type: RTM_GETADDR, flags: .dump, ifaddrmsg())
        return try request(side, message).compactMap { reply in
            guard reply.type == RTM_NEWADDR, let header = reply.header(ifaddrmsg.self),
                let prefix = IPPrefix(header, reply.attributes(after: ifaddrmsg.self))
            else { return nil }
            return (header.ifa_index, prefix)
        }
    }

    /// The addresses of a veth's other end in a namespace that this one only has a number for; none
    /// where that has gone, and none of kernels that do not look there for us (before 4.20).
    public func addressesAcross(_ link: LinkState) throws(KernelError) -> [IPAddress] {
        guard let peer = link.peer, let namespace = link.peerNamespace else { return [] }
        var header = ifaddrmsg()
        header.ifa_index = peer
        var message = Message(
            "list addresses across \(link.name)", type: RTM_GETADDR, flags: .dump, header)
        message.put(IFA_TARGET_NETNSID, UInt32(bitPattern: namespace))
        var addresses: [IPAddress] = []
        try tolerating(.invalidArgument, .noSuchDevice) { () throws(KernelError) in
            for reply in try request(.host, message)
            where reply.attributes(after: ifaddrmsg.self)[IFA_TARGET_NETNSID] != nil {
                guard let address = Address(reply, of: peer, link.name, in: .container) else {
                    continue
                }
                addresses.append(address.prefix.address)
            }
        }
        return addresses
    }
}
