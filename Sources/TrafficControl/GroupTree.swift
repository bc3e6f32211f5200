public import Netlink
public import Plan
public import Rtnetlink

/// What a group's containers share: the link of each direction with its tree, and the table.
///
/// It is there from the group's first container to its last.
public struct GroupTree: Resource {
    /// The links' names.
    public let links: [String]
    /// The table's name.
    public let table: String
    /// An attachment's, as far as no other one is in the group.
    public var sharing: Sharing { .owned }

    /// What has these names.
    public init(_ links: [String], table: String) {
        self.links = links
        self.table = table
    }

    /// `tree of shp-e, shp-i`.
    public var description: String { "tree of " + links.joined(separator: ", ") }

    /// Itself, if one of the links or the table is there.
    public func read(_ kernel: Kernel) throws(KernelError) -> GroupTree? {
        for link in links where try kernel.isQueue(link) { return self }
        return try SteeringTable(table).read(kernel) == nil ? nil : self
    }

    /// It is made by the resources of its parts.
    public func write(_ kernel: Kernel, over found: GroupTree?) throws(KernelError) {}

    /// Takes all of it away if nobody is in the group.
    ///
    /// Where it looks so, it is looked at again while no ADD is under way, because one may be about to
    /// put its container there.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard try !hasClasses(kernel), try read(kernel) != nil else { return }
        try kernel.whenAlone { () throws(KernelError) in
            guard try isUnused(kernel) else { return }
            for link in links where try kernel.isQueue(link) {
                try Link(link, .ifb, in: .host, .owned).erase(kernel)
            }
            try SteeringTable(table).erase(kernel)
            try ProcessSteering.eraseTable(table, kernel)
        }
    }

    /// Whether no class is in the trees, be it somebody else's, and nothing in the table.
    public func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        guard try !hasClasses(kernel) else { return false }
        return try SteeringTable(table).isUnused(kernel)
    }

    private func hasClasses(_ kernel: Kernel) throws(KernelError) -> Bool {
        for link in links where try kernel.hasClasses(link, in: .host) { return true }
        return false
    }

    /// There is nothing about it that could differ.
    public func differences(from found: GroupTree) -> [Difference] { [] }
}

extension Kernel {
    /// Whether there is a link of a name that packets can queue at.
    fileprivate func isQueue(_ name: String) throws(KernelError) -> Bool {
        try link(name, in: .host)?.kind == "ifb"
    }
}
