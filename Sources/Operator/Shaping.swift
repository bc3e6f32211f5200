public import Netlink
internal import PluginRuntime
internal import Rtnetlink
public import TrafficControl

/// A tree of classes as it stands.
public struct ClassTree: Sendable {
    /// A class and those that borrow from it.
    public struct Node: Sendable {
        /// The class.
        public let trafficClass: TrafficClass
        /// What it is there for; nil if no name tells.
        public let role: ClassRole?
        /// What has passed it.
        public let counters: Counters
        /// The classes that borrow from it, by their numbers.
        public let children: [Node]

        /// This class and all those below it.
        public var all: [Node] { [self] + children.flatMap(\.all) }
    }

    /// The group whose containers share it; nil for a container's own.
    public let group: String?
    /// Which way its packets go.
    public let direction: Direction
    /// The link it is on.
    public let link: String
    /// The classes at the root.
    public let roots: [Node]

    /// All its classes.
    public var classes: [Node] { roots.flatMap(\.all) }
}

extension Inventory {
    /// Every tree: those of the groups, then those of containers that share nothing.
    public func trees() throws(KernelError) -> [ClassTree] {
        let kernel = try Kernel(container: nil)
        var trees: [ClassTree] = []
        for group in groups {
            let roles = try group.roles(kernel)
            for direction in [Direction.egress, .ingress] {
                let link = group.link(direction)
                let tree = try self.tree(on: link, direction, group.name, kernel) { roles[$0] }
                if let tree { trees.append(tree) }
            }
        }
        for state in attachments {
            guard let end = state.hostEnd, end.qdisc == "htb" else { continue }
            let tree = try tree(on: end.name, .ingress, nil, kernel) { _ in
                .container(state.owner)
            }
            if let tree { trees.append(tree) }
        }
        return trees
    }

    private func tree(
        on link: String, _ direction: Direction, _ group: String?, _ kernel: Kernel,
        role: (ClassID) -> ClassRole?
    ) throws(KernelError) -> ClassTree? {
        let classes = try kernel.trafficClasses(of: link, in: .host)
            .sorted { $0.id.minor < $1.id.minor }
        guard !classes.isEmpty else { return nil }
        let counters = try kernel.classCounters(of: link)
        let byParent = Dictionary(grouping: classes, by: \.parent)
        let known = Set(classes.map(\.id))
        func node(_ found: TrafficClass) -> ClassTree.Node {
            let children = (byParent[found.id] ?? []).map(node)
            var own = counters[found.id] ?? Counters()
            for child in children { own.addWaiting(child.counters) }
            return ClassTree.Node(
                trafficClass: found, role: role(found.id), counters: own, children: children)
        }
        let roots = classes.filter { !known.contains($0.parent) }
        return ClassTree(group: group, direction: direction, link: link, roots: roots.map(node))
    }
}
