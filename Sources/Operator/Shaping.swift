public import Netlink
internal import PluginRuntime
internal import Rtnetlink
public import TrafficControl

/// A tree of classes as it stands.
public struct ClassTree: Sendable {
    /// A class and those that borrow from it.
    public struct Node: Sendable {
        /// The class or, of a tree that is only a ceiling, that.
        public let limiter: Limiter
        /// Where it is.
        let port: Port
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
    public let port: Port
    /// The classes at the root, or a ceiling alone.
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
            for direction in Direction.allCases {
                let port = group.port(direction)
                let tree = try tree(at: port, direction, group.name, kernel) { id in
                    id.flatMap { roles[$0] }
                }
                if let tree { trees.append(tree) }
            }
        }
        var seen = Set(trees.map(\.port))
        let all = attachments.flatMap { state in state.shares.map { (state.owner, $0) } }
        for (_, share) in all where seen.insert(share.port).inserted {
            let port = share.port
            var roles: [ClassID?: ClassRole] = [Tree.link: .link, Tree.standard: .standard]
            for (owner, other) in all where other.port == port {
                roles[other.id] = other.part.map { .part(owner, $0) } ?? .container(owner)
            }
            do throws(KernelError) {
                let tree = try port.withKernel { (kernel) throws(KernelError) in
                    try self.tree(at: port, share.direction, nil, kernel) { roles[$0] }
                }
                if let tree { trees.append(tree) }
            } catch  where port.netns != nil {
                continue  // the container has gone since
            }
        }
        return trees
    }

    private func tree(
        at port: Port, _ direction: Direction, _ group: String?, _ kernel: Kernel,
        role: (ClassID?) -> ClassRole?
    ) throws(KernelError) -> ClassTree? {
        let classes = try kernel.trafficClasses(of: port.link, in: port.side)
            .sorted { $0.id.minor < $1.id.minor }
        guard !classes.isEmpty else {
            guard let bucket = try kernel.bucket(at: port) else { return nil }
            let node = ClassTree.Node(
                limiter: bucket, port: port, role: role(nil),
                counters: try kernel.bucketCounters(of: port) ?? Counters(), children: [])
            return ClassTree(group: group, direction: direction, port: port, roots: [node])
        }
        let counters = try kernel.classCounters(of: port)
        let byParent = Dictionary(grouping: classes, by: \.parent)
        let known = Set(classes.map(\.id))
        func node(_ found: TrafficClass) -> ClassTree.Node {
            let children = (byParent[found.id] ?? []).map(node)
            var own = counters[found.id] ?? Counters()
            for child in children { own.addWaiting(child.counters) }
            return ClassTree.Node(
                limiter: .trafficClass(found), port: port, role: role(found.id), counters: own,
                children: children)
        }
        let roots = classes.filter { !known.contains($0.parent) }
        return ClassTree(group: group, direction: direction, port: port, roots: roots.map(node))
    }
}
