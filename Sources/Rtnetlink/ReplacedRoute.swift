public import Netlink
public import Plan

/// A route of a table that goes, or that another takes the place of.
public struct ReplacedRoute: Resource {
    /// The route that goes.
    public let route: ListedRoute
    /// What takes its place, if anything does.
    public let successor: ListedRoute?
    /// What is taken away is given back by a roll-back.
    public var sharing: Sharing { .owned }
    /// It is made from what was listed a moment ago.
    public var isExclusive: Bool { true }

    /// A route that goes, and what takes its place.
    public init(_ route: ListedRoute, by successor: ListedRoute?) {
        self.route = route
        self.successor = successor
    }

    /// `removal of route 10.1.0.0/16 in table 254`.
    public var description: String {
        (successor == nil ? "removal of " : "replacement of ") + route.description
    }

    /// Nil: it is not asked for again.
    public func read(_ kernel: Kernel) throws(KernelError) -> ReplacedRoute? { nil }

    /// Takes the route away and puts the other one there, both or neither.
    public func write(_ kernel: Kernel, over found: ReplacedRoute?) throws(KernelError) {
        try route.erase(kernel)
        guard let successor else { return }
        do throws(KernelError) {
            try successor.write(kernel, over: nil)
        } catch {
            try? route.write(kernel, over: nil)
            throw error
        }
    }

    /// Puts the route back.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        try successor?.erase(kernel)
        try route.write(kernel, over: nil)
    }

    /// None: it has no fields.
    public func differences(from found: ReplacedRoute) -> [Difference] { [] }
}
