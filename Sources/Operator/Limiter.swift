public import CNI
internal import Netlink
internal import Plan
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import SystemPackage
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

/// A change of what a class is given, and with it of what others there are: worked out, or refused, before
/// anything is changed.
public struct ShareChange: Sendable {
    fileprivate var steps: [Step] = []

    /// What a class is to be given.
    ///
    /// Inside a container a ceiling that was the container's stays so, and what is guaranteed to no part goes
    /// to the rest.
    ///
    /// - Parameters:
    ///   - node: The class.
    ///   - tree: The tree that it is in.
    ///   - rate: What is guaranteed; nil leaves it, but below the ceiling.
    ///   - ceil: The ceiling; nil leaves it, but above what is guaranteed.
    ///   - attachments: The attachments of the host.
    /// - Throws: Code 7 if guarantees would be more than what they are part of.
    public init(
        _ node: ClassTree.Node, in tree: ClassTree, rate: Rate?, ceil: Rate?,
        _ attachments: [AttachmentState]
    ) throws(CNIError) {
        let own = node.limiter.numbers(rate: rate, ceil: ceil)
        let parent = tree.classes.first {
            $0.limiter.id != nil && $0.limiter.id == node.limiter.parent
        }
        if own.rate > node.limiter.rate {
            try parent?.requireRoom(for: own.rate, besides: node.limiter.id)
        }
        let inner = node.children.filter { !$0.isRest }.guaranteed
        guard own.rate >= min(node.limiter.rate, inner) else {
            throw CNIError(
                .invalidConfiguration,
                "\(own.rate) is less than the \(inner) that classes in it are guaranteed")
        }
        var changes = [(node, own)]
        if case .container? = node.role {
            for child in node.children {
                let follows = child.limiter.ceil == node.limiter.ceil
                let rest = child.isRest ? own.rate.left(by: inner) : nil
                guard follows || rest != nil else { continue }
                let ceil = follows ? own.ceil : nil
                changes.append((child, child.limiter.numbers(rate: rest, ceil: ceil)))
            }
        } else if !node.isRest, let parent, let rest = parent.children.first(where: \.isRest) {
            let others = parent.children.filter { !$0.isRest && $0.limiter.id != node.limiter.id }
            let left = parent.limiter.rate.left(by: others.guaranteed + own.rate)
            changes.append((rest, rest.limiter.numbers(rate: left, ceil: nil)))
        }
        steps = changes.map { node, numbers in
            Step(node, numbers, Queue(of: node.role, tree.direction, attachments))
        }
    }

    /// Makes changes while packets go on, all of them or none.
    ///
    /// - Throws: What the kernel refuses.
    public static func make(_ changes: [ShareChange]) throws(CNIError) {
        try wrapping { () throws(KernelError) in
            var undo: [Undo] = []
            do throws(KernelError) {
                for step in changes.flatMap(\.steps) { try step.make(&undo) }
            } catch {
                for one in undo.reversed() { try? one() }
                throw error
            }
        }
    }

    fileprivate typealias Undo = () throws(KernelError) -> Void

    /// What a class's queue is made for, as far as its container and its network tell.
    fileprivate struct Queue {
        /// The largest packet, in bytes.
        let mtu: Int?
        /// How long a packet may wait at the ceiling, in ms.
        let milliseconds: Int

        init(of role: ClassRole?, _ direction: Direction, _ attachments: [AttachmentState]) {
            let state = role?.owner.flatMap { owner in attachments.first { $0.owner == owner } }
            mtu = state?.hostEnd?.mtu ?? state?.inner?.mtu
            let plugins = (try? state?.cached?.list())?.plugins ?? []
            var keys = plugins.first { $0["type"]?.text == Bandwidth.name }?["shaping"]
            if let name = role?.name, name != ClassRole.rest {
                keys = keys?["classes"]?.elements?.first { $0["name"]?.text == name }
            }
            let given = keys?[direction.description]?["queueMs"].flatMap { Int($0) }
            milliseconds = given ?? Qdisc.standardMilliseconds
        }
    }

    /// A class or a ceiling, and what it is to be.
    fileprivate struct Step {
        private let limiter: Limiter
        private let port: Port
        private let rate: Rate
        private let ceil: Rate
        private let queue: Queue

        init(_ node: ClassTree.Node, _ numbers: (rate: Rate, ceil: Rate), _ queue: Queue) {
            limiter = node.limiter
            port = node.port
            (rate, ceil) = numbers
            self.queue = queue
        }

        func make(_ undo: inout [Undo]) throws(KernelError) {
            guard rate != limiter.rate || ceil != limiter.ceil else { return }
            let port = port
            try port.withKernel { (kernel) throws(KernelError) in
                switch limiter {
                case .trafficClass(let found): try change(found, kernel, &undo)
                case .bucket:
                    let found = try Qdisc.bucket(ceil, on: port.link, in: port.side, .owned)
                        .read(kernel)
                    let wanted = Qdisc.bucket(
                        ceil,
                        milliseconds: found?.milliseconds(at: limiter.ceil) ?? queue.milliseconds,
                        on: port.link, in: port.side, .owned)
                    undo.append(port.back(found))
                    try wanted.write(kernel, over: found)
                }
            }
        }

        private func change(
            _ found: TrafficClass, _ kernel: Kernel, _ undo: inout [Undo]
        ) throws(KernelError) {
            var wanted = found
            wanted.isLeaf = !found.hasChildren
            (wanted.rate, wanted.ceil) = (rate, ceil)
            // A burst that was too small for the rate would hold it back.
            if rate != found.rate { wanted.burst = nil }
            undo.append(port.back(found))
            try wanted.write(kernel, over: found)
            guard wanted.isLeaf else { return }
            let now: Qdisc?
            do throws(KernelError) {
                now = try Qdisc(
                    .fifo(limit: 0), at: found.id, on: port.link, in: port.side, .owned
                ).read(kernel)
            } catch  where error.errno == .fileExists {
                return  // somebody has put a queue of his own there
            }
            // It holds a time's worth of the ceiling, and is of another kind for small numbers.
            let leaf = Qdisc.leaf(
                of: found.id, rate: rate, ceil: ceil,
                milliseconds: now?.milliseconds(at: found.ceil) ?? queue.milliseconds,
                mtu: queue.mtu ?? now?.mtu ?? Qdisc.standardMTU, on: port.link, in: port.side,
                .owned)
            guard now?.kind != leaf.kind else { return }
            undo.append(port.back(now))
            try leaf.write(kernel, over: now)
        }
    }
}

extension Port {
    /// Brings back what was found.
    fileprivate func back(_ found: (some Resource<Kernel>)?) -> ShareChange.Undo {
        { () throws(KernelError) in
            guard let found else { return }
            try withKernel { (kernel) throws(KernelError) in
                try found.write(kernel, over: found.read(kernel))
            }
        }
    }
}

extension Limiter {
    /// What there is to be of what is asked for.
    fileprivate func numbers(rate: Rate?, ceil: Rate?) -> (rate: Rate, ceil: Rate) {
        switch self {
        case .trafficClass(let found):
            // A tree of the container's own has nothing to borrow from.
            let isOwn = found.parent == Tree.root
            let rate = rate ?? (isOwn ? ceil : nil) ?? found.rate
            let ceil = ceil ?? max(isOwn ? rate : found.ceil, rate)
            return (min(rate, ceil), ceil)
        case .bucket(let before):
            let most = ceil ?? rate ?? before
            return (most, most)
        }
    }
}

extension ClassTree.Node {
    /// Whether it has what the classes inside a container leave.
    fileprivate var isRest: Bool {
        if case .part(_, ClassRole.rest)? = role { true } else { false }
    }

    /// Refuses a guarantee in this class that it cannot keep together with the others'.
    fileprivate func requireRoom(
        for wanted: Rate, besides id: ClassID?
    ) throws(CNIError) {
        // A link that has been given no rate promises nothing.
        guard limiter.rate < Tree.unlimited else { return }
        let others = children.filter {
            $0.limiter.id != id && $0.role != .standard && !$0.isRest
        }.guaranteed
        guard others + wanted > limiter.rate else { return }
        let whole =
            switch role {
            case .link?: "linkRate"
            case .tenant(let name)?: "the guarantee of tenant \(name)"
            default: "the container's guarantee"
            }
        throw CNIError(
            .invalidConfiguration,
            "\(wanted) and the \(others) that others are guaranteed on \(port.link) are more than "
                + "\(whole), \(limiter.rate)")
    }
}

extension [ClassTree.Node] {
    /// What is guaranteed to all of them.
    fileprivate var guaranteed: Rate { map(\.limiter.rate).reduce(.none, +) }
}

extension Rate {
    /// What of it others leave: something, as the kernel knows no class without a guarantee.
    fileprivate func left(by others: Rate) -> Rate {
        Rate(
            bitsPerSecond: Swift.max(
                8, bitsPerSecond - Swift.min(others.bitsPerSecond, bitsPerSecond)))
    }
}
