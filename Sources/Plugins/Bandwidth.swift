public import CNI
public import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink
import SystemPackage
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
        let place = try Place(attachment, kernel)
        let longest =
            ([Numbers.restName] + options.parts.map(\.keys.name))
            .map { attachment.owner.tag($0).utf8.count }.max() ?? 0
        guard options.parts.isEmpty || longest <= Owner.longestTag else {
            throw CNIError(
                .environment, "CNI_CONTAINERID: too long for the names in shaping.classes")
        }
        let ways = try Ways(options, hasHostEnd: place.hostEnd != nil)
        let numbers = try wrapping { () throws(KernelError) in
            try Numbers(attachment.owner, on: place, ways, options, kernel, attempt: attempt)
        }
        let site = Site(
            owner: attachment.owner, place: place, ways: ways, options: options,
            numbers: numbers)
        try site.requireRoom(kernel)
        return try Plan(site.steps())
    }

    /// After an error that may mean that the kernel lacks something, finds out what that is.
    public static func lesser(
        _ options: Options, after error: KernelError, _ kernel: Kernel
    ) throws(CNIError) -> Options? {
        guard options.known == nil, error.isLack else { return nil }
        let lacking = try wrapping { () throws(KernelError) in try kernel.lackingMeans() }
        guard !lacking.isEmpty else { return nil }
        var other = options
        other.known = lacking
        return other
    }

    /// Finds out what the kernel lacks, unless the best way is what the container has.
    public static func asAdded(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> Options {
        let place = try Place(attachment, kernel)
        let ways = try Ways(options, hasHostEnd: place.hostEnd != nil)
        return try wrapping { () throws(KernelError) in
            for direction in [Direction.egress, .ingress] {
                guard let way = ways[direction] else { continue }
                guard try !kernel.has(way, direction, attachment.owner, place, options.group)
                else { continue }
                var other = options
                other.known = try kernel.lackingMeans()
                return other
            }
            return options
        }
    }

    /// What is not as the configuration asks for, and why.
    public static func remark(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> String {
        try Ways(options, hasHostEnd: Place(attachment, kernel).hostEnd != nil).remark
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
        let names = try kernel.names(of: owner, steering, group, isThorough: isUnknown)
        var steps: [any Resource<Kernel>] = []
        // Removed last: what all of the group share goes with its last container.
        if !isAdding { steps.append(group.tree) }
        if let own = names.first(where: { $0.text == owner.tag }) {
            steps += try kernel.tenant(of: own.id, group)
        } else if steering.isEmpty, !isAdding {
            // The Go plugin's, after the programs were swapped; its queue at the host's end goes with that.
            let name = owner.referenceName("bwp", length: 15)
            if try kernel.link(name, in: .host)?.kind == "ifb" {
                steps.append(Link(name, .ifb, in: .host, .owned))
            }
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
        var ports: [String] = []
        for one in steering where !ports.contains(one.port) { ports.append(one.port) }
        for port in ports { steps.append(PortSteering(steering.filter { $0.port == port })) }
        if let hostEnd {
            let kind = try kernel.known(hostEnd, in: .host)?.qdisc ?? ""
            if ["htb", "tbf"].contains(kind) {
                steps.append(Qdisc(.htb(standard: 0), on: hostEnd, .owned))
                // They go with the tree, but would not come back with it.
                if isAdding, kind == "htb" {
                    steps += try kernel.trafficClasses(of: hostEnd, in: .host).map {
                        TrafficClass.remains($0.id, on: hostEnd)
                    }
                }
            }
            for direction in [Direction.egress, .ingress]
            where steering.contains(where: { $0.direction == direction }) {
                steps.append(LastFilter(of: hostEnd, direction, .owned))
            }
        }
        if !isAdding { steps += try kernel.inside(owner, group) }
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

    /// Tenants that no container is in: what an ADD that was killed has left; the classes of the host's
    /// processes, when the network has no container in the group; and what the group shares, when nobody
    /// is in it.
    public static func sweep(_ options: Options, _ kernel: Kernel) throws(KernelError) {
        let group = options.group
        let names = try kernel.classNames(.container, table: group.table)
        let isUsed = names.contains { Owner(className: $0.text)?.network == options.network }
        let processes = names.filter { $0.text.hasPrefix(options.network + " ") && !$0.text.isTag }
        if let uplink = group.processes?.uplink, !isUsed, !processes.isEmpty {
            try ProcessSteering(
                processes.map { .init(.netClass(0), $0.id, $0.text) }, of: uplink,
                to: group.link(.egress), table: group.table
            ).erase(kernel)
            for name in processes {
                try TrafficClass.remains(name.id, on: group.link(.egress)).erase(kernel)
                try name.erase(kernel)
            }
        }
        for name in try kernel.classNames(.tenant, table: options.group.table) {
            try Tenant.remains(name, options.group).erase(kernel)
        }
        try group.tree.erase(kernel)
    }
}

extension String {
    /// Whether it is the name of a container's class, or of one inside it.
    fileprivate var isTag: Bool { Owner(className: self) != nil }
}

extension TrafficClass {
    /// A class of which only the identity matters, to be erased or looked for.
    fileprivate static func remains(
        _ id: ClassID, on link: String, in side: Side = .host, _ sharing: Sharing = .owned
    ) -> TrafficClass {
        let none = Rate(bitsPerSecond: 0)
        return TrafficClass(
            id, of: Tree.link, on: link, in: side, rate: none, ceil: none, sharing)
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

extension KernelError {
    /// Whether the kernel may have said that there is no such thing, here or at all.
    fileprivate var isLack: Bool {
        let lacks: [Errno] = [
            .notSupported, .noSuchFileOrDirectory, .invalidArgument, .protocolNotSupported,
            .addressFamilyNotSupported, .noFunction,
        ]
        return lacks.contains(errno)
    }
}

extension Kernel {
    /// Whether a direction looks as if this were its way.
    fileprivate func has(
        _ way: Bandwidth.Way, _ direction: Direction, _ owner: Owner, _ place: Bandwidth.Place,
        _ group: Bandwidth.Group
    ) throws(KernelError) -> Bool {
        switch (way, place.hostEnd) {
        case (.shared, let port?):
            try steeringElements(of: owner, on: port, group)
                .first { $0.direction == direction }
                .map { (steering) throws(KernelError) in try hasChain(steering) } ?? false
        case (.hostEnd, let port?): try link(port, in: .host)?.qdisc == "htb"
        case (.inside, _) where direction == .egress:
            try link(place.interface, in: .container)?.qdisc == "htb"
        default: true
        }
    }

    /// What there may be in the container of an owner without an end on the host, or of one on a
    /// kernel that cannot do better.
    fileprivate func inside(
        _ owner: Owner, _ group: Bandwidth.Group
    ) throws(KernelError) -> [any Resource<Kernel>] {
        guard hasContainer, let own = try link(owner.interface, in: .container) else { return [] }
        // Where there is an end on the host, nothing here has rules.
        var steps = own.kind == "veth" ? [] : try ruled(own.name, owner, group)
        if ["htb", "tbf"].contains(own.qdisc) {
            steps.append(Qdisc(.htb(standard: 0), on: own.name, in: .container, .owned))
        }
        return steps
    }

    /// What there may be of rules in the container, and of the tree that they send packets to.
    private func ruled(
        _ interface: String, _ owner: Owner, _ group: Bandwidth.Group
    ) throws(KernelError) -> [any Resource<Kernel>] {
        let waiting = group.link(.ingress)
        var steps: [any Resource<Kernel>] = [ContainerTree(waiting, table: group.table)]
        let samples = [Direction.egress, .ingress].map {
            Steering(
                $0, of: interface, in: .container, to: Tree.root,
                on: $0 == .egress ? interface : waiting, table: group.table, owner: owner.tag,
                .owned)
        }
        let steering = try elements(of: samples).compactMap { $0 }.filter { $0.owner == owner.tag }
        if let received = steering.first(where: { $0.direction == .ingress }) {
            let classes = try trafficClasses(of: waiting, in: .container)
            let parent = classes.first { $0.id == received.id }?.parent ?? Tree.link
            let isPart = Tree.containers.contains(parent.minor)
            var whole = TrafficClass.remains(
                isPart ? parent : received.id, on: waiting, in: .container)
            whole.takesChildren = true
            steps.append(whole)
        }
        if !steering.isEmpty { steps.append(PortSteering(steering)) }
        return steps
    }

    /// The tenant that a container's class is in, if it is in one.
    fileprivate func tenant(
        of id: ClassID, _ group: Bandwidth.Group
    ) throws(KernelError) -> [Tenant] {
        for direction in [Direction.egress, .ingress] {
            let own = try TrafficClass.remains(id, on: group.link(direction), in: .host, .shared)
                .read(self)
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
