public import CNI
internal import Netlink
internal import Plan
internal import PluginRuntime
internal import Rtnetlink
public import TrafficControl

/// A link, and whose network namespace it is in.
public struct Port: Sendable, Hashable {
    /// Its name.
    public let link: String
    /// A path to a container's namespace; nil for the host's.
    public let netns: String?

    /// A link of the host's or, with a path, of a container's namespace.
    init(_ link: String, in netns: String? = nil) {
        self.link = link
        self.netns = netns
    }

    var side: Side { netns == nil ? .host : .container }

    /// Runs `body` with a kernel that has the port's namespace on the port's side.
    func withKernel<Result>(
        _ body: (Kernel) throws(KernelError) -> Result
    ) throws(KernelError) -> Result {
        guard let netns else { return try body(Kernel(container: nil)) }
        let kernel = try Kernel(container: NetworkNamespace(path: netns))
        defer { try? kernel.returnHome() }
        return try body(kernel)
    }
}

/// What holds packets back.
public enum Limiter: Sendable {
    /// A class of a tree.
    case trafficClass(TrafficClass)
    /// A bucket at a link's root: a ceiling without classes.
    case bucket(Rate)

    /// The class's number; nil for what is none.
    public var id: ClassID? {
        if case .trafficClass(let found) = self { found.id } else { nil }
    }

    /// What is always given.
    public var rate: Rate {
        switch self {
        case .trafficClass(let found): found.rate
        case .bucket(let rate): rate
        }
    }

    /// What may be taken at most.
    public var ceil: Rate {
        switch self {
        case .trafficClass(let found): found.ceil
        case .bucket(let rate): rate
        }
    }

    /// Who is offered what is left first, among classes.
    public var priority: Int? {
        if case .trafficClass(let found) = self { found.priority } else { nil }
    }

    /// The class that it borrows from.
    public var parent: ClassID? {
        if case .trafficClass(let found) = self { found.parent } else { nil }
    }
}

extension Kernel {
    /// The ceiling of a bucket at a link's root; nil if there is none.
    func bucket(at port: Port) throws(KernelError) -> Limiter? {
        let any = Qdisc.bucket(Rate(bitsPerSecond: 8), on: port.link, in: port.side, .owned)
        guard case .bucket(let rate, _, _)? = try any.read(self)?.kind else { return nil }
        return .bucket(rate)
    }
}

extension Limiter {
    /// Changes what is given, while packets go on.
    ///
    /// - Parameters:
    ///   - rate: What is guaranteed; nil leaves it, but below the ceiling.
    ///   - ceil: The ceiling; nil leaves it, but above what is guaranteed.
    ///   - port: Where it is.
    /// - Returns: What there is now.
    /// - Throws: What the kernel refuses.
    @discardableResult
    func change(rate: Rate?, ceil: Rate?, at port: Port) throws(KernelError) -> Limiter {
        try port.withKernel { (kernel) throws(KernelError) in
            switch self {
            case .trafficClass(let found):
                return .trafficClass(try found.change(rate: rate, ceil: ceil, kernel))
            case .bucket(let before):
                let wanted = Qdisc.bucket(
                    ceil ?? rate ?? before, on: port.link, in: port.side, .owned)
                try wanted.write(kernel, over: wanted.read(kernel))
                return try kernel.bucket(at: port) ?? self
            }
        }
    }
}

extension TrafficClass {
    /// Changes what the class is given, while its packets go on.
    ///
    /// - Parameters:
    ///   - rate: What is guaranteed; nil leaves it, but below the ceiling.
    ///   - ceil: The ceiling; nil leaves it, but above what is guaranteed.
    ///   - kernel: The kernel, with the class on the class's side.
    /// - Returns: The class as it is now.
    /// - Throws: What the kernel refuses.
    fileprivate func change(
        rate: Rate?, ceil: Rate?, _ kernel: Kernel
    ) throws(KernelError) -> TrafficClass {
        // A tree of the container's own has nothing to borrow from.
        let isOwn = parent == Tree.root
        var wanted = self
        wanted.isLeaf = !hasChildren
        wanted.rate = rate ?? (isOwn ? ceil : nil) ?? self.rate
        wanted.ceil = ceil ?? max(isOwn ? wanted.rate : self.ceil, wanted.rate)
        if wanted.rate > wanted.ceil { wanted.rate = wanted.ceil }
        // A burst that was too small for the rate would hold it back.
        if wanted.rate != self.rate { wanted.burst = nil }
        try wanted.write(kernel, over: self)
        // The leaf holds a time's worth of the ceiling, and is of another kind for small numbers.
        let isChanged = wanted.rate != self.rate || wanted.ceil != self.ceil
        if isChanged, wanted.isLeaf {
            let leaf = Qdisc.leaf(
                of: id, rate: wanted.rate, ceil: wanted.ceil, on: link, in: side, .owned)
            let now = try leaf.read(kernel)
            if now?.kind != leaf.kind { try leaf.write(kernel, over: now) }
        }
        return try wanted.read(kernel) ?? wanted
    }
}

extension ClassTree.Node {
    /// Changes what the class is given, and of a container's with it those inside it: a ceiling
    /// that was the container's stays so, and what is guaranteed to no part goes to the rest.
    ///
    /// - Throws: What the kernel refuses.
    public func change(rate: Rate?, ceil: Rate?) throws(CNIError) {
        try wrapping { () throws(KernelError) in try changeAll(rate: rate, ceil: ceil) }
    }

    private func changeAll(rate: Rate?, ceil: Rate?) throws(KernelError) {
        let now = try limiter.change(rate: rate, ceil: ceil, at: port)
        guard case .container? = role else { return }
        for child in children {
            let follows = child.limiter.ceil == limiter.ceil
            var own: Rate?
            if child.role?.name == ClassRole.rest {
                let others =
                    children.reduce(0) { $0 + $1.limiter.rate.bitsPerSecond }
                    - child.limiter.rate.bitsPerSecond
                let whole = now.rate.bitsPerSecond
                own = Rate(bitsPerSecond: max(8, whole - min(others, whole)))
            }
            guard follows || own != nil else { continue }
            try child.limiter.change(rate: own, ceil: follows ? now.ceil : nil, at: port)
        }
    }
}
