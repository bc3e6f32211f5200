internal import Netlink
public import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import TrafficControl

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
    public static let rest = Bandwidth.Numbers.restName

    /// The role that a class's name tells of; nil for a name that is none of this project's.
    init?(_ name: ClassName) {
        let words = name.text.split(separator: " ", omittingEmptySubsequences: false)
            .map(String.init)
        switch (name.kind, words.count) {
        case (.tenant, 1): self = .tenant(words[0])
        case (.container, 2): self = .processes(network: words[0], words[1])
        case (.container, _):
            guard let owner = Owner(className: name.text) else { return nil }
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
