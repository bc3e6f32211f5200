public import Netlink
internal import Nftables
public import Plan
public import Rtnetlink

/// The table of a group, with the maps from a port to its class in each direction, and the names of
/// all classes.
public struct SteeringTable: Resource {
    /// Its name.
    public let name: String
    /// The namespace it is in.
    public let side: Side
    /// Whose it is: the group's containers share it.
    public var sharing: Sharing { .shared }

    /// A table of a name.
    public init(_ name: String, in side: Side = .host) {
        self.name = name
        self.side = side
    }

    /// `table netdev shaper`.
    public var description: String { Table(.netdev, name).description }

    /// The table, or nil if there is none.
    public func read(_ kernel: Kernel) throws(KernelError) -> SteeringTable? {
        try kernel.withRules(side) { (rules) throws(KernelError) in
            try rules.contains(Table(.netdev, name)) ? self : nil
        }
    }

    /// Makes the table, its maps and its sets.
    public func write(_ kernel: Kernel, over found: SteeringTable?) throws(KernelError) {
        var batch = Batch()
        batch.add(Table(.netdev, name))
        for direction in Direction.allCases {
            batch.add(Steering.map(direction, name))
        }
        for kind in ClassName.Kind.allCases { batch.add(ClassName.set(kind, name)) }
        try kernel.withRules(side) { (rules) throws(KernelError) in try rules.commit(batch) }
    }

    /// Removes the table with all that is in it, unless somebody has something of his own there: the
    /// name is not this project's alone.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard try isOurs(kernel) else { return }
        var batch = Batch()
        batch.remove(Table(.netdev, name))
        try unlessAbsent { () throws(KernelError) in
            try kernel.withRules(side) { (rules) throws(KernelError) in try rules.commit(batch) }
        }
    }

    /// Whether no port is in its maps, and no class has a name.
    public func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        let all =
            Direction.allCases.map { Steering.map($0, name) }
            + ClassName.Kind.allCases.map { ClassName.set($0, name) }
        return try kernel.withRules(side) { (rules) throws(KernelError) in
            for set in all {
                guard try rules.elements(of: set)?.isEmpty ?? true else { return false }
            }
            return true
        }
    }

    /// Whether all that ADD puts into a table is there, and nothing else.
    private func isOurs(_ kernel: Kernel) throws(KernelError) -> Bool {
        let table = Table(.netdev, name)
        let own =
            Direction.allCases.map { Steering.map($0, name).name }
            + ClassName.Kind.allCases.map(\.rawValue)
        return try kernel.withRules(side) { (rules) throws(KernelError) in
            let sets = try rules.sets(of: table)
            guard own.allSatisfy(sets.contains),
                sets.allSatisfy({ own.contains($0) || $0 == ProcessSteering.classesName })
            else { return false }
            return try rules.chains(of: table).allSatisfy { chain in
                chain == "\(Direction.egress)" || chain == "\(Direction.ingress)"
                    || ["e-", "i-", ProcessSteering.chainPrefix].contains { chain.hasPrefix($0) }
            }
        }
    }

    /// There is nothing about it that could differ.
    public func differences(from found: SteeringTable) -> [Difference] { [] }
}

extension Kernel {
    /// The names of a namespace's tables for the hooks of links, of groups and of others.
    public func steeringTables(in side: Side = .host) throws(KernelError) -> [String] {
        try withRules(side) { (rules) throws(KernelError) in try rules.tables(.netdev) }
    }
}
