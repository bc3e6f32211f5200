public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// A routing rule: packets from one address look up another table.
public struct PolicyRule: Resource {
    /// The address the packets come from.
    public let source: IPAddress
    /// The number of the table.
    public let table: Int
    /// The namespace the rule is in.
    public let side: Side
    /// Whose it is.
    public let sharing: Sharing

    /// A rule for packets from an address.
    public init(from source: IPAddress, table: Int, in side: Side, _ sharing: Sharing = .owned) {
        self.source = source
        self.table = table
        self.side = side
        self.sharing = sharing
    }

    /// `rule from 10.1.0.5 lookup 100`.
    public var description: String { "rule from \(source) lookup \(table)" }

    /// The rule as the kernel has it, or nil.
    public func read(_ kernel: Kernel) throws(KernelError) -> PolicyRule? {
        try kernel.rules(of: source.family, in: side).first {
            $0.source == source && $0.table == table
        }
    }

    /// Adds the rule.
    public func write(_ kernel: Kernel, over found: PolicyRule?) throws(KernelError) {
        guard found == nil else { return }
        try kernel.request(side, message("add", RTM_NEWRULE, [.create, .exclusive]))
    }

    /// Removes the rule.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        let message = message("remove", RTM_DELRULE, [])
        try tolerating(.noSuchFileOrDirectory) { () throws(KernelError) in
            try kernel.request(side, message)
        }
    }

    /// None: a rule is what it is.
    public func differences(from found: PolicyRule) -> [Difference] { [] }

    private func message(_ verb: String, _ type: Int, _ flags: Message.Flags) -> Message {
        var header = fib_rule_hdr()
        header.family = source.family.addressFamily
        header.src_len = UInt8(source.family.bitWidth)
        header.action = UInt8(FR_ACT_TO_TBL)
        var message = Message("\(verb) \(description)", type: type, flags: flags, header)
        message.put(FRA_SRC, bytes: source.networkOrder)
        message.put(FRA_TABLE, UInt32(table))
        return message
    }

    fileprivate init?(_ reply: Reply, in side: Side) {
        let attributes = reply.attributes(after: fib_rule_hdr.self)
        guard reply.type == RTM_NEWRULE, let header = reply.header(fib_rule_hdr.self) else {
            return nil
        }
        let source =
            attributes[FRA_SRC].flatMap { IPAddress(networkOrder: $0.payload) }
            ?? (header.family == UInt8(AF_INET) ? Family.v4 : .v6).any
        guard [source.family.bitWidth, 0].contains(Int(header.src_len)) else { return nil }
        self.init(from: source, table: lookedUpTable(attributes, header.table), in: side)
    }
}

/// The table that a rule looks up.
private func lookedUpTable(_ attributes: Attributes, _ short: UInt8) -> Int {
    Int(attributes[FRA_TABLE]?.uint32 ?? UInt32(short))
}

extension Kernel {
    /// The rules of a family for packets from one address, and those for all packets, whose
    /// address is the family's any.
    public func rules(of family: Family, in side: Side) throws(KernelError) -> [PolicyRule] {
        try listRules(of: family, in: side).compactMap { PolicyRule($0, in: side) }
    }

    /// The tables that rules of a family look up, whatever packets they are for.
    public func ruleTables(of family: Family, in side: Side) throws(KernelError) -> [Int] {
        try listRules(of: family, in: side).compactMap { reply in
            guard reply.type == RTM_NEWRULE, let header = reply.header(fib_rule_hdr.self) else {
                return nil
            }
            return lookedUpTable(reply.attributes(after: fib_rule_hdr.self), header.table)
        }
    }

    private func listRules(of family: Family, in side: Side) throws(KernelError) -> [Reply] {
        var header = fib_rule_hdr()
        header.family = family.addressFamily
        return try request(
            side, Message("list rules", type: RTM_GETRULE, flags: .dump, header))
    }
}
