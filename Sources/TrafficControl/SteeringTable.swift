public import Netlink
internal import Nftables
public import Plan
public import Rtnetlink

/// The table of a group, with the maps from a port to its class in each direction.
public struct SteeringTable: Resource {
    /// Its name.
    public let name: String
    /// Whose it is: the group's containers share it.
    public var sharing: Sharing { .shared }

    /// A table of a name.
    public init(_ name: String) { self.name = name }

    /// `table netdev shaper`.
    public var description: String { Table(.netdev, name).description }

    /// The table, or nil if there is none.
    public func read(_ kernel: Kernel) throws(KernelError) -> SteeringTable? {
        var ruleset = try kernel.ruleset()
        return try ruleset.contains(Table(.netdev, name)) ? self : nil
    }

    /// Makes the table and its maps.
    public func write(_ kernel: Kernel, over found: SteeringTable?) throws(KernelError) {
        var batch = Batch()
        batch.add(Table(.netdev, name))
        for direction in [Direction.egress, .ingress] {
            batch.add(Steering.map(direction, name))
        }
        var ruleset = try kernel.ruleset()
        try ruleset.commit(batch)
    }

    /// Removes the table with all that is in it.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        var batch = Batch()
        batch.remove(Table(.netdev, name))
        var ruleset = try kernel.ruleset()
        try unlessAbsent { () throws(KernelError) in
            try ruleset.commit(batch)
        }
    }

    /// Whether no port is in its maps.
    public func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        var ruleset = try kernel.ruleset()
        for direction in [Direction.egress, .ingress] {
            let elements = try ruleset.elements(of: Steering.map(direction, name))
            guard elements?.isEmpty ?? true else { return false }
        }
        return true
    }

    /// There is nothing about it that could differ.
    public func differences(from found: SteeringTable) -> [Difference] { [] }
}
