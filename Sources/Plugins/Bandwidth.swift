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
        let longest =
            ([Numbers.restName] + options.parts.map(\.keys.name))
            .map { attachment.owner.tag($0).utf8.count }.max() ?? 0
        guard options.parts.isEmpty || longest <= Owner.longestTag else {
            throw CNIError(
                .environment, "CNI_CONTAINERID: too long for the names in shaping.classes")
        }
        let numbers = try wrapping { () throws(KernelError) in
            try Numbers(
                attachment.owner, on: hostEnd, options, kernel, attempt: attempt)
        }
        let site = Site(
            owner: attachment.owner, hostEnd: hostEnd, options: options, numbers: numbers)
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
        var steering: [Steering] = []
        if let hostEnd { steering = try kernel.steeringElements(of: owner, on: hostEnd, group) }
        let isUnknown = steering.isEmpty && !isAdding
        if isUnknown {
            for direction in [Direction.egress, .ingress] {
                steering += try kernel.steering(
                    of: owner.tag, direction, on: group.link(direction), table: group.table)
            }
        }
        let names = try kernel.names(of: owner, on: hostEnd, group, isThorough: isUnknown)
        var steps: [any Resource<Kernel>] = []
        if let own = names.first(where: { $0.text == owner.tag }) {
            steps += try kernel.tenant(of: own.id, group)
        }
        steps += names
        for name in names.filter({ $0.text == owner.tag }) + names.filter({ $0.text != owner.tag })
        {
            for direction in [Direction.egress, .ingress] {
                var own = TrafficClass.remains(name.id, on: group.link(direction))
                own.takesChildren = name.text == owner.tag
                steps.append(own)
            }
        }
        steps += steering
        if let hostEnd {
            let tree = Qdisc(.htb(standard: 0), on: hostEnd, .owned)
            if try kernel.known(hostEnd, in: .host)?.qdisc == "htb" { steps.append(tree) }
            let last = LastFilter(of: hostEnd, .owned)
            if steering.contains(where: { $0.direction == .ingress }) { steps.append(last) }
        }
        return Plan(steps)
    }

    /// The owners that the maps and the classes name.
    public static func owners(
        _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> [Owner] {
        let group = options.group
        var tags = try kernel.classNames(.container, table: group.table).map(\.text)
        for direction in [Direction.egress, .ingress] {
            tags += try kernel.steering(
                of: nil, direction, on: group.link(direction), table: group.table
            ).map(\.owner)
        }
        var owners: [Owner] = []
        for owner in tags.compactMap({ Owner(className: $0) }) where !owners.contains(owner) {
            owners.append(owner)
        }
        return owners
    }

    /// Tenants that no container is in: what an ADD that was killed has left.
    public static func sweep(_ options: Options, _ kernel: Kernel) throws(KernelError) {
        for name in try kernel.classNames(.tenant, table: options.group.table) {
            try Tenant.remains(name, options.group).erase(kernel)
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

extension Tenant {
    /// A tenant of which only the identity matters, to be erased.
    fileprivate static func remains(_ name: ClassName, _ group: Bandwidth.Group) -> Tenant {
        let classes = [Direction.egress, .ingress].map {
            TrafficClass.remains(name.id, on: group.link($0))
        }
        return Tenant(name, classes, .owned)
    }
}

extension Kernel {
    /// The tenant that a container's class is in, if it is in one.
    fileprivate func tenant(
        of id: ClassID, _ group: Bandwidth.Group
    ) throws(KernelError) -> [Tenant] {
        for direction in [Direction.egress, .ingress] {
            let own = try TrafficClass.remains(id, on: group.link(direction)).read(self)
            guard let parent = own?.parent, Tree.tenants.contains(parent.minor) else { continue }
            guard let text = try className(of: parent, .tenant, table: group.table) else {
                return []
            }
            return [
                Tenant.remains(
                    ClassName(text, of: parent, .tenant, table: group.table, .owned), group)
            ]
        }
        return []
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
