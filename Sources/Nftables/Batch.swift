internal import CLinux
internal import CNftnl
internal import Netlink

/// Changes of the ruleset that are made together, or not at all.
public struct Batch: Sendable {
    private(set) var messages: [Message] = []
    private var sets: UInt32 = 0

    /// No changes.
    public init() {}

    /// Whether there is nothing to change.
    public var isEmpty: Bool { messages.isEmpty }

    /// Elements in one message: their attribute has a length of 16 bits.
    private static let elementsPerMessage = 64
    /// The most bytes that one element takes: key, value, comment, and their headers.
    private static let largestElement = 512
    /// The most bytes that a table, a chain or a set takes, and a rule without its expressions.
    private static let largestObject = 8192
    /// The most bytes that one expression takes: the comment of an extension of iptables is the longest.
    private static let largestExpression = 512

    /// Room for a rule, which libnftnl takes to be there.
    static func room(for rule: Rule) -> Int {
        largestObject + rule.expressions.count * largestExpression
    }

    /// Makes a table; an existing one is as good, unless `exclusively`.
    public mutating func add(_ table: Table, exclusively: Bool = false) {
        let flags: Message.Flags = exclusively ? [.create, .exclusive] : .create
        var message = message("add " + table.description, NFT_MSG_NEWTABLE, flags, table)
        let object = TableObject(table)
        unsafe message.build(atMost: Self.largestObject) { unsafe object.build($0) }
        messages.append(message)
    }

    /// Makes a chain; an existing one is as good, unless `exclusively`.
    public mutating func add(_ chain: Chain, exclusively: Bool = false) {
        let flags: Message.Flags = exclusively ? [.create, .exclusive] : .create
        var message = message("add " + chain.description, NFT_MSG_NEWCHAIN, flags, chain.table)
        let object = ChainObject(chain)
        unsafe message.build(atMost: Self.largestObject) { unsafe object.build($0) }
        messages.append(message)
    }

    /// Makes a set or a map; an existing one is as good if it is of the same types.
    public mutating func add(_ set: NamedSet) {
        sets += 1
        var message = message("add " + set.description, NFT_MSG_NEWSET, .create, set.table)
        let object = SetObject(set, id: sets)
        unsafe message.build(atMost: Self.largestObject) { unsafe object.build($0) }
        messages.append(message)
    }

    /// Adds a rule at the end of its chain, or before all others, with the sets of its ranges; its handle
    /// is told if it is to be `handled`.
    public mutating func add(_ rule: Rule, first: Bool = false, handled: Bool = false) {
        let table = rule.chain.table
        var ids: [UInt32] = []
        for case .range(_, let ranges, _) in rule.expressions {
            add(ranges, in: table)
            ids.append(sets)
        }
        var flags: Message.Flags = first ? .create : [.create, .append]
        if handled { flags.insert(.echo) }
        var message = message(
            "add rule to " + rule.chain.description, NFT_MSG_NEWRULE, flags, table)
        let object = RuleObject(rule, sets: ids)
        unsafe message.build(atMost: Self.room(for: rule)) { unsafe object.build($0) }
        messages.append(message)
    }

    private mutating func add(_ ranges: Ranges, in table: Table) {
        sets += 1
        var message = message("add a set to " + table.description, NFT_MSG_NEWSET, .create, table)
        let object = SetObject(ranges, in: table, id: sets)
        unsafe message.build(atMost: Self.largestObject) { unsafe object.build($0) }
        messages.append(message)
        var rest = ranges.elements[...]
        while !rest.isEmpty {
            let part = Array(rest.prefix(Self.elementsPerMessage))
            rest = rest.dropFirst(part.count)
            var message = self.message(
                "fill a set of " + table.description, NFT_MSG_NEWSETELEM, .create, table)
            let object = SetObject(ranges, in: table, id: sets, part)
            unsafe message.build(atMost: 512 + part.count * Self.largestElement) {
                unsafe object.buildElements($0)
            }
            messages.append(message)
        }
    }

    /// Adds elements; one that is there already is as good if it has the same value, unless
    /// `exclusively`.
    public mutating func add(
        _ elements: [Element], to set: NamedSet, exclusively: Bool = false
    ) {
        change(
            "add ", " to ", NFT_MSG_NEWSETELEM, exclusively ? [.create, .exclusive] : .create,
            elements, set)
    }

    /// Removes elements, by their keys.
    public mutating func remove(_ elements: [Element], from set: NamedSet) {
        change(
            "remove ", " from ", NFT_MSG_DELSETELEM, [], elements.map { Element($0.key) }, set)
    }

    /// Removes a chain with its rules; fails where something jumps to it.
    public mutating func remove(_ chain: Chain) {
        removeRules(of: chain)
        var message = message("remove " + chain.description, NFT_MSG_DELCHAIN, [], chain.table)
        message.put(Int(NFTA_CHAIN_TABLE.rawValue), chain.table.name)
        message.put(Int(NFTA_CHAIN_NAME.rawValue), chain.name)
        messages.append(message)
    }

    /// Removes the rules of a chain.
    public mutating func removeRules(of chain: Chain) {
        var message = message(
            "remove rules of " + chain.description, NFT_MSG_DELRULE, [], chain.table)
        message.put(Int(NFTA_RULE_TABLE.rawValue), chain.table.name)
        message.put(Int(NFTA_RULE_CHAIN.rawValue), chain.name)
        messages.append(message)
    }

    /// Removes a rule, which the kernel has given a handle.
    public mutating func remove(rule handle: UInt64, from chain: Chain) {
        var message = message(
            "remove rule from " + chain.description, NFT_MSG_DELRULE, [], chain.table)
        message.put(Int(NFTA_RULE_TABLE.rawValue), chain.table.name)
        message.put(Int(NFTA_RULE_CHAIN.rawValue), chain.name)
        message.put(Int(NFTA_RULE_HANDLE.rawValue), handle.bigEndian)
        messages.append(message)
    }

    /// Removes a table with all that is in it.
    public mutating func remove(_ table: Table) {
        var message = message("remove " + table.description, NFT_MSG_DELTABLE, [], table)
        message.put(Int(NFTA_TABLE_NAME.rawValue), table.name)
        messages.append(message)
    }

    private mutating func change(
        _ verb: String, _ preposition: String, _ type: nf_tables_msg_types,
        _ flags: Message.Flags, _ elements: [Element], _ set: NamedSet
    ) {
        var rest = elements[...]
        while !rest.isEmpty {
            let part = Array(rest.prefix(Self.elementsPerMessage))
            rest = rest.dropFirst(part.count)
            let what = part.count == 1 ? part[0].title : "elements"
            var message = message(
                verb + what + preposition + set.description, type, flags, set.table)
            let object = SetObject(set, part)
            unsafe message.build(atMost: 512 + part.count * Self.largestElement) {
                unsafe object.buildElements($0)
            }
            messages.append(message)
        }
    }

    private func message(
        _ operation: String, _ type: nf_tables_msg_types, _ flags: Message.Flags, _ table: Table
    ) -> Message {
        Message(
            operation, type: number(type), flags: flags, answer: .acknowledgement,
            nfgenmsg(table.family))
    }
}

extension Element {
    /// The element in words: its owner, or else its key.
    fileprivate var title: String {
        guard let comment else {
            var digits = ""
            for byte in key { digits += (byte < 16 ? "0" : "") + String(byte, radix: 16) }
            return "element " + digits
        }
        return "element of \"" + comment + "\""
    }
}

/// The type of a message to nftables.
func number(_ type: nf_tables_msg_types) -> Int {
    Int(NFNL_SUBSYS_NFTABLES) << 8 | Int(type.rawValue)
}

/// The fixed part of a message about a table of a family.
func nfgenmsg(_ family: TableFamily?) -> nfgenmsg {
    CLinux.nfgenmsg(
        nfgen_family: family?.number ?? 0, version: UInt8(NFNETLINK_V0), res_id: 0)
}
