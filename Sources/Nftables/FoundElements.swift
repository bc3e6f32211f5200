internal import CLinux
internal import CNftnl
public import Netlink

extension Ruleset {
    /// The names of a family's tables.
    public mutating func tables(_ family: TableFamily) throws(KernelError) -> [String] {
        let message = Message(
            "list tables", type: number(NFT_MSG_GETTABLE), answer: .dump, nfgenmsg(family))
        let replies = try optional { () throws(KernelError) in try socket.request(message) } ?? []
        return replies.compactMap {
            $0.attributes(after: CLinux.nfgenmsg.self)[Int(NFTA_TABLE_NAME.rawValue)]?.text
        }
    }

    /// The names of a table's chains; none if there is no such table.
    public mutating func chains(of table: Table) throws(KernelError) -> [String] {
        let message = Message(
            "list chains of " + table.description, type: number(NFT_MSG_GETCHAIN), answer: .dump,
            nfgenmsg(table.family))
        let replies = try optional { () throws(KernelError) in try socket.request(message) } ?? []
        return replies.compactMap { reply in
            let attributes = reply.attributes(after: CLinux.nfgenmsg.self)
            // Not every kernel lists those of one table alone.
            guard attributes[Int(NFTA_CHAIN_TABLE.rawValue)]?.text == table.name else { return nil }
            return attributes[Int(NFTA_CHAIN_NAME.rawValue)]?.text
        }
    }

    /// The names of a table's sets and maps, but for those that belong to a rule; none if there is no
    /// such table.
    public mutating func sets(of table: Table) throws(KernelError) -> [String] {
        var message = Message(
            "list sets of " + table.description, type: number(NFT_MSG_GETSET), answer: .dump,
            nfgenmsg(table.family))
        message.put(Int(NFTA_SET_TABLE.rawValue), table.name)
        let replies = try optional { () throws(KernelError) in try socket.request(message) } ?? []
        return replies.compactMap { reply in
            let attributes = reply.attributes(after: CLinux.nfgenmsg.self)
            let flags = attributes[Int(NFTA_SET_FLAGS.rawValue)]?.uint32?.bigEndian ?? 0
            guard flags & NFT_SET_ANONYMOUS.rawValue == 0 else { return nil }
            return attributes[Int(NFTA_SET_NAME.rawValue)]?.text
        }
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

    /// The elements of a set that the kernel has named, in the order of their keys.
    mutating func elements(
        ofSet name: String, in table: Table
    ) throws(KernelError) -> [Element] {
        let found = try elements(of: NamedSet(name, in: table, of: [])) ?? []
        return found.sorted {
            $0.key.lexicographicallyPrecedes($1.key) || ($0.key == $1.key && $0.isEnd)
        }
    }

    static func elements(_ replies: [Reply]) -> [Element] {
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
