public import CNI
public import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink
import TrafficControl

/// Limits what a container may send and receive, and shares out what there is.
public enum Bandwidth: ChainedPlugin {
    /// The plugin's name.
    public static let name = "bandwidth"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// Reads the configuration.
    public static func options(_ call: Call) throws(CNIError) -> Options { try Options(call) }

    /// Whether neither direction is limited.
    public static func isIdle(_ options: Options) -> Bool {
        options.egress == nil && options.ingress == nil
    }

    /// The trees, the container's classes in them, and what sends its packets there.
    public static func plan(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Plan<Kernel> {
        let hostEnd = try attachment.hostEnd(kernel).name
        let known = try wrapping { () throws(KernelError) in
            try kernel.steering(of: attachment.owner, on: hostEnd, options.group)
        }
        var site = Site(
            owner: attachment.owner, hostEnd: hostEnd, options: options,
            minor: attachment.owner.number(in: Tree.containers, attempt: attempt))
        if let fixed = options.group.fixedClass { site.minor = fixed }
        if let first = known.first, options.group.fixedClass ?? first.id.minor == first.id.minor {
            site.minor = first.id.minor
        }
        site.known = known.filter { $0.id.minor == site.minor }.map(\.direction)
        try site.requireRoom(kernel)
        return Plan(site.steps)
    }

    /// The classes of an owner and what sends packets there, found by its host's end or, when that
    /// has gone, in the maps.
    public static func remains(
        of owner: Owner, _ options: Options, _ kernel: Kernel, isAdding: Bool
    ) throws(KernelError) -> Plan<Kernel> {
        let group = options.group
        let hostEnd = try kernel.hostEnd(of: owner)
        var found: [Steering] = []
        if let hostEnd { found = try kernel.steering(of: owner, on: hostEnd, group) }
        if found.isEmpty, !isAdding {
            for direction in [Direction.egress, .ingress] {
                found += try kernel.steering(
                    of: owner.tag, direction, on: group.link(direction), table: group.table)
            }
        }
        var steps: [any Resource<Kernel>] = []
        if found.isEmpty, !isAdding {
            // The Go plugin's, after the programs were swapped; its queue at the host's end goes with that.
            let name = owner.referenceName("bwp", length: 15)
            if try kernel.link(name, in: .host)?.kind == "ifb" {
                steps.append(Link(name, .ifb, in: .host, .owned))
            }
        }
        for steering in found {
            steps.append(TrafficClass.remains(steering.id, on: steering.link))
            steps.append(steering)
        }
        if let hostEnd {
            let tree = Qdisc(.htb(standard: 0), on: hostEnd, .owned)
            if try kernel.known(hostEnd, in: .host)?.qdisc == "htb" { steps.append(tree) }
            let last = LastFilter(of: hostEnd, .owned)
            if found.contains(where: { $0.direction == .ingress }) { steps.append(last) }
        }
        return Plan(steps)
    }

    /// The owners that the maps name.
    public static func owners(
        _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> [Owner] {
        let group = options.group
        var owners: [Owner] = []
        for direction in [Direction.egress, .ingress] {
            for steering in try kernel.steering(
                of: nil, direction, on: group.link(direction), table: group.table)
            {
                guard let owner = Owner(tag: steering.owner), !owners.contains(owner) else {
                    continue
                }
                owners.append(owner)
            }
        }
        return owners
    }

    /// The classes that no map names: what an ADD that was killed has left.
    public static func sweep(_ options: Options, _ kernel: Kernel) throws(KernelError) {
        let group = options.group
        for direction in [Direction.egress, .ingress] {
            let link = group.link(direction)
            let named = Set(
                try kernel.steering(of: nil, direction, on: link, table: group.table).map(\.id))
            for found in try kernel.trafficClasses(of: link, in: .host)
            where Tree.containers.contains(found.id.minor) && !named.contains(found.id) {
                try found.erase(kernel)
            }
        }
    }
}

extension TrafficClass {
    /// A class of which only the identity matters, to be erased.
    fileprivate static func remains(_ id: ClassID, on link: String) -> TrafficClass {
        let none = Rate(bitsPerSecond: 0)
        return TrafficClass(id, of: Tree.link, on: link, rate: none, ceil: none, .owned)
    }
}

extension Kernel {
    /// What steers the packets of a port, as far as it is the owner's.
    fileprivate func steering(
        of owner: Owner, on hostEnd: String, _ group: Bandwidth.Group
    ) throws(KernelError) -> [Steering] {
        var found: [Steering] = []
        for direction in [Direction.egress, .ingress] {
            let sample = Steering(
                direction, of: hostEnd, to: Tree.root, on: group.link(direction),
                table: group.table, owner: owner.tag, .owned)
            if let steering = try sample.read(self), steering.owner == owner.tag {
                found.append(steering)
            }
        }
        return found
    }

    /// The host's end of an owner's veth pair, if it is there.
    fileprivate func hostEnd(of owner: Owner) throws(KernelError) -> String? {
        if let link = try link(owner.hostEnd, in: .host) { return link.name }
        guard hasContainer, let own = try link(owner.interface, in: .container),
            own.kind == "veth", let index = own.peer,
            let other = try link(index: index, in: .host), other.peer == own.index
        else { return nil }
        return other.name
    }
}
