internal import CLinux
public import Netlink

extension Ruleset {
    /// Whether a chain has these rules and no others, to the last byte and with the same sets; nil if
    /// there is no such chain.
    public mutating func hasExactly(
        _ rules: [Rule], in chain: Chain
    ) throws(KernelError) -> Bool? {
        try compare(chain) { _ in rules }?.isSame
    }

    /// Compares a chain's rules, as `hasExactly(_:in:)` does, with those for the link that they send
    /// packets to, and returns that link's index as well: what the last rule that loads anything loads
    /// last, or nil.
    public mutating func compare(
        _ chain: Chain, with rules: (_ link: UInt32?) -> [Rule]
    ) throws(KernelError) -> (isSame: Bool, link: UInt32?)? {
        let found = try expressions(of: chain)
        // An empty list is also what is told of a chain that is not there.
        if found.isEmpty, try !has(chain) { return nil }
        let link = Self.target(of: found)
        return (try isSame(rules(link), found, in: chain.table), link)
    }

    private mutating func isSame(
        _ rules: [Rule], _ found: [[Attribute]], in table: Table
    ) throws(KernelError) -> Bool {
        guard found.count == rules.count else { return false }
        for (rule, there) in zip(rules, found) {
            let wanted = rule.attributes
            guard wanted.count == there.count else { return false }
            for index in wanted.indices {
                if case .range(_, let ranges, _) = rule.expressions[index] {
                    guard let name = there[index].setName, wanted[index].isAmong(there[index]),
                        try rangeElements(ofSet: name, in: table) == ranges.elements
                    else { return false }
                } else {
                    guard wanted[index].isAmong(there[index]) else { return false }
                }
            }
        }
        return true
    }

    /// The elements of a set of ranges, without the beginning that `nft` marks as outside of them.
    private mutating func rangeElements(
        ofSet name: String, in table: Table
    ) throws(KernelError) -> [Element] {
        let found = try elements(ofSet: name, in: table)
        return found.first?.isEnd == true ? Array(found.dropFirst()) : found
    }

    private static func target(of rules: [[Attribute]]) -> UInt32? {
        var target: UInt32?
        for expression in rules.joined() {
            let parameters = expression.nested[Int(NFTA_EXPR_DATA.rawValue)]?.nested
            guard expression.nested[Int(NFTA_EXPR_NAME.rawValue)]?.text == "immediate",
                let value = parameters?[Int(NFTA_IMMEDIATE_DATA.rawValue)]?.nested,
                let data = value[Int(NFTA_DATA_VALUE.rawValue)]
            else { continue }
            target = data.uint32
        }
        return target
    }
}

extension ListedRule {
    /// Whether it is a rule to the last byte, whoever has made it.
    public func isExactly(_ rule: Rule) -> Bool {
        let wanted = rule.attributes
        return wanted.count == expressions.count
            && zip(wanted, expressions).allSatisfy { $0.isAmong($1) }
    }

    /// Whether it ends as a rule does: in the same verdict, or target with all it says.
    public func ends(as rule: Rule) -> Bool {
        guard let wanted = rule.attributes.last, let last = expressions.last else { return false }
        return wanted.isAmong(last)
    }
}

extension Rule {
    /// The names of its expressions, as `Ruleset.rules(of:)` gives them.
    public var names: [String] { expressions.map(\.name) }

    /// Its expressions as they are sent.
    fileprivate var attributes: [Attribute] {
        var message = Message(
            "", type: number(NFT_MSG_NEWRULE), answer: .acknowledgement,
            nfgenmsg(chain.table.family))
        let object = RuleObject(self)
        unsafe message.build(atMost: Batch.room(for: self)) { unsafe object.build($0) }
        let list = message.attributes(after: CLinux.nfgenmsg.self)
        return list[Int(NFTA_RULE_EXPRESSIONS.rawValue)].map { Array($0.nested) } ?? []
    }
}

extension Attribute {
    /// Whether all that this attribute says is in another one, which may say more: the kernel adds
    /// what was left to it.
    fileprivate func isAmong(_ other: Attribute) -> Bool {
        // A counter says nothing when it is made, and later how often it was passed.
        if type == other.type, payload.isEmpty || payload == other.payload { return true }
        let parts = Array(nested)
        guard type == other.type, !parts.isEmpty else { return false }
        return parts.allSatisfy { part in
            // The kernel names the sets of rules itself.
            part.text == Ranges.setName || other.nested[part.type].map(part.isAmong) ?? false
        }
    }

    /// The set that a lookup is in.
    fileprivate var setName: String? {
        nested[Int(NFTA_EXPR_DATA.rawValue)]?.nested[Int(NFTA_LOOKUP_SET.rawValue)]?.text
    }
}
