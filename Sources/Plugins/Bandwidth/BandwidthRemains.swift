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
        var isUnnamed = false
        if !isAdding, steps.allSatisfy({ $0 is GroupTree }) {
            let unnamed = try kernel.unnamed(owner, options)
            isUnnamed = !unnamed.isEmpty
            steps += unnamed
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
            if try kernel.hasLikelyQdisc(hostEnd, in: .host, isAdding: isAdding) {
                steps.append(Qdisc(.htb(standard: 0), on: hostEnd, .owned))
            }
            for direction in Direction.allCases
            where isUnnamed || own.contains(where: { $0.direction == direction }) {
                steps.append(LastFilter(of: hostEnd, direction, .owned))
            }
        }
        return Plan(steps + (try kernel.inside(owner, options.group, isAdding: isAdding)))
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

extension [TrafficClass] {
    /// Containers' classes in a container, of which only the identity matters, those first that others are in.
    fileprivate func remains(where isMeant: (TrafficClass) -> Bool) -> [any Resource<Kernel>] {
        let meant = filter { Tree.containers.contains($0.id.minor) && isMeant($0) }
        return (meant.filter(\.hasChildren) + meant.filter { !$0.hasChildren }).map {
            TrafficClass.remains($0.id, on: $0.link, in: .container)
        }
    }
}

extension Bandwidth.Group {
    /// The classes of the configuration's tenant in a direction that the configuration has no numbers for.
    func spareClasses(of name: ClassName) -> [SpareClass] {
        guard let tenant, tenant.name == name.text else { return [] }
        return Direction.allCases.filter { tenant[$0] == nil }
            .map { SpareClass(name.id, on: link($0)) }
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
            let tenants = try tenant(of: own.id, group)
            steps += tenants
            if isAdding { steps += tenants.flatMap { group.spareClasses(of: $0.name) } }
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
    /// no other name and the numbers of the configuration, with those inside it and the tenant's.
    fileprivate func unnamed(
        _ owner: Owner, _ options: Bandwidth.Options
    ) throws(KernelError) -> [any Resource<Kernel>] {
        let group = options.group
        let id = ClassID(
            Tree.root.major, group.fixedClass ?? owner.number(of: owner.tag, attempt: 0))
        let inner = Bandwidth.names(inside: id, of: owner, options.parts.map(\.keys.name))
        var steps: [any Resource<Kernel>] = []
        for direction in Direction.allCases {
            guard let limit = options[direction],
                direction == .egress || options.usesTree(direction, limit)
            else { continue }
            let link = group.link(direction)
            guard let found = try TrafficClass.remains(id, on: link, in: .host, .shared).read(self),
                try hasOnly(inner, in: id, on: link)
            else { continue }
            var wanted = TrafficClass(
                id, of: found.parent, on: link, rate: limit.rate, ceil: limit.ceil, .owned)
            (wanted.burst, wanted.priority) = (limit.burst, limit.priority)
            (wanted.isLeaf, wanted.takesChildren) = (!found.hasChildren, true)
            guard wanted.differences(from: found).isEmpty else { continue }
            if Tree.tenants.contains(found.parent.minor) {
                steps += try unnamedTenant(found.parent, group, direction)
            }
            steps.append(wanted)
        }
        guard !steps.isEmpty, try className(of: id, .container, table: group.table) == nil else {
            return []
        }
        return steps
    }

    /// Whether the classes in one are all among some.
    private func hasOnly(
        _ known: [ClassID: String], in parent: ClassID, on link: String
    ) throws(KernelError) -> Bool {
        try trafficClasses(of: link, in: .host).allSatisfy {
            $0.parent != parent || known[$0.id] != nil && !$0.hasChildren
        }
    }

    /// The configuration's tenant, where its class has lost its name or has got it again.
    private func unnamedTenant(
        _ id: ClassID, _ group: Bandwidth.Group, _ direction: Direction
    ) throws(KernelError) -> [any Resource<Kernel>] {
        guard let tenant = group.tenant else { return [] }
        switch try className(of: id, .tenant, table: group.table) {
        case nil where id.minor == number(for: tenant.name, in: Tree.tenants, attempt: 0):
            return [SpareClass(id, on: group.link(direction))]
        case tenant.name?:
            let name = ClassName(tenant.name, of: id, .tenant, table: group.table, .owned)
            return [Tenant.remains(name, group)]
        default: return []
        }
    }

    /// Whether a link has a root qdisc that an attachment may have of its own; most have none, and that is
    /// known of the link.
    fileprivate func hasLikelyQdisc(
        _ link: String, in side: Side, isAdding: Bool
    ) throws(KernelError) -> Bool {
        switch try seen(link, in: side)?.qdisc {
        case "htb": return try hasOwnQdisc(link, in: side)
        case "tbf":
            // A ceiling without classes is an attachment's where there are none; what stays there after DEL
            // nobody needs.
            if isAdding, try lackingMeans()[.classes] == nil { return false }
            return try hasOwnQdisc(link, in: side)
        default: return false
        }
    }

    /// What there may be in the container of an owner without an end on the host, or of one on a
    /// kernel that cannot do better.
    fileprivate func inside(
        _ owner: Owner, _ group: Bandwidth.Group, isAdding: Bool
    ) throws(KernelError) -> [any Resource<Kernel>] {
        guard hasContainer, let own = try seen(owner.interface, in: .container),
            !own.isOf(others: owner)
        else { return [] }
        var steps: [any Resource<Kernel>] = []
        // Where there is an end on the host, nothing here has rules.
        if own.kind != "veth" {
            for group in try groupsInside(group, isAdding: isAdding) {
                steps += try ruled(own.name, owner, group, isAdding: isAdding)
            }
        }
        if try hasLikelyQdisc(own.name, in: .container, isAdding: isAdding) {
            if isAdding {
                steps += try trafficClasses(of: own.name, in: .container).remains { _ in true }
            }
            steps.append(Qdisc(.htb(standard: 0), on: own.name, in: .container, .owned))
        }
        return steps
    }

    /// A configuration's group, and all others that a container has something of.
    private func groupsInside(
        _ own: Bandwidth.Group, isAdding: Bool
    ) throws(KernelError) -> [Bandwidth.Group] {
        var names = try steeringTables(in: .container).compactMap { Bandwidth.group(ofTable: $0) }
        // The table may have been flushed.
        if !isAdding {
            names += try links(kind: "ifb", in: .container).compactMap {
                Bandwidth.group(ofLink: $0.name)
            }
        }
        return [own] + Set(names).subtracting([own.name]).map { Bandwidth.Group(named: $0) }
    }

    /// What there may be of rules in the container, and of the tree that they send packets to.
    private func ruled(
        _ interface: String, _ owner: Owner, _ group: Bandwidth.Group, isAdding: Bool
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
            if isAdding { steps += classes.remains { $0.parent == whole.id } }
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
