internal import CLinux
public import Netlink
internal import SystemPackage

extension Ruleset {
    /// What `find(_:)` looks for.
    public enum Question: Sendable, Hashable {
        /// A table.
        case table(Table)
        /// A chain.
        case chain(Chain)
        /// The element of a set that has a key.
        case element(NamedSet, [UInt8])
        /// The rule of a chain that has a handle.
        case rule(Chain, UInt64)
    }

    /// What `find(_:)` has found.
    public struct Finding: Sendable, Equatable {
        /// An element.
        public init(_ element: Element) { self.element = element }

        /// How much there is in a table, chains and sets, or what a chain consists of and what
        /// leads to it: rules, and verdicts of rules and elements.
        public var uses = 0
        /// The element.
        public var element: Element?
        /// Whose the rule is.
        public var owner: String?
    }

    /// What has been found, by the questions.
    public struct Findings: Sendable {
        private var found: [Question: Finding] = [:]

        /// Nothing.
        public init() {}

        /// Whether nothing of what was asked for is there.
        public var isEmpty: Bool { found.isEmpty }

        /// What a question has found; nil if that is not there.
        public subscript(question: Question) -> Finding? {
            get { found[question] }
            set { found[question] = newValue }
        }

        /// The element of a set that has a key.
        public subscript(set: NamedSet, key: [UInt8]) -> Element? {
            found[.element(set, key)]?.element
        }

        /// The chain of a name.
        public subscript(chain: Chain) -> Finding? { found[.chain(chain)] }

        /// The table of a name.
        public subscript(table: Table) -> Finding? { found[.table(table)] }
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

    /// Looks for objects as `find(_:)` does, and tells by the question what is there.
    public mutating func findings(_ questions: [Question]) throws(KernelError) -> Findings {
        var findings = Findings()
        for (question, finding) in zip(questions, try find(questions)) {
            findings[question] = finding
        }
        return findings
    }

    /// Whether there is such a table.
    public mutating func contains(_ table: Table) throws(KernelError) -> Bool {
        try find([.table(table)])[0] != nil
    }

    /// Whether there is a chain of a name.
    public mutating func has(_ chain: Chain) throws(KernelError) -> Bool {
        try find([.chain(chain)])[0] != nil
    }

    /// The elements of a set that have these keys, nil for each that has none.
    public mutating func elements(
        _ keys: [[UInt8]], of set: NamedSet
    ) throws(KernelError) -> [Element?] {
        try find(keys.map { .element(set, $0) }).map { $0?.element }
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
        case .rule(let chain, let handle):
            var message = Message(
                "find rule of " + chain.description, type: number(NFT_MSG_GETRULE),
                answer: .object, nfgenmsg(chain.table.family))
            message.put(Int(NFTA_RULE_TABLE.rawValue), chain.table.name)
            message.put(Int(NFTA_RULE_CHAIN.rawValue), chain.name)
            message.put(Int(NFTA_RULE_HANDLE.rawValue), handle.bigEndian)
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
        guard reply.type == number(NFT_MSG_NEWRULE) else { return }
        let texts = attributes[Int(NFTA_RULE_USERDATA.rawValue)]?.payload ?? []
        owner = Element.userData(UInt8(Rule.ownerType), in: texts)
    }
}

/// What `body` gives, or nil where the object it asks for is not there.
func optional<Result>(
    _ body: () throws(KernelError) -> Result
) throws(KernelError) -> Result? {
    do throws(KernelError) {
        return try body()
    } catch  where error.errno == .noSuchFileOrDirectory {
        return nil
    }
}
