public import Netlink
public import Plan
public import Rtnetlink

/// What shaping has made in a container besides qdiscs of the container's own links: the link that
/// packets received there wait at, and the table that sends them to it.
///
/// Several interfaces of a container share them, so they go when no class is left.
public struct ContainerTree: Resource {
    /// The link's name.
    public let link: String
    /// The table's name.
    public let table: String
    /// An attachment's, as far as no other one has a class there.
    public var sharing: Sharing { .owned }

    /// What has these names.
    public init(_ link: String, table: String) {
        self.link = link
        self.table = table
    }

    /// `link shp-i in the container`.
    public var description: String { "link \(link) in the container" }

    /// Itself, if the link is there.
    public func read(_ kernel: Kernel) throws(KernelError) -> ContainerTree? {
        try kernel.link(link, in: .container)?.kind == "ifb" ? self : nil
    }

    /// It is made by the links' own resources.
    public func write(_ kernel: Kernel, over found: ContainerTree?) throws(KernelError) {}

    /// Takes the link and the table away if no class is left.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        if try read(kernel) != nil {
            let classes = try kernel.trafficClasses(of: link, in: .container)
            guard classes.allSatisfy({ $0.id == Tree.link || $0.id == Tree.standard }) else {
                return
            }
            try Link(link, .ifb, in: .container, .owned).erase(kernel)
        }
        let table = SteeringTable(table, in: .container)
        // Removing what is not there would make the kernel wait for nothing, some 15 ms.
        if try table.read(kernel) != nil, try table.isUnused(kernel) { try table.erase(kernel) }
    }

    /// There is nothing about it that could differ.
    public func differences(from found: ContainerTree) -> [Difference] { [] }
}
