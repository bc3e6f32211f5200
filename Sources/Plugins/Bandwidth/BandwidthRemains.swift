public import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink
import TrafficControl

extension Bandwidth {
    /// The classes of an owner and what sends packets there, in whatever group they are: found by its host's
    /// end or, when that has gone, in the maps.
    public static func remains(
        of owner: Owner, _ options: Options, _ kernel: Kernel, isAdding: Bool
    ) throws(KernelError) -> Plan<Kernel> {
        let groups = try kernel.groups(options.group)
        let hostEnd = try kernel.hostEnd(of: owner)
        let onPort =
            try hostEnd.map { (port) throws(KernelError) in
                try kernel.steeringElements(of: port, groups)
            } ?? []
        let own = onPort.filter { $0.owner == owner.tag }
        var steps: [any Resource<Kernel>] = []
        for group in groups {
            steps += try kernel.remains(
                of: owner, own.filter { $0.table == group.table }, in: group,
                isOwn: group.name == options.group.name, isUnknown: own.isEmpty && !isAdding,
                isAdding: isAdding)
        }
        if !isAdding, steps.allSatisfy({ $0 is GroupTree }) {
            steps += try kernel.unnamed(owner, options)
            // The Go plugin's, after the programs were swapped; its queue at the host's end goes with that.
            let name = owner.referenceName("bwp", length: 15)
            if try kernel.link(name, in: .host)?.kind == "ifb" {
                steps.append(Link(name, .ifb, in: .host, .owned))
            }
        }
        if let hostEnd {
            // Another container had a host's end of this name, and went without a DEL.
            let stale = onPort.filter { $0.owner != owner.tag }
            if isAdding, !stale.isEmpty { steps += stale.map { PortSteering([$0]) } }
            if try kernel.hasLikelyQdisc(hostEnd, in: .host) {
                steps.append(Qdisc(.htb(standard: 0), on: hostEnd, .owned))
            }
            for direction in Direction.allCases
            where own.contains(where: { $0.direction == direction }) {
                steps.append(LastFilter(of: hostEnd, direction, .owned))
            }
        }
        return Plan(steps + (try kernel.inside(owner, options.group)))
    }
}

extension TrafficClass {
    /// A class of which only the identity matters, to be erased or looked for.
    static func remains(
        _ id: ClassID, on link: String, in side: Side = .host, _ sharing: Sharing = .owned
    ) -> TrafficClass {
        let none = Rate(bitsPerSecond: 0)
        return TrafficClass(
            id, of: Tree.link, on: link, in: side, rate: none, ceil: none, sharing)
    }
}

extension Tenant {
    /// A tenant of which only the identity matters, to be erased.
    static func remains(_ name: ClassName, _ group: Bandwidth.Group) -> Tenant {
        let classes = Direction.allCases.map {
            TrafficClass.remains(name.id, on: group.link($0))
        }
        return Tenant(name, classes, .owned)
    }
}

extension Kernel {
    /// A configuration's group, and all others there are on the host: an earlier configuration may have named
    /// another one.
    func groups(_ own: Bandwidth.Group) throws(KernelError) -> [Bandwidth.Group] {
        try [own]
            + steeringTables().compactMap { Bandwidth.group(ofTable: $0) }
            .filter { $0 != own.name }.map { Bandwidth.Group(named: $0) }
    }

    /// What there is of an owner in a group, the configuration's own or another, what steers its port being
    /// known.
    fileprivate func remains(
        of owner: Owner, _ known: [Steering], in group: Bandwidth.Group, isOwn: Bool,
        isUnknown: Bool, isAdding: Bool
    ) throws(KernelError) -> [any Resource<Kernel>] {
        var steering = known
        var names = try names(of: owner, known, group)
        // Its host's end may have another name by now.
        if isUnknown || known.isEmpty && !names.isEmpty {
            for direction in Direction.allCases {
                steering += try self.steering(
                    of: owner.tag, direction, on: group.link(direction), table: group.table)
            }
        }
        if isUnknown, names.isEmpty {
            names = try classNames(.container, table: group.table)
                .filter { Owner(className: $0.text) == owner }
        }
        guard !isAdding || isOwn || !steering.isEmpty || !names.isEmpty else { return [] }
        var steps: [any Resource<Kernel>] = []
        // Removed last: what all of the group share goes with its last container.
        if !isAdding || !isOwn { steps.append(group.tree) }
        if let own = names.first(where: { $0.text == owner.tag }) {
            steps += try tenant(of: own.id, group)
        }
        // The name of the rest tells that there are others, and goes after them.
        let rank = { (name: ClassName) in
            [owner.tag, owner.tag(Bandwidth.Numbers.restName)].firstIndex(of: name.text) ?? 2
        }
        names.sort { rank($0) < rank($1) }
        steps += names
        for name in names {
            for direction in Direction.allCases {
                var own = TrafficClass.remains(name.id, on: group.link(direction))
                own.takesChildren = name.text == owner.tag
                steps.append(own)
            }
        }
        var ports: [String] = []
        for one in steering where !ports.contains(one.port) { ports.append(one.port) }
        for port in ports { steps.append(PortSteering(steering.filter { $0.port == port })) }
        return steps
    }

    /// An owner's class that has lost its name with the whole table: one where the name would lead that has
    /// no other name and the numbers of the configuration.
    fileprivate func unnamed(
        _ owner: Owner, _ options: Bandwidth.Options
    ) throws(KernelError) -> [any Resource<Kernel>] {
        let group = options.group
        let id = ClassID(
            Tree.root.major, group.fixedClass ?? owner.number(of: owner.tag, attempt: 0))
        var steps: [any Resource<Kernel>] = []
        for direction in Direction.allCases {
            guard let limit = options[direction],
                direction == .egress || options.usesTree(direction, limit)
            else { continue }
            let link = group.link(direction)
            guard let found = try TrafficClass.remains(id, on: link, in: .host, .shared).read(self),
                !found.hasChildren
            else { continue }
            var wanted = TrafficClass(
                id, of: found.parent, on: link, rate: limit.rate, ceil: limit.ceil, .owned)
            (wanted.burst, wanted.priority) = (limit.burst, limit.priority)
            if wanted.differences(from: found).isEmpty { steps.append(wanted) }
        }
        guard !steps.isEmpty, try className(of: id, .container, table: group.table) == nil else {
            return []
        }
        return steps
    }

    /// Whether a link has a root qdisc that an attachment may have of its own; most have none, and that is
    /// known of the link.
    fileprivate func hasLikelyQdisc(_ link: String, in side: Side) throws(KernelError) -> Bool {
        let kind = try seen(link, in: side)?.qdisc ?? ""
        guard ["htb", "tbf"].contains(kind) else { return false }
        return try hasOwnQdisc(link, in: side)
    }

    /// What there may be in the container of an owner without an end on the host, or of one on a
    /// kernel that cannot do better.
    fileprivate func inside(
        _ owner: Owner, _ group: Bandwidth.Group
    ) throws(KernelError) -> [any Resource<Kernel>] {
        guard hasContainer, let own = try seen(owner.interface, in: .container),
            !own.isOf(others: owner)
        else { return [] }
        // Where there is an end on the host, nothing here has rules.
        var steps = own.kind == "veth" ? [] : try ruled(own.name, owner, group)
        if try hasLikelyQdisc(own.name, in: .container) {
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
        let samples = Direction.allCases.map {
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
        for direction in Direction.allCases {
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
        guard hasContainer, let own = try seen(owner.interface, in: .container),
            own.kind == "veth", let index = own.peer,
            let other = try seen(index: index, in: .host), other.peer == own.index,
            !other.isOf(others: owner)
        else { return nil }
        return other.name
    }
}

extension LinkState {
    /// Whether it carries the tag of somebody else, who has got the namespace's path since.
    fileprivate func isOf(others owner: Owner) -> Bool {
        alias.flatMap { Owner(tag: $0) }.map { $0 != owner } ?? false
    }
}
