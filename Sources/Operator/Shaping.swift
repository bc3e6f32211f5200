public import CNI
public import Netlink
internal import Plan
public import PluginRuntime
internal import Rtnetlink
public import TrafficControl

/// A tree of classes as it stands.
public struct ClassTree: Sendable {
    /// A class and those that borrow from it.
    public struct Node: Sendable {
        /// The class.
        public let trafficClass: TrafficClass
        /// Whose it is, if it is a container's.
        public let owner: Owner?
        /// What has passed it.
        public let counters: Counters
        /// The classes that borrow from it, by their numbers.
        public let children: [Node]
    }

    /// The group whose containers share it; nil for a container's own.
    public let group: String?
    /// Which way its packets go.
    public let direction: Direction
    /// The link it is on.
    public let link: String
    /// The classes at the root.
    public let roots: [Node]
}

extension Inventory {
    /// Every tree: those of the groups, then those of containers that share nothing.
    public func trees() throws(KernelError) -> [ClassTree] {
        let kernel = try Kernel(container: nil)
        var trees: [ClassTree] = []
        for group in groups {
            for direction in [Direction.egress, .ingress] {
                let tree = try self.tree(on: group.link(direction), direction, group.name, kernel)
                if let tree { trees.append(tree) }
            }
        }
        for state in attachments {
            guard let end = state.hostEnd, end.qdisc == "htb" else { continue }
            if let tree = try tree(on: end.name, .ingress, nil, kernel) { trees.append(tree) }
        }
        return trees
    }

    private func tree(
        on link: String, _ direction: Direction, _ group: String?, _ kernel: Kernel
    ) throws(KernelError) -> ClassTree? {
        let classes = try kernel.trafficClasses(of: link, in: .host)
            .sorted { $0.id.minor < $1.id.minor }
        guard !classes.isEmpty else { return nil }
        let counters = try kernel.classCounters(of: link)
        let owners = Dictionary(
            attachments.flatMap { state in
                state.shares.filter { $0.link == link }.map { ($0.id, state.owner) }
            }, uniquingKeysWith: { first, _ in first })
        func node(_ found: TrafficClass) -> ClassTree.Node {
            ClassTree.Node(
                trafficClass: found, owner: owners[found.id],
                counters: counters[found.id] ?? Counters(),
                children: classes.filter { $0.parent == found.id }.map(node))
        }
        let roots = classes.filter { found in !classes.contains { $0.id == found.parent } }
        return ClassTree(group: group, direction: direction, link: link, roots: roots.map(node))
    }
}

extension AttachmentState.Share {
    /// Changes what the class is given, while its packets go on.
    ///
    /// - Parameters:
    ///   - rate: What is guaranteed; nil leaves it, but below the ceiling.
    ///   - ceil: The ceiling; nil leaves it, but above what is guaranteed.
    /// - Returns: The class as it is now.
    /// - Throws: Code 3 if the class has gone, or what the kernel refuses.
    public func change(rate: Rate?, ceil: Rate?) throws(CNIError) -> TrafficClass {
        guard let found = trafficClass else {
            throw CNIError(.unknownContainer, "class \(id) on \(link) has gone")
        }
        // A tree of the container's own has nothing to borrow from.
        let isOwn = found.parent == Tree.root
        var wanted = found
        wanted.isLeaf = !found.hasChildren
        wanted.rate = rate ?? (isOwn ? ceil : nil) ?? found.rate
        wanted.ceil = ceil ?? max(isOwn ? wanted.rate : found.ceil, wanted.rate)
        if wanted.rate > wanted.ceil { wanted.rate = wanted.ceil }
        // A burst that was too small for the rate would hold it back.
        if wanted.rate != found.rate { wanted.burst = nil }
        return try wrapping { () throws(KernelError) in
            let kernel = try Kernel(container: nil)
            try wanted.write(kernel, over: found)
            // The leaf holds a time's worth of the ceiling, and is of another kind for small numbers.
            let isChanged = wanted.rate != found.rate || wanted.ceil != found.ceil
            if isChanged, wanted.isLeaf {
                let leaf = Qdisc.leaf(
                    of: id, rate: wanted.rate, ceil: wanted.ceil, on: link, .owned)
                let now = try leaf.read(kernel)
                if now?.kind != leaf.kind { try leaf.write(kernel, over: now) }
            }
            return try wanted.read(kernel) ?? wanted
        }
    }
}
