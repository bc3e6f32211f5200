/// How a port's packets come to a group's tree and to their class there, the best way first.
///
/// Whose they are is an element of a map in every way.
public enum SteeringWay: Sendable, Equatable, CaseIterable, CustomStringConvertible {
    /// A chain of nftables on the port gives the class and forwards.
    case rules
    /// A program of BPF, a filter of the port, gives the class and redirects.
    case program
    /// Filters of u32: the port's redirects, and another one at the tree gives what came by the port its
    /// class, all of it the same one.
    case filters

    /// What leads to the tree: `by a program of cls_bpf`.
    public var description: String {
        switch self {
        case .rules: "by rules of nftables"
        case .program: "by a program of cls_bpf"
        case .filters: "by filters of u32"
        }
    }

    /// What the kernel must have for packets of a direction, the tree aside.
    public func means(for direction: Direction) -> [Means] {
        switch self {
        case .rules: [direction == .egress ? .receiving : .sending]
        case .program: [.maps, .programs]
        case .filters: [.maps, .redirection]
        }
    }

    /// Whether packets of one port can be told apart: by subnets, for classes of their own, or with a mark.
    public var tellsApart: Bool { self != .filters }
}
