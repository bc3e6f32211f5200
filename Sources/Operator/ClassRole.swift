public import CNI
internal import Netlink
internal import Plan
public import PluginRuntime
internal import Rtnetlink
public import TrafficControl

/// What a class of a group's tree is there for, as its name in the kernel says.
public enum ClassRole: Sendable, Equatable {
    /// All that the group has.
    case link
    /// What no class is known for.
    case standard
    /// Several containers that have a guarantee and a ceiling together.
    case tenant(String)
    /// A container.
    case container(Owner)
    /// Some of a container's packets, by the name that its configuration has for them;
    /// ``rest`` for those that are in no other class.
    case part(Owner, String)
    /// Processes of the host.
    case processes(network: String, String)

    /// The name of the class inside a container that has what the others leave.
    public static let rest = "*"

    /// The role that a class's name tells of; nil for a name that is none of this project's.
    init?(_ name: ClassName) {
        let words = name.text.split(separator: " ", omittingEmptySubsequences: false)
            .map(String.init)
        switch (name.kind, words.count) {
        case (.tenant, 1): self = .tenant(words[0])
        case (.container, 2): self = .processes(network: words[0], words[1])
        case (.container, 3...4):
            guard let owner = Owner(tag: words.prefix(3).joined(separator: " ")) else {
                return nil
            }
            self = words.count == 3 ? .container(owner) : .part(owner, words[3])
        default: return nil
        }
    }

    /// The container that it is of.
    public var owner: Owner? {
        switch self {
        case .container(let owner), .part(let owner, _): owner
        default: nil
        }
    }

    /// The tenant's name, if it is a tenant's.
    public var tenant: String? {
        if case .tenant(let name) = self { name } else { nil }
    }

    /// Its name in the configuration: a tenant's, of processes, or of a class inside a container.
    public var name: String? {
        switch self {
        case .tenant(let name), .part(_, let name), .processes(_, let name): name
        default: nil
        }
    }
}

extension ShapingGroup {
    /// What each of the group's classes is there for; one without a name is somebody else's.
    func roles(_ kernel: Kernel) throws(KernelError) -> [ClassID: ClassRole] {
        var roles: [ClassID: ClassRole] = [Tree.link: .link, Tree.standard: .standard]
        for kind in ClassName.Kind.allCases {
            for name in try kernel.classNames(kind, table: table) {
                roles[name.id] = ClassRole(name)
            }
        }
        return roles
    }
}

extension TrafficClass {
    /// Changes what the class is given, while its packets go on.
    ///
    /// - Parameters:
    ///   - rate: What is guaranteed; nil leaves it, but below the ceiling.
    ///   - ceil: The ceiling; nil leaves it, but above what is guaranteed.
    /// - Returns: The class as it is now.
    /// - Throws: What the kernel refuses.
    @discardableResult
    func change(rate: Rate?, ceil: Rate?) throws(KernelError) -> TrafficClass {
        // A tree of the container's own has nothing to borrow from.
        let isOwn = parent == Tree.root
        var wanted = self
        wanted.isLeaf = !hasChildren
        wanted.rate = rate ?? (isOwn ? ceil : nil) ?? self.rate
        wanted.ceil = ceil ?? max(isOwn ? wanted.rate : self.ceil, wanted.rate)
        if wanted.rate > wanted.ceil { wanted.rate = wanted.ceil }
        // A burst that was too small for the rate would hold it back.
        if wanted.rate != self.rate { wanted.burst = nil }
        let kernel = try Kernel(container: nil)
        try wanted.write(kernel, over: self)
        // The leaf holds a time's worth of the ceiling, and is of another kind for small numbers.
        let isChanged = wanted.rate != self.rate || wanted.ceil != self.ceil
        if isChanged, wanted.isLeaf {
            let leaf = Qdisc.leaf(of: id, rate: wanted.rate, ceil: wanted.ceil, on: link, .owned)
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
        let before = trafficClass
        let now = try before.change(rate: rate, ceil: ceil)
        guard case .container? = role else { return }
        for child in children {
            let follows = child.trafficClass.ceil == before.ceil
            var own: Rate?
            if child.role?.name == ClassRole.rest {
                let others =
                    children.reduce(0) { $0 + $1.trafficClass.rate.bitsPerSecond }
                    - child.trafficClass.rate.bitsPerSecond
                let whole = now.rate.bitsPerSecond
                own = Rate(bitsPerSecond: max(8, whole - min(others, whole)))
            }
            guard follows || own != nil else { continue }
            try child.trafficClass.change(rate: own, ceil: follows ? now.ceil : nil)
        }
    }
}
