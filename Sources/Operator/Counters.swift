internal import CLinux
public import Netlink
public import PluginRuntime
internal import Rtnetlink
public import TrafficControl

/// What has passed a class or a link so far.
public struct Counters: Sendable, Equatable {
    /// Bytes that passed.
    public var bytes: UInt64 = 0
    /// Packets that passed.
    public var packets: UInt64 = 0
    /// Packets that were dropped.
    public var drops: UInt64 = 0
    /// Bytes that wait.
    public var backlog: UInt64 = 0
    /// Packets that were sent with what others left.
    public var borrowed: UInt64 = 0

    /// Adds what waits in a class inside this one, and what was dropped there: HTB counts
    /// these where packets wait, and nowhere above.
    mutating func addWaiting(_ inner: Counters?) {
        drops += inner?.drops ?? 0
        backlog += inner?.backlog ?? 0
    }
}

extension Counters {
    /// What the kernel says with a class or a qdisc; nil if it says nothing.
    fileprivate init?(_ reply: Reply) {
        guard let statistics = reply.attributes(after: tcmsg.self)[Int(TCA_STATS2)]?.nested else {
            return nil
        }
        if let basic = statistics[Int(TCA_STATS_BASIC)]?.value(gnet_stats_basic.self) {
            bytes = basic.bytes
            packets = UInt64(basic.packets)
        }
        if let wide = statistics[Int(TCA_STATS_PKT64)]?.uint64 { packets = wide }
        if let queue = statistics[Int(TCA_STATS_QUEUE)]?.value(gnet_stats_queue.self) {
            backlog = UInt64(queue.backlog)
            drops = UInt64(queue.drops)
        }
        // Only classes have it.
        guard reply.type == RTM_NEWTCLASS else { return }
        let own = statistics[Int(TCA_STATS_APP)]?.value(tc_htb_xstats.self)
        borrowed = UInt64(own?.borrows ?? 0)
    }
}

/// One direction of an attachment and what has passed in it.
public struct Flow: Sendable {
    /// Whose it is.
    public let owner: Owner
    /// Which way, as the container sees it.
    public let direction: Direction
    /// What holds it back; nil where nothing does.
    public let share: AttachmentState.Share?
    /// What has passed.
    public let counters: Counters
}

extension Inventory {
    /// What has passed in each direction of each attachment, and in each class inside a container.
    public func flows() throws(KernelError) -> [Flow] {
        let ports = try Kernel(container: nil).linkCounters(in: .host)
        var limiters: [Port: PortCounters] = [:]
        var flows: [Flow] = []
        for state in attachments {
            for direction in Direction.allCases {
                let shares = state.shares.filter { $0.direction == direction }
                for share in shares {
                    let port = share.port
                    if limiters[port] == nil { limiters[port] = try PortCounters(port) }
                    var counters = limiters[port]?.counters(of: share) ?? Counters()
                    if share.part == nil {
                        for inner in shares where inner.part != nil && inner.port == port {
                            counters.addWaiting(limiters[port]?.counters(of: inner))
                        }
                    }
                    flows.append(
                        Flow(
                            owner: state.owner, direction: direction, share: share,
                            counters: counters))
                }
                guard shares.isEmpty else { continue }
                guard let counters = state.counters(direction, ports) else { continue }
                flows.append(
                    Flow(
                        owner: state.owner, direction: direction, share: nil, counters: counters))
            }
        }
        return flows
    }
}

extension AttachmentState {
    /// What the host's end has passed or, without one, the interface in the container.
    fileprivate func counters(
        _ direction: Direction, _ ports: [UInt32: (received: Counters, sent: Counters)]
    ) -> Counters? {
        if let end = hostEnd {
            return ports[end.index].map { direction == .egress ? $0.received : $0.sent }
        }
        guard let inner, let netns else { return nil }
        let own = try? Port(inner.name, in: netns).withKernel { (kernel) throws(KernelError) in
            try kernel.linkCounters(in: .container)[inner.index]
        }
        return own.map { direction == .egress ? $0.sent : $0.received }
    }
}

/// What has passed what holds packets back at a port.
private struct PortCounters {
    private let classes: [ClassID: Counters]
    private let bucket: Counters?

    /// A container that has gone since has passed nothing.
    init(_ port: Port) throws(KernelError) {
        do throws(KernelError) {
            (classes, bucket) = try port.withKernel { (kernel) throws(KernelError) in
                (try kernel.classCounters(of: port), try kernel.bucketCounters(of: port))
            }
        } catch  where port.netns != nil {
            (classes, bucket) = ([:], nil)
        }
    }

    func counters(of share: AttachmentState.Share) -> Counters? {
        share.id.map { classes[$0] } ?? bucket
    }
}

extension Kernel {
    /// What has passed each class of a port's tree.
    func classCounters(of port: Port) throws(KernelError) -> [ClassID: Counters] {
        guard let header = try header(of: port) else { return [:] }
        let message = Message(
            "list classes of \(port.link)", type: RTM_GETTCLASS, flags: .dump, header)
        var found: [ClassID: Counters] = [:]
        for reply in try request(port.side, message) {
            guard let header = reply.header(tcmsg.self), let counters = Counters(reply) else {
                continue
            }
            found[ClassID(handle: header.tcm_handle)] = counters
        }
        return found
    }

    /// What has passed the qdisc at a port's root.
    func bucketCounters(of port: Port) throws(KernelError) -> Counters? {
        guard var header = try header(of: port) else { return nil }
        header.tcm_parent = TC_H_ROOT
        let message = Message(
            "find root qdisc of \(port.link)", type: RTM_GETQDISC, flags: .echo,
            answer: .acknowledgement, header)
        return try request(port.side, message).first.flatMap { Counters($0) }
    }

    private func header(of port: Port) throws(KernelError) -> tcmsg? {
        guard let state = try link(port.link, in: port.side) else { return nil }
        var header = tcmsg()
        header.tcm_family = UInt8(AF_UNSPEC)
        header.tcm_ifindex = Int32(bitPattern: state.index)
        return header
    }

    /// What each link has received and sent, by its index.
    fileprivate func linkCounters(
        in side: Side
    ) throws(KernelError) -> [UInt32: (received: Counters, sent: Counters)] {
        let message = Message("list links", type: RTM_GETLINK, flags: .dump, ifinfomsg())
        var found: [UInt32: (received: Counters, sent: Counters)] = [:]
        // A kernel that is older than the structure sends the beginning of it.
        let rest = [UInt8](repeating: 0, count: MemoryLayout<rtnl_link_stats64>.size)
        for reply in try request(side, message) {
            guard let header = reply.header(ifinfomsg.self),
                let bytes = reply.attributes(after: ifinfomsg.self)[IFLA_STATS64]?.payload,
                let numbers = (bytes + rest).value(rtnl_link_stats64.self)
            else { continue }
            found[UInt32(bitPattern: header.ifi_index)] = (
                Counters(
                    bytes: numbers.rx_bytes, packets: numbers.rx_packets, drops: numbers.rx_dropped),
                Counters(
                    bytes: numbers.tx_bytes, packets: numbers.tx_packets, drops: numbers.tx_dropped)
            )
        }
        return found
    }
}
