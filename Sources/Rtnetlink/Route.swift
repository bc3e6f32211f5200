public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// A route out of a link.
public struct Route: Resource {
    /// The scope of destinations on the link itself, RT_SCOPE_LINK; narrower ones are higher.
    public static let linkScope = Int(RT_SCOPE_LINK.rawValue)

    /// The number of the main table, RT_TABLE_MAIN.
    public static let mainTable = Int(RT_TABLE_MAIN.rawValue)

    /// The destination network.
    public let destination: IPPrefix
    /// The next hop; nil for a network on the link itself.
    public let gateway: IPAddress?
    /// The link's name.
    public let link: String
    /// The namespace the link is in.
    public let side: Side
    /// Whose it is.
    public let sharing: Sharing
    /// The address that packets of ours by this route come from; nil leaves it to the kernel.
    public var source: IPAddress?
    /// The path's MTU in bytes.
    public var mtu: Int?
    /// The maximum segment size to advertise, in bytes.
    public var advmss: Int?
    /// The metric; lower is preferred.
    public var priority: Int?
    /// The number of the routing table; nil for the main table, where the plugin `vrf` takes it along
    /// into its VRF's.
    public var table: Int?
    /// The scope, RT_SCOPE_*; nil for link without a gateway and global with one.
    public var scope: Int?

    /// A route to a network, by a gateway or on the link itself.
    public init(
        to destination: IPPrefix, by gateway: IPAddress?, on link: String, in side: Side,
        _ sharing: Sharing = .part
    ) {
        self.destination = destination.network
        self.gateway = gateway
        self.link = link
        self.side = side
        self.sharing = sharing
    }

    /// `route 0.0.0.0/0 via 10.1.0.1 on eth0`.
    public var description: String {
        "route \(destination)" + (gateway.map { " via \($0)" } ?? "") + " on \(link)"
    }

    /// The message that adds the route.
    ///
    /// As in the reference an IPv6 route to a destination that has one becomes one more next hop.
    public func creation(_ kernel: Kernel) throws(KernelError) -> Request? {
        Request(side: side, message: try message("add", RTM_NEWROUTE, .create, kernel))
    }

    /// The route as the kernel has it, or nil.
    ///
    /// One that the plugin `sbr` has taken out of the main table is found in the table that packets from
    /// an address of the container's link look up.
    public func read(_ kernel: Kernel) throws(KernelError) -> Route? {
        guard let state = try kernel.link(link, in: side) else { return nil }
        if let table { return try read(kernel, state, table: number(table, "table")) }
        let main = try kernel.tableOfMaster(of: state, in: side) ?? RT_TABLE_MAIN.rawValue
        if let found = try read(kernel, state, table: main) { return found }
        guard side == .container else { return nil }
        for table in try kernel.sourceTables(of: state, destination.family, in: side) {
            if let found = try read(kernel, state, table: table) { return found }
        }
        return nil
    }

    private func read(
        _ kernel: Kernel, _ state: LinkState, table: UInt32
    ) throws(KernelError) -> Route? {
        var header = rtmsg()
        header.rtm_family = destination.family.addressFamily
        var message = Message("list routes of \(link)", type: RTM_GETROUTE, flags: .dump, header)
        message.put(Int(RTA_OIF.rawValue), state.index)
        message.put(Int(RTA_TABLE.rawValue), table)
        do throws(KernelError) {
            return try kernel.request(side, message).lazy
                .compactMap { Route($0, like: self) }.first { isSame(as: $0) }
        } catch  where error.errno == .noSuchFileOrDirectory {
            return nil  // a table that has never had a route
        }
    }

    /// Adds the route.
    public func write(_ kernel: Kernel, over found: Route?) throws(KernelError) {
        try kernel.request(side, message("add", RTM_NEWROUTE, [.create, .replace], kernel))
    }

    /// Removes the route.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard try kernel.link(link, in: side) != nil else { return }
        let message = try message("remove", RTM_DELROUTE, [], kernel)
        try tolerating(.noSuchProcess) { () throws(KernelError) in
            try kernel.request(side, message)
        }
    }

    /// The metrics in which `found` misses this route.
    public func differences(from found: Route) -> [Difference] {
        [
            Difference(in: "\(description): mtu", wanted: mtu, found: found.mtu),
            Difference(in: "\(description): advmss", wanted: advmss, found: found.advmss),
        ].compactMap { $0 }
    }

    /// Whether `found` is this route: destination, next hop, and metric if one is given.
    private func isSame(as found: Route) -> Bool {
        destination == found.destination && (gateway == nil || gateway == found.gateway)
            && (priority == nil || priority == found.priority)
    }

    private func message(
        _ verb: String, _ type: Int, _ flags: Message.Flags, _ kernel: Kernel
    ) throws(KernelError) -> Message {
        var header = rtmsg()
        header.rtm_family = destination.family.addressFamily
        header.rtm_dst_len = UInt8(destination.length)
        header.rtm_table = UInt8(RT_TABLE_UNSPEC.rawValue)
        header.rtm_protocol = UInt8(RTPROT_BOOT)
        header.rtm_type = UInt8(RTN_UNICAST)
        let standardScope = gateway == nil ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE
        header.rtm_scope = try number(scope ?? Int(standardScope.rawValue), "scope")
        var message = Message("\(verb) \(description)", type: type, flags: flags, header)
        message.put(Int(RTA_DST.rawValue), bytes: destination.address.networkOrder)
        if let gateway { message.put(Int(RTA_GATEWAY.rawValue), bytes: gateway.networkOrder) }
        if let source { message.put(Int(RTA_PREFSRC.rawValue), bytes: source.networkOrder) }
        message.put(Int(RTA_OIF.rawValue), try kernel.index(of: link, in: side))
        let table: UInt32 = try number(table ?? Self.mainTable, "table")
        message.put(Int(RTA_TABLE.rawValue), table)
        if let priority = try numberIfGiven(priority, "priority") {
            message.put(Int(RTA_PRIORITY.rawValue), priority)
        }
        let mtu = try numberIfGiven(mtu, "mtu")
        let advmss = try numberIfGiven(advmss, "advmss")
        if mtu != nil || advmss != nil {
            message.nest(Int(RTA_METRICS.rawValue)) { metrics in
                if let mtu { metrics.put(RTAX_MTU, mtu) }
                if let advmss { metrics.put(RTAX_ADVMSS, advmss) }
            }
        }
        return message
    }

    /// A number of the route as the kernel takes it.
    private func number<Number: FixedWidthInteger>(
        _ value: Int, _ field: String
    ) throws(KernelError) -> Number {
        guard let number = Number(exactly: value) else {
            throw KernelError(description, .invalidArgument, detail: "\(field) \(value)")
        }
        return number
    }

    private func numberIfGiven(
        _ value: Int?, _ field: String
    ) throws(KernelError) -> UInt32? {
        guard let value else { return nil }
        return try number(value, field) as UInt32
    }

    /// Reads a reply to RTM_GETROUTE; nil if it is not a route of the same link and table.
    init?(_ reply: Reply, like wanted: Route) {
        guard reply.type == RTM_NEWROUTE, let header = reply.header(rtmsg.self)
        else { return nil }
        let attributes = reply.attributes(after: rtmsg.self)
        let address =
            attributes[Int(RTA_DST.rawValue)].flatMap { IPAddress(networkOrder: $0.payload) }
            ?? wanted.destination.family.any
        guard let destination = IPPrefix(address, length: Int(header.rtm_dst_len)) else {
            return nil
        }
        let gateway = attributes[Int(RTA_GATEWAY.rawValue)].flatMap {
            IPAddress(networkOrder: $0.payload)
        }
        self.init(to: destination, by: gateway, on: wanted.link, in: wanted.side, wanted.sharing)
        let metrics = attributes[Int(RTA_METRICS.rawValue)]?.nested
        mtu = (metrics?[RTAX_MTU]?.uint32).map { Int($0) }
        advmss = (metrics?[RTAX_ADVMSS]?.uint32).map { Int($0) }
        priority = (attributes[Int(RTA_PRIORITY.rawValue)]?.uint32).map { Int($0) }
    }
}

extension Kernel {
    /// The routing table of the VRF that a link is a member of, if it is.
    fileprivate func tableOfMaster(
        of link: LinkState, in side: Side
    ) throws(KernelError) -> UInt32? {
        guard let master = link.master else { return nil }
        return try self.link(index: master, in: side)?.table
    }

    /// The tables that rules look up for packets from a link's addresses of a family.
    fileprivate func sourceTables(
        of link: LinkState, _ family: Family, in side: Side
    ) throws(KernelError) -> [UInt32] {
        let own = try addresses(of: link.index, link.name, in: side).map(\.prefix.address)
        return try rules(of: family, in: side).filter { own.contains($0.source) }
            .compactMap { UInt32(exactly: $0.table) }
    }

    /// The index of the link of the default route, the preferred one of IPv4 or else of IPv6; nil
    /// if there is none.
    package func defaultRouteLink(in side: Side) throws(KernelError) -> UInt32? {
        for family in Family.allCases {
            var header = rtmsg()
            header.rtm_family = family.addressFamily
            var message = Message("list routes", type: RTM_GETROUTE, flags: .dump, header)
            message.put(Int(RTA_TABLE.rawValue), UInt32(RT_TABLE_MAIN.rawValue))
            var best: (metric: UInt32, link: UInt32)?
            var replies: [Reply] = []
            // Before its first route a namespace has no such table.
            try tolerating(.noSuchFileOrDirectory) { () throws(KernelError) in
                replies = try request(side, message)
            }
            for reply in replies where reply.type == RTM_NEWROUTE {
                guard let found = reply.header(rtmsg.self), found.rtm_dst_len == 0,
                    found.rtm_table == UInt8(RT_TABLE_MAIN.rawValue)
                else { continue }
                let attributes = reply.attributes(after: rtmsg.self)
                let metric = attributes[Int(RTA_PRIORITY.rawValue)]?.uint32 ?? 0
                if let link = attributes[Int(RTA_OIF.rawValue)]?.uint32,
                    metric < best?.metric ?? .max
                {
                    best = (metric, link)
                }
            }
            if let best { return best.link }
        }
        return nil
    }

    /// Asks by which route packets to an address go.
    private func routeQuestion(_ address: IPAddress) -> Message {
        var header = rtmsg()
        header.rtm_family = address.family.addressFamily
        header.rtm_dst_len = UInt8(address.family.bitWidth)
        var message = Message("find route to \(address)", type: RTM_GETROUTE, header)
        message.put(Int(RTA_DST.rawValue), bytes: address.networkOrder)
        return message
    }

    /// Whether an address is one of the host's own.
    public func isOwn(_ address: IPAddress) throws(KernelError) -> Bool {
        do throws(KernelError) {
            let reply = try request(.host, routeQuestion(address)).first
            return reply?.header(rtmsg.self)?.rtm_type == UInt8(RTN_LOCAL)
        } catch  where error.errno.meansNoWay {
            return false
        }
    }

    /// The link by which packets to an address leave, or nil if there is no way.
    public func outputLink(to address: IPAddress, in side: Side) throws(KernelError) -> String? {
        do throws(KernelError) {
            let reply = try request(side, routeQuestion(address)).first
            guard
                let index = reply?.attributes(after: rtmsg.self)[Int(RTA_OIF.rawValue)]?.uint32
            else { return nil }
            return try link(index: index, in: side)?.name
        } catch  where error.errno.meansNoWay {
            return nil
        }
    }
}

extension Errno {
    /// What the kernel answers where there is no route, or one that is unreachable, a blackhole or
    /// prohibited (rtnetlink(7), `fib_props` in net/ipv4/fib_semantics.c).
    fileprivate var meansNoWay: Bool {
        let answers: [Errno] = [
            .networkUnreachable, .hostIsDown, .noRouteToHost, .invalidArgument, .permissionDenied,
        ]
        return answers.contains(self)
    }
}
