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

/// One direction of an attachment and what has passed in it.
public struct Flow: Sendable {
    /// Whose it is.
    public let owner: Owner
    /// Which way, as the container sees it.
    public let direction: Direction
    /// Its class; nil where nothing limits it.
    public let share: AttachmentState.Share?
    /// What has passed.
    public let counters: Counters
}

extension Inventory {
    /// What has passed in each direction of each attachment that has a class or a host's end, and
    /// in each class inside a container.
    public func flows() throws(KernelError) -> [Flow] {
        let kernel = try Kernel(container: nil)
        let ports = try kernel.linkCounters()
        var classes: [String: [ClassID: Counters]] = [:]
        var flows: [Flow] = []
        for state in attachments {
            for direction in [Direction.egress, .ingress] {
                for share in state.shares where share.direction == direction {
                    if classes[share.link] == nil {
                        classes[share.link] = try kernel.classCounters(of: share.link)
                    }
                    var counters = classes[share.link]?[share.id] ?? Counters()
                    if share.part == nil {
                        for inner in state.shares
                        where inner.direction == direction && inner.part != nil {
                            counters.addWaiting(classes[share.link]?[inner.id])
                        }
                    }
                    flows.append(
                        Flow(
                            owner: state.owner, direction: direction, share: share,
                            counters: counters))
                }
                if state.share(direction) != nil { continue }
                if let end = state.hostEnd, let both = ports[end.index] {
                    flows.append(
                        Flow(
                            owner: state.owner, direction: direction, share: nil,
                            counters: direction == .egress ? both.received : both.sent))
                }
            }
        }
        return flows
    }
}

extension Kernel {
    /// What has passed each class of a link's tree.
    func classCounters(of link: String) throws(KernelError) -> [ClassID: Counters] {
        guard let state = try self.link(link, in: .host) else { return [:] }
        var header = tcmsg()
        header.tcm_family = UInt8(AF_UNSPEC)
        header.tcm_ifindex = Int32(bitPattern: state.index)
        let message = Message(
            "list classes of \(link)", type: RTM_GETTCLASS, flags: .dump, header)
        var found: [ClassID: Counters] = [:]
        for reply in try request(.host, message) {
            guard let handle = reply.payload.uint32(at: 8),
                let statistics = reply.attributes(after: tcmsg.self)[Int(TCA_STATS2)]?.nested
            else { continue }
            var counters = Counters()
            if let basic = statistics[Int(TCA_STATS_BASIC)] {
                counters.bytes = basic.uint64 ?? 0
                counters.packets = UInt64(basic.payload.uint32(at: 8) ?? 0)
            }
            if let wide = statistics[Int(TCA_STATS_PKT64)]?.uint64 { counters.packets = wide }
            if let queue = statistics[Int(TCA_STATS_QUEUE)]?.payload {
                counters.backlog = UInt64(queue.uint32(at: 4) ?? 0)
                counters.drops = UInt64(queue.uint32(at: 8) ?? 0)
            }
            // struct tc_htb_xstats: lends, borrows, …
            let own = statistics[Int(TCA_STATS_APP)]?.payload
            counters.borrowed = UInt64(own?.uint32(at: 4) ?? 0)
            found[ClassID(handle: handle)] = counters
        }
        return found
    }

    /// What each link of the host has received and sent, by its index.
    fileprivate func linkCounters() throws(KernelError) -> [UInt32: (
        received: Counters, sent: Counters
    )] {
        let message = Message("list links", type: RTM_GETLINK, flags: .dump, ifinfomsg())
        var found: [UInt32: (received: Counters, sent: Counters)] = [:]
        for reply in try request(.host, message) {
            guard let index = reply.payload.uint32(at: 4),
                let numbers = reply.attributes(after: ifinfomsg.self)[IFLA_STATS64]?.payload
            else { continue }
            // struct rtnl_link_stats64: packets, bytes, errors and drops, received and sent.
            let number = { (position: Int) -> UInt64 in
                UInt64(numbers.uint32(at: position * 8) ?? 0)
                    | UInt64(numbers.uint32(at: position * 8 + 4) ?? 0) << 32
            }
            found[index] = (
                Counters(bytes: number(2), packets: number(0), drops: number(6)),
                Counters(bytes: number(3), packets: number(1), drops: number(7))
            )
        }
        return found
    }
}
