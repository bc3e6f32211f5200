public import CNI
import Netlink
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
        let owner = attachment.owner
        let hostEnd = try attachment.hostEnd(kernel).name
        let known = try wrapping { () throws(KernelError) in
            try kernel.redirection(of: owner, on: hostEnd)
        }
        let minor =
            known?.minor ?? options.fixedClass
            ?? owner.number(in: Tree.containers, attempt: attempt)
        let id = ClassID(Tree.root.major, minor)
        var steps: [any Resource<Kernel>] = []
        if let limit = options.egress {
            let link = options.group.link("e")
            steps += tree(on: link, options.group)
            steps += classes(limit, id, on: link, isNew: known == nil)
            steps.append(Qdisc(.clsact, on: hostEnd, .shared))
            steps.append(
                Filter.redirection(to: link, as: id, of: owner, on: hostEnd))
        }
        if let limit = options.ingress {
            steps.append(Qdisc(.htb(standard: minor), on: hostEnd, .owned))
            var own = TrafficClass(
                id, of: Tree.root, on: hostEnd, rate: limit.ceil, ceil: limit.ceil, .owned)
            own.burst = limit.burst
            steps.append(own)
            steps.append(leaf(limit, id, on: hostEnd, .owned))
        }
        return Plan(steps)
    }

    /// The filter and the classes of an owner, found by its host end.
    public static func remains(
        of owner: Owner, _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> Plan<Kernel> {
        guard let hostEnd = try kernel.hostEnd(of: owner) else { return Plan([]) }
        var steps: [any Resource<Kernel>] = []
        if let known = try kernel.redirection(of: owner, on: hostEnd) {
            let rate = Rate(bitsPerSecond: 0)
            steps.append(
                TrafficClass(known, of: Tree.link, on: options.group.link("e"), rate: rate, ceil: rate, .owned))
            steps.append(
                Filter.redirection(
                    to: options.group.link("e"), as: known, of: owner, on: hostEnd))
        }
        let tree = Qdisc(.htb(standard: 0), on: hostEnd, .owned)
        if try tree.read(kernel) != nil { steps.append(tree) }
        return Plan(steps)
    }

    /// The owners of the filters on the host's veth links.
    public static func owners(
        _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> [Owner] { [] }

    /// The classes that no filter names.
    public static func sweep(_ options: Options, _ kernel: Kernel) throws(KernelError) {}

    /// Tries what the plan needs.
    public static func requireKernel(_ options: Options, _ kernel: Kernel) throws(CNIError) {}

    /// What a group's containers share.
    private static func tree(on link: String, _ group: Group) -> [any Resource<Kernel>] {
        var ifb = Link(link, .ifb, in: .host, .shared)
        ifb.queueLength = 1000
        ifb.isUp = true
        let rate = group.linkRate ?? unlimited
        var whole = TrafficClass(
            Tree.link, of: Tree.root, on: link, rate: rate, ceil: rate, .shared)
        whole.isAsFound = group.linkRate == nil
        var standard = TrafficClass(
            Tree.standard, of: Tree.link, on: link, rate: Rate(bitsPerSecond: 8_000_000),
            ceil: unlimited, .shared)
        standard.priority = 7
        standard.isAsFound = true
        return [
            ifb, Qdisc(.htb(standard: Tree.standard.minor), on: link, .shared), whole, standard,
        ]
    }

    /// A container's class in a shared tree, and its leaf.
    private static func classes(
        _ limit: Options.Limit, _ id: ClassID, on link: String, isNew: Bool
    ) -> [any Resource<Kernel>] {
        var own = TrafficClass(
            id, of: Tree.link, on: link, rate: limit.rate, ceil: limit.ceil, .owned)
        own.isExclusive = isNew
        own.burst = limit.burst
        own.priority = limit.priority
        return [own, leaf(limit, id, on: link, isNew ? .part : .owned)]
    }

    private static func leaf(
        _ limit: Options.Limit, _ id: ClassID, on link: String, _ sharing: Sharing
    ) -> Qdisc {
        .leaf(
            of: id, ceil: limit.ceil, milliseconds: limit.queueMilliseconds, on: link, sharing)
    }

    /// Beyond what any link has.
    private static let unlimited = Rate(bitsPerSecond: 100_000_000_000)
}

extension Filter {
    /// The filter that sends what a container sends to the tree.
    fileprivate static func redirection(
        to link: String, as id: ClassID, of owner: Owner, on hostEnd: String
    ) -> Filter {
        Filter(
            .redirect(to: link, as: id, owner: owner.tag), on: .ingress, of: hostEnd,
            preference: 1, .owned)
    }
}

extension Kernel {
    /// The class that an owner's filter gives its packets; nil if there is no filter of its.
    fileprivate func redirection(
        of owner: Owner, on hostEnd: String
    ) throws(KernelError) -> ClassID? {
        let sample = Filter.redirection(to: "", as: Tree.root, of: owner, on: hostEnd)
        guard let found = try sample.read(self), case .redirect(_, let id, owner.tag) = found.action
        else { return nil }
        return id
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
