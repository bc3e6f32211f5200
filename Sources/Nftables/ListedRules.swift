internal import CLinux
internal import CNftnl
public import Netlink

extension Ruleset {
    /// The names of the expressions of each rule of a chain, or nil if there is no such chain.
    public mutating func rules(of chain: Chain) throws(KernelError) -> [[String]]? {
        let found = try expressions(of: chain)
        if found.isEmpty, try !has(chain) { return nil }
        return found.map { rule in
            rule.map { $0.nested[Int(NFTA_EXPR_NAME.rawValue)]?.text ?? "" }
        }
    }

    /// How many rules a chain has; none if there is no such chain.
    public mutating func countRules(of chain: Chain) throws(KernelError) -> Int {
        try listed(chain).count
    }

    /// The handles of a chain's rules that jump or go to another chain of its table; none if there is
    /// no such chain.
    public mutating func rules(
        of chain: Chain, leadingTo target: Chain
    ) throws(KernelError) -> [UInt64] {
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
        let found = try listed(chain)
        if found.isEmpty, try !has(chain) { return nil }
        return found.compactMap(ListedRule.init)
    }

    /// The rules of a chain that one owner has; none if there is no such chain.
    ///
    /// Those of others are passed over unread, which takes most of the time.
    public mutating func listedRules(
        of chain: Chain, ownedBy owner: String
    ) throws(KernelError) -> [ListedRule] {
        let wanted = Array(owner.utf8)
        return try listed(chain).compactMap { attributes in
            guard let texts = attributes[Int(NFTA_RULE_USERDATA.rawValue)]?.payload,
                // Its text ends in a zero, and type and length come before.
                texts.count > wanted.count, texts.dropFirst(2).starts(with: wanted)
            else { return nil }
            return ListedRule(attributes).flatMap { $0.owner == owner ? $0 : nil }
        }
    }

    /// The expressions of each rule of a chain; none if there is no such chain.
    mutating func expressions(of chain: Chain) throws(KernelError) -> [[Attribute]] {
        try list(chain).map(\.expressions)
    }

    /// The rules of a chain: what the kernel calls each, and its expressions.
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

    /// The rules of a chain; an empty list is also what the kernel tells of a chain that is not there.
    private mutating func listed(_ chain: Chain) throws(KernelError) -> [Attributes] {
        var list = Message(
            "list rules of " + chain.description, type: number(NFT_MSG_GETRULE), answer: .dump,
            nfgenmsg(chain.table.family))
        list.put(Int(NFTA_RULE_TABLE.rawValue), chain.table.name)
        list.put(Int(NFTA_RULE_CHAIN.rawValue), chain.name)
        return try socket.request(list).map { $0.attributes(after: CLinux.nfgenmsg.self) }
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
    let expressions: [Attribute]

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
