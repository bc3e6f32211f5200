internal import CLinux
internal import CNftnl
public import Netlink
internal import SystemPackage

/// The nftables of a network namespace.
public struct Ruleset: ~Copyable {
    private var socket: NetlinkSocket

    /// Opens the nftables of the thread's network namespace.
    public init() throws(KernelError) { socket = try NetlinkSocket(protocol: NETLINK_NETFILTER) }

    /// Makes all changes, or none.
    ///
    /// - Throws: The error of the first change that the kernel refuses; ERESTART if a generation is
    ///   given and somebody has changed the ruleset since.
    public mutating func commit(
        _ batch: Batch, generation: UInt32? = nil
    ) throws(KernelError) {
        try socket.commit(
            batch.messages, to: Int32(NFNL_SUBSYS_NFTABLES), generation: generation)
    }

    /// The ruleset's generation, which every change raises; nil on a kernel without nftables.
    public mutating func generation() throws(KernelError) -> UInt32? {
        let message = Message(
            "read the ruleset's generation", type: number(NFT_MSG_GETGEN), answer: .object,
            nfgenmsg(nil))
        do throws(KernelError) {
            let attributes = try socket.request(message).first?
                .attributes(after: CLinux.nfgenmsg.self)
            return attributes?[Int(NFTA_GEN_ID.rawValue)]?.uint32?.bigEndian
        } catch  where error.errno == .invalidArgument {
            // What a netfilter without this subsystem answers.
            return nil
        }
    }

    /// What `find(_:)` looks for.
    public enum Question: Sendable {
        /// A table.
        case table(Table)
        /// A chain.
        case chain(Chain)
        /// The element of a set that has a key.
        case element(NamedSet, [UInt8])
    }

    /// What `find(_:)` has found.
    public struct Finding: Sendable, Equatable {
        /// How much there is in a table, chains and sets, or what a chain consists of and what
        /// leads to it: rules, and verdicts of rules and elements.
        public var uses = 0
        /// The element.
        public var element: Element?
    }

    /// How many questions are sent at once, so that the answers fit into a socket's buffer.
    private static let questionsAtOnce = 64

    /// Looks for objects by their names and keys; nil for each that is not there.
    public mutating func find(_ questions: [Question]) throws(KernelError) -> [Finding?] {
        var findings: [Finding?] = []
        var rest = questions.map(\.message)[...]
        while !rest.isEmpty {
            let part = Array(rest.prefix(Self.questionsAtOnce))
            rest = rest.dropFirst(part.count)
            for result in try socket.exchange(part) {
                let replies = try optional { () throws(KernelError) in try result.get() }
                findings.append(replies.map(Finding.init))
            }
        }
        return findings
    }

    /// Whether there is such a table.
    public mutating func contains(_ table: Table) throws(KernelError) -> Bool {
        try find([.table(table)])[0] != nil
    }

    /// The elements of a set, or nil if there is no such set.
    public mutating func elements(of set: NamedSet) throws(KernelError) -> [Element]? {
        var message = Message(
            "list elements of " + set.description, type: number(NFT_MSG_GETSETELEM),
            answer: .dump, nfgenmsg(set.table.family))
        message.put(Int(NFTA_SET_ELEM_LIST_TABLE.rawValue), set.table.name)
        message.put(Int(NFTA_SET_ELEM_LIST_SET.rawValue), set.name)
        return try optional { () throws(KernelError) in try Self.elements(socket.request(message)) }
    }

    /// The elements of a set that have these keys, nil for each that has none.
    public mutating func elements(
        _ keys: [[UInt8]], of set: NamedSet
    ) throws(KernelError) -> [Element?] {
        try find(keys.map { .element(set, $0) }).map { $0?.element }
    }

    /// Whether there is a chain of a name.
    public mutating func has(_ chain: Chain) throws(KernelError) -> Bool {
        try find([.chain(chain)])[0] != nil
    }

    /// The names of the expressions of each rule of a chain, or nil if there is no such chain.
    public mutating func rules(of chain: Chain) throws(KernelError) -> [[String]]? {
        guard try has(chain) else { return nil }
        return try expressions(of: chain).map { rule in
            rule.map { $0.nested[Int(NFTA_EXPR_NAME.rawValue)]?.text ?? "" }
        }
    }

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
                        try elements(ofSet: name, in: table) == ranges.elements
                    else { return false }
                } else {
                    guard wanted[index].isAmong(there[index]) else { return false }
                }
            }
        }
        return true
    }

    /// The elements of a set that the kernel has named, in the order of their keys.
    mutating func elements(
        ofSet name: String, in table: Table
    ) throws(KernelError) -> [Element] {
        let found = try elements(of: NamedSet(name, in: table, of: [])) ?? []
        return found.sorted {
            $0.key.lexicographicallyPrecedes($1.key) || ($0.key == $1.key && $0.isEnd)
        }
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

    /// The handles of a chain's rules that jump or go to another chain of its table; none if there is
    /// no such chain.
    public mutating func rules(
        of chain: Chain, leadingTo target: Chain
    ) throws(KernelError) -> [UInt64] {
        guard try has(chain) else { return [] }
        var handles: [UInt64] = []
        for (handle, expressions) in try list(chain) {
            let leadsThere = expressions.contains { expression in
                let parameters = expression.nested[Int(NFTA_EXPR_DATA.rawValue)]?.nested
                let data = parameters?[Int(NFTA_IMMEDIATE_DATA.rawValue)]?.nested
                let verdict = data?[Int(NFTA_DATA_VERDICT.rawValue)]?.nested
                return expression.nested[Int(NFTA_EXPR_NAME.rawValue)]?.text == "immediate"
                    && verdict?[Int(NFTA_VERDICT_CHAIN.rawValue)]?.text == target.name
            }
            if leadsThere { handles.append(handle) }
        }
        return handles
    }

    /// The rules of a chain, or nil if there is no such chain.
    public mutating func listedRules(of chain: Chain) throws(KernelError) -> [ListedRule]? {
        guard try has(chain) else { return nil }
        return try listed(chain).compactMap(ListedRule.init)
    }

    /// The rules of a chain that one owner has; none if there is no such chain.
    ///
    /// Those of others are passed over unread, which takes most of the time.
    public mutating func listedRules(
        of chain: Chain, ownedBy owner: String
    ) throws(KernelError) -> [ListedRule] {
        guard try has(chain) else { return [] }
        let wanted = Array(owner.utf8)
        return try listed(chain).compactMap { attributes in
            guard let texts = attributes[Int(NFTA_RULE_USERDATA.rawValue)]?.payload,
                // Its text ends in a zero, and type and length come before.
                texts.count > wanted.count, texts.dropFirst(2).starts(with: wanted)
            else { return nil }
            return ListedRule(attributes).flatMap { $0.owner == owner ? $0 : nil }
        }
    }

    /// The expressions of each rule of a chain, which must be there.
    mutating func expressions(of chain: Chain) throws(KernelError) -> [[Attribute]] {
        try list(chain).map(\.expressions)
    }

    /// The rules of a chain, which must be there: what the kernel calls each, and its expressions.
    private mutating func list(
        _ chain: Chain
    ) throws(KernelError) -> [(handle: UInt64, expressions: [Attribute])] {
        try listed(chain).compactMap { attributes in
            guard let expressions = attributes[Int(NFTA_RULE_EXPRESSIONS.rawValue)],
                let handle = attributes[Int(NFTA_RULE_HANDLE.rawValue)]?.uint64
            else { return nil }
            return (handle.bigEndian, Array(expressions.nested))
        }
    }

    private mutating func listed(_ chain: Chain) throws(KernelError) -> [Attributes] {
        var list = Message(
            "list rules of " + chain.description, type: number(NFT_MSG_GETRULE), answer: .dump,
            nfgenmsg(chain.table.family))
        list.put(Int(NFTA_RULE_TABLE.rawValue), chain.table.name)
        list.put(Int(NFTA_RULE_CHAIN.rawValue), chain.name)
        return try socket.request(list).map { $0.attributes(after: CLinux.nfgenmsg.self) }
    }

    fileprivate static func elements(_ replies: [Reply]) -> [Element] {
        var elements: [Element] = []
        for reply in replies {
            let attributes = reply.attributes(after: CLinux.nfgenmsg.self)
            guard let list = attributes[Int(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue)] else { continue }
            for item in list.nested {
                if let element = Element(item.nested) { elements.append(element) }
            }
        }
        return elements
    }
}

extension Ruleset.Question {
    fileprivate var message: Message {
        switch self {
        case .table(let table):
            var message = Message(
                "find " + table.description, type: number(NFT_MSG_GETTABLE), answer: .object,
                nfgenmsg(table.family))
            message.put(Int(NFTA_TABLE_NAME.rawValue), table.name)
            return message
        case .chain(let chain):
            var message = Message(
                "find " + chain.description, type: number(NFT_MSG_GETCHAIN), answer: .object,
                nfgenmsg(chain.table.family))
            message.put(Int(NFTA_CHAIN_TABLE.rawValue), chain.table.name)
            message.put(Int(NFTA_CHAIN_NAME.rawValue), chain.name)
            return message
        case .element(let set, let key):
            var message = Message(
                "find element of " + set.description, type: number(NFT_MSG_GETSETELEM),
                answer: .object, nfgenmsg(set.table.family))
            let object = SetObject(set, [Element(key)])
            unsafe message.build(atMost: 1024) { unsafe object.buildElements($0) }
            return message
        }
    }
}

extension Ruleset.Finding {
    fileprivate init(_ replies: [Reply]) {
        element = Ruleset.elements(replies).first
        guard let reply = replies.first else { return }
        let attributes = reply.attributes(after: CLinux.nfgenmsg.self)
        let uses =
            switch reply.type {
            case number(NFT_MSG_NEWTABLE): attributes[Int(NFTA_TABLE_USE.rawValue)]
            case number(NFT_MSG_NEWCHAIN): attributes[Int(NFTA_CHAIN_USE.rawValue)]
            default: Attribute?.none
            }
        self.uses = Int(uses?.uint32?.bigEndian ?? 0)
    }
}

/// A rule as the kernel shows it, as far as one looks at it.
public struct ListedRule: Sendable {
    /// The kernel's number of the rule in its table.
    public let handle: UInt64
    /// Whose it is.
    public let owner: String?
    /// The comment that `nft` shows.
    public let comment: String?
    /// The names of its expressions, in order.
    public let names: [String]
    /// The data that it compares with, in order.
    public let compared: [[UInt8]]
    /// The data that it loads, in order.
    public let loaded: [[UInt8]]
    /// Where its verdict leads.
    public let verdict: Verdict?
    /// The structures of its matches of iptables, by their names.
    public let matches: [String: [UInt8]]
    /// The structure of its target of iptables, with the target's name.
    public let target: (name: String, bytes: [UInt8])?
    private let expressions: [Attribute]

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

    init?(_ attributes: Attributes) {
        guard let handle = attributes[Int(NFTA_RULE_HANDLE.rawValue)]?.uint64,
            let expressions = attributes[Int(NFTA_RULE_EXPRESSIONS.rawValue)]?.nested
        else { return nil }
        self.handle = handle.bigEndian
        let texts = attributes[Int(NFTA_RULE_USERDATA.rawValue)]?.payload ?? []
        owner = Element.userData(UInt8(Rule.ownerType), in: texts)
        comment = Element.userData(UInt8(NFTNL_UDATA_RULE_COMMENT.rawValue), in: texts)
        self.expressions = Array(expressions)
        var (names, compared, loaded): ([String], [[UInt8]], [[UInt8]]) = ([], [], [])
        var (verdict, matches): (Verdict?, [String: [UInt8]]) = (nil, [:])
        var target: (name: String, bytes: [UInt8])?
        for expression in expressions {
            let name = expression.nested[Int(NFTA_EXPR_NAME.rawValue)]?.text ?? ""
            let parameters = expression.nested[Int(NFTA_EXPR_DATA.rawValue)]?.nested
            names.append(name)
            switch name {
            case "cmp":
                let data = parameters?[Int(NFTA_CMP_DATA.rawValue)]?.nested
                compared.append(Array(data?[Int(NFTA_DATA_VALUE.rawValue)]?.payload ?? []))
            case "immediate":
                let data = parameters?[Int(NFTA_IMMEDIATE_DATA.rawValue)]?.nested
                switch data.flatMap(Element.Value.init) {
                case .verdict(let found): verdict = found
                case .data(let bytes): loaded.append(bytes)
                case nil: break
                }
            case "match":
                if let name = parameters?[Int(NFTA_MATCH_NAME.rawValue)]?.text {
                    let info = parameters?[Int(NFTA_MATCH_INFO.rawValue)]?.payload
                    matches[name] = info.map { Array($0) }
                }
            case "target":
                if let name = parameters?[Int(NFTA_TARGET_NAME.rawValue)]?.text,
                    let info = parameters?[Int(NFTA_TARGET_INFO.rawValue)]?.payload
                {
                    target = (name, Array(info))
                }
            default: break
            }
        }
        (self.names, self.compared, self.verdict) = (names, compared, verdict)
        (self.matches, self.loaded, self.target) = (matches, loaded, target)
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
        unsafe message.build(atMost: 8192) { unsafe object.build($0) }
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

extension Element {
    /// An element as the kernel shows it.
    init?(_ attributes: Attributes) {
        var (key, value, comment): ([UInt8]?, Value?, String?)
        var (count, isEnd): (Count?, Bool) = (nil, false)
        for attribute in attributes {
            switch UInt32(attribute.type) {
            case NFTA_SET_ELEM_KEY.rawValue:
                key = attribute.nested[Int(NFTA_DATA_VALUE.rawValue)].map { Array($0.payload) }
            case NFTA_SET_ELEM_DATA.rawValue: value = Value(attribute.nested)
            case NFTA_SET_ELEM_USERDATA.rawValue: comment = Self.comment(in: attribute.payload)
            case NFTA_SET_ELEM_EXPR.rawValue: count = Count(attribute.nested)
            case NFTA_SET_ELEM_FLAGS.rawValue:
                let flags = attribute.uint32?.bigEndian ?? 0
                isEnd = flags & NFT_SET_ELEM_INTERVAL_END.rawValue != 0
            default: break
            }
        }
        guard let key else { return nil }
        self.init(key, value, comment: comment)
        self.count = count
        self.isEnd = isEnd
    }

    /// The comment in an element's user data: entries of type, length and content.
    static func comment(in bytes: ArraySlice<UInt8>) -> String? {
        userData(UInt8(NFTNL_UDATA_SET_ELEM_COMMENT.rawValue), in: bytes)
    }

    /// A text of user data.
    static func userData(_ wanted: UInt8, in bytes: ArraySlice<UInt8>) -> String? {
        var rest = bytes
        while let type = rest.uint8(at: 0), let length = rest.uint8(at: 1) {
            guard Int(length) + 2 <= rest.count else { return nil }
            let content = rest.dropFirst(2).prefix(Int(length))
            if type == wanted {
                return String(decoding: content.prefix { $0 != 0 }, as: UTF8.self)
            }
            rest = rest.dropFirst(2 + Int(length))
        }
        return nil
    }
}

extension Element.Count {
    /// The numbers of a counter.
    fileprivate init?(_ expression: Attributes) {
        guard expression[Int(NFTA_EXPR_NAME.rawValue)]?.text == "counter",
            let numbers = expression[Int(NFTA_EXPR_DATA.rawValue)]?.nested,
            let packets = numbers[Int(NFTA_COUNTER_PACKETS.rawValue)]?.uint64,
            let bytes = numbers[Int(NFTA_COUNTER_BYTES.rawValue)]?.uint64
        else { return nil }
        self.init(packets: packets.bigEndian, bytes: bytes.bigEndian)
    }
}

extension Element.Value {
    init?(_ attributes: Attributes) {
        if let data = attributes[Int(NFTA_DATA_VALUE.rawValue)] {
            self = .data(Array(data.payload))
        } else if let verdict = attributes[Int(NFTA_DATA_VERDICT.rawValue)]?.nested,
            let code = verdict[Int(NFTA_VERDICT_CODE.rawValue)]?.uint32,
            let known = Verdict(
                code: Int32(bitPattern: code.bigEndian),
                chain: verdict[Int(NFTA_VERDICT_CHAIN.rawValue)]?.text)
        {
            self = .verdict(known)
        } else {
            return nil
        }
    }
}

/// What `body` gives, or nil where the object it asks for is not there.
private func optional<Result>(
    _ body: () throws(KernelError) -> Result
) throws(KernelError) -> Result? {
    do throws(KernelError) {
        return try body()
    } catch  where error.errno == .noSuchFileOrDirectory {
        return nil
    }
}
