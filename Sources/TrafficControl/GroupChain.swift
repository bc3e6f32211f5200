public import Netlink
internal import Nftables
public import Plan
public import Rtnetlink
internal import SystemPackage

/// The chain that sends packets of a direction to a group's tree, with the class that their port has.
///
/// What a container has of its own then is a chain of one rule, which leads here: for every rule that
/// is added, the kernel looks through those of the whole table.
public struct GroupChain: Resource {
    /// Which packets.
    public let direction: Direction
    /// The link whose tree they are sent to.
    public let link: String
    /// The table's name.
    public let table: String
    /// Whose it is: the group's containers share it.
    public var sharing: Sharing { .shared }
    /// Whether the rules as found are others.
    private var hasOtherRules = false
    /// Whether they send packets to a link that is not there any more.
    private var isAstray = false

    /// The chain of a direction in a group's table.
    public init(_ direction: Direction, to link: String, table: String) {
        self.direction = direction
        self.link = link
        self.table = table
    }

    /// `chain ingress in table netdev shaper`.
    public var description: String { chain.description }

    /// The chain, or nil if there is none.
    public func read(_ kernel: Kernel) throws(KernelError) -> GroupChain? {
        let index = try kernel.presentIndex(of: link, in: .host) ?? 0
        return try kernel.withRules(.host) { (rules) throws(KernelError) in
            guard let there = try rules.compare(chain, with: { self.rules(link: $0 ?? index) })
            else { return nil }
            var found = self
            found.hasOtherRules = !there.isSame
            if let link = there.link { found.isAstray = link != index }
            return found
        }
    }

    /// Makes the chain, or its rules anew.
    public func write(_ kernel: Kernel, over found: GroupChain?) throws(KernelError) {
        var batch = Batch()
        if found == nil {
            batch.add(chain, exclusively: true)
        } else {
            batch.removeRules(of: chain)
        }
        for rule in rules(link: try kernel.index(of: link, in: .host)) { batch.add(rule) }
        do throws(KernelError) {
            try kernel.withRules(.host) { (rules) throws(KernelError) in try rules.commit(batch) }
        } catch  where error.errno == .fileExists && found == nil {
            // Another ADD has made it between the look and the transaction.
            guard let now = try read(kernel), differences(from: now).isEmpty else { throw error }
        }
    }

    /// Removes the chain.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        var batch = Batch()
        batch.remove(chain)
        try unlessAbsent { () throws(KernelError) in
            try kernel.withRules(.host) { (rules) throws(KernelError) in try rules.commit(batch) }
        }
    }

    /// Whether no container is in the group.
    public func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        try SteeringTable(table).isUnused(kernel)
    }

    /// How `found` misses this.
    public func differences(from found: GroupChain) -> [Difference] {
        [
            found.hasOtherRules
                ? Difference("rules of \(description)", wanted: "ours", found: "others") : nil,
            found.isAstray
                ? Difference("\(description): goes to", wanted: link, found: "another link") : nil,
        ].compactMap { $0 }
    }

    private var chain: Chain { Chain("\(direction)", in: Table(.netdev, table)) }

    private func rules(link index: UInt32) -> [Rule] {
        Steering(direction, of: "", to: Tree.root, on: link, table: table, owner: "", .shared)
            .ownRules(link: index).map { Rule(in: chain, $0) }
    }
}

extension Steering {
    /// Whether the port's packets are treated as those of most ports are, by the group's chain.
    var isCommon: Bool {
        side == .host && isForwarding && selections.isEmpty && onlyTo.isEmpty && exceptTo.isEmpty
            && markMask == nil
    }
}
