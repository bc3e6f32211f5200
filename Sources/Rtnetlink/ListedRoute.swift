public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// A route just as the kernel lists it, that can be put into another table or taken away.
public struct ListedRoute: Resource {
    private let header: rtmsg
    private let attributes: Attributes
    /// The destination network.
    public let destination: IPPrefix
    /// The next hop; nil for a network on the link itself.
    public let gateway: IPAddress?
    /// The address that packets to it come from, if the route says so.
    public var source: IPAddress?
    /// The number of its table.
    public var table: Int
    /// The namespace it is in.
    public let side: Side
    /// Its link's index; nil for one over several links.
    public internal(set) var link: UInt32?
    /// Whether its destination is on the link itself, and reached by no gateway.
    public let isOnLink: Bool
    /// Whose it is.
    public var sharing: Sharing { .owned }
    /// Who made it, RTPROT_*.
    public var origin: Int { Int(header.rtm_protocol) }

    /// Reads a reply to RTM_GETROUTE; nil if it is something else.
    init?(_ reply: Reply, in side: Side) {
        guard reply.type == RTM_NEWROUTE, let header = reply.header(rtmsg.self),
            let family = Family.allCases.first(where: { $0.addressFamily == header.rtm_family })
        else { return nil }
        let attributes = reply.attributes(after: rtmsg.self)
        let address = { (type: UInt32) in
            attributes[Int(type)].flatMap { IPAddress(networkOrder: $0.payload) }
        }
        let network = address(RTA_DST.rawValue) ?? family.any
        guard let destination = IPPrefix(network, length: Int(header.rtm_dst_len)) else {
            return nil
        }
        self.header = header
        self.attributes = attributes
        self.destination = destination
        gateway = address(RTA_GATEWAY.rawValue)
        source = address(RTA_PREFSRC.rawValue)
        table = Int(attributes[Int(RTA_TABLE.rawValue)]?.uint32 ?? UInt32(header.rtm_table))
        let hops = attributes[Int(RTA_MULTIPATH.rawValue)].map { Self.links(ofHops: $0.payload) }
        link =
            attributes[Int(RTA_OIF.rawValue)]?.uint32
            ?? hops.flatMap { Set($0).count == 1 ? $0.first : nil }
        isOnLink = gateway == nil && hops == nil && attributes[Int(RTA_VIA.rawValue)] == nil
        self.side = side
    }

    /// The links of the next hops of a route that has several, each followed by attributes.
    private static func links(ofHops payload: ArraySlice<UInt8>) -> [UInt32] {
        var links: [UInt32] = []
        var rest = payload
        while let hop = rest.value(rtnexthop.self),
            hop.rtnh_len >= MemoryLayout<rtnexthop>.size
        {
            links.append(UInt32(bitPattern: hop.rtnh_ifindex))
            rest = rest.dropFirst((Int(hop.rtnh_len) + 3) & ~3)
        }
        return links
    }

    /// `route 10.1.0.0/16 in table 100`.
    public var description: String {
        "route \(destination)" + (gateway.map { " via \($0)" } ?? "") + " in table \(table)"
    }

    /// Nil: what this ADD puts into a table of its own is new.
    public func read(_ kernel: Kernel) throws(KernelError) -> ListedRoute? { nil }

    /// Adds the route, in the place of one to the same destination.
    public func write(_ kernel: Kernel, over found: ListedRoute?) throws(KernelError) {
        try kernel.request(side, message("add", RTM_NEWROUTE, [.create, .replace]))
    }

    /// Removes the route.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        let message = message("remove", RTM_DELROUTE, [])
        try tolerating(.noSuchProcess) { () throws(KernelError) in
            try kernel.request(side, message)
        }
    }

    /// None: it is written as it was found.
    public func differences(from found: ListedRoute) -> [Difference] { [] }

    private func message(_ verb: String, _ type: Int, _ flags: Message.Flags) -> Message {
        var header = rtmsg()
        header.rtm_family = destination.family.addressFamily
        header.rtm_dst_len = UInt8(destination.length)
        header.rtm_tos = self.header.rtm_tos
        header.rtm_table = UInt8(RT_TABLE_UNSPEC.rawValue)
        header.rtm_protocol = self.header.rtm_protocol
        header.rtm_scope = self.header.rtm_scope
        header.rtm_type = self.header.rtm_type
        // Of the flags this is the only one that is not the state of the link.
        header.rtm_flags = self.header.rtm_flags & UInt32(RTNH_F_ONLINK)
        var message = Message("\(verb) \(description)", type: type, flags: flags, header)
        message.put(Int(RTA_TABLE.rawValue), UInt32(table))
        if let source { message.put(Int(RTA_PREFSRC.rawValue), bytes: source.networkOrder) }
        let own = [RTA_TABLE, RTA_PREFSRC, RTA_CACHEINFO].map { Int($0.rawValue) }
        for attribute in attributes where !own.contains(attribute.type) {
            if attribute.type == Int(RTA_OIF.rawValue), let link {
                message.put(attribute.type, link)
            } else {
                message.put(attribute.type, bytes: Array(attribute.payload))
            }
        }
        return message
    }
}

extension Kernel {
    /// The unicast routes of a family, of every table.
    public func routes(of family: Family, in side: Side) throws(KernelError) -> [ListedRoute] {
        var header = rtmsg()
        header.rtm_family = family.addressFamily
        let message = Message("list routes", type: RTM_GETROUTE, flags: .dump, header)
        return try request(side, message)
            .filter { $0.header(rtmsg.self)?.rtm_type == UInt8(RTN_UNICAST) }
            .compactMap { ListedRoute($0, in: side) }
    }

    /// The routes out of a link that somebody made, in the order in which they can be made again.
    func madeRoutes(outOf index: UInt32, in side: Side) throws(KernelError) -> [ListedRoute] {
        // The kernel makes those of addresses and of announcements itself.
        let own = [RTPROT_KERNEL, RTPROT_RA, RTPROT_REDIRECT].map { Int($0) }
        var routes: [ListedRoute] = []
        for family in Family.allCases {
            routes += try self.routes(of: family, in: side).filter {
                $0.link == index && !own.contains($0.origin)
            }
        }
        return routes.inOrder
    }
}

extension [ListedRoute] {
    /// Those on the link itself first: a gateway is taken only where its network is there already.
    package var inOrder: [ListedRoute] { filter(\.isOnLink) + filter { !$0.isOnLink } }
}
