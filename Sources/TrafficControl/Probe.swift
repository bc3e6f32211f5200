public import Netlink
internal import Plan
public import Rtnetlink

/// What shaping needs of a kernel, one thing each.
public enum Means: String, Sendable, CaseIterable {
    /// Trees of classes.
    case classes = "HTB"
    /// A link to queue at.
    case queues = "IFB"
    /// Maps in nftables, by which packets that a link has received are classed and sent to another
    /// link.
    case receiving = "nftables' forwarding at ingress"
    /// The same for packets that a link is about to send, which is younger.
    case sending = "nftables' egress hook"
    /// Tables with maps from a link to a class.
    case maps = "nftables' netdev tables"
    /// Programs of BPF that class packets and send them to another link.
    case programs = "cls_bpf with act_mirred"
    /// Filters that send packets to another link, and give them a class there.
    case redirection = "cls_u32 with act_mirred"
    /// A ceiling without classes.
    case buckets = "TBF"
}

extension Kernel {
    /// Tries each of the means in a namespace to be thrown away, and returns what the kernel has said
    /// to those that it lacks.
    public func lackingMeans() throws(KernelError) -> [Means: KernelError] {
        var lacking: [Means: KernelError] = [:]
        try inNewNamespace { (kernel) throws(KernelError) in
            for means in Means.allCases {
                do throws(KernelError) {
                    try means.probe(kernel)
                } catch {
                    lacking[means] = error
                }
            }
        }
        return lacking
    }
}

extension Means {
    /// Makes one of it; every kind has a link of its own, so that one does not need another.
    fileprivate func probe(_ kernel: Kernel) throws(KernelError) {
        let rate = Rate(bitsPerSecond: 1_000_000)
        let id = ClassID(Tree.root.major, Tree.containers.lowerBound)
        switch self {
        case .classes:
            try Qdisc(.htb(standard: 0), on: "lo", .owned).write(kernel, over: nil)
            try TrafficClass(id, of: Tree.root, on: "lo", rate: rate, ceil: rate, .owned)
                .write(kernel, over: nil)
            try Qdisc.leaf(of: id, rate: rate, ceil: rate, on: "lo", .owned).write(
                kernel, over: nil)
        case .queues:
            try Link("probe", .ifb, in: .host, .owned).write(kernel, over: nil)
        case .receiving: try PortSteering([steering(.egress, id)]).write(kernel, over: nil)
        case .sending:
            try PortSteering([steering(.ingress, id)]).write(kernel, over: nil)
            try Qdisc(.clsact, on: "lo", .owned).write(kernel, over: nil)
            try LastFilter(of: "lo", .ingress, .owned).write(kernel, over: nil)
        case .maps: try SteeringTable("probe").write(kernel, over: nil)
        case .programs: try filter(.program, id, kernel).write(kernel, over: nil)
        case .redirection:
            try filter(.filters, id, kernel).write(kernel, over: nil)
            try ClassFilter(id, of: "lo", on: "lo", at: Place.egress, .owned).write(
                kernel, over: nil)
        case .buckets:
            // The place may have been taken by the tree.
            let tree = Qdisc(.htb(standard: 0), on: "lo", .owned)
            if (try? tree.read(kernel)) != nil { try tree.erase(kernel) }
            try Qdisc.bucket(rate, on: "lo", .owned).write(kernel, over: nil)
        }
    }

    /// A filter at a place for filters.
    private func filter(_ way: SteeringWay, _ id: ClassID, _ kernel: Kernel) throws(KernelError)
        -> LastFilter
    {
        // Filters of another kind may be in the place.
        let place = Qdisc(.clsact, on: "lo", .owned)
        try place.erase(kernel)
        try place.write(kernel, over: nil)
        var steering = steering(.egress, id)
        steering.way = way
        return LastFilter(steering, .owned)
    }

    private func steering(_ direction: Direction, _ id: ClassID) -> Steering {
        var steering = Steering(
            direction, of: "lo", to: id, on: "lo", table: "probe", owner: "probe", .owned)
        // Nothing is sent, but the kernel is to take the rules, which no group's chain has here.
        steering.isForwarding = true
        steering.markMask = 0xffff
        return steering
    }
}
