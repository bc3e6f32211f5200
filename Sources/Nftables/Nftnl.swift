internal import CLinux
internal import CNftnl
internal import Glibc

/// libnftnl's expression, owned until a rule takes it.
@safe struct ExpressionObject: ~Copyable {
    private let object: OpaquePointer

    init(_ expression: Expression, set id: UInt32? = nil) {
        unsafe object = allocated(nftnl_expr_alloc(expression.name))
        expression.write(to: self, set: id)
    }

    deinit { unsafe nftnl_expr_free(object) }

    func set(_ attribute: Int, _ value: UInt32) {
        unsafe nftnl_expr_set_u32(object, UInt16(attribute), value)
    }

    func set(_ attribute: Int, _ text: String) {
        unsafe _ = nftnl_expr_set_str(object, UInt16(attribute), text)
    }

    func set(_ attribute: Int, _ bytes: [UInt8]) {
        unsafe _ = nftnl_expr_set(object, UInt16(attribute), bytes, UInt32(bytes.count))
    }

    /// Sets bytes of which libnftnl takes the memory itself, not a copy.
    func give(_ attribute: Int, _ bytes: [UInt8]) {
        guard let memory = unsafe malloc(bytes.count) else { fatalError("out of memory") }
        unsafe memory.copyMemory(from: bytes, byteCount: bytes.count)
        unsafe _ = nftnl_expr_set(object, UInt16(attribute), memory, UInt32(bytes.count))
    }

    /// Gives the object away.
    consuming func release() -> OpaquePointer {
        let object = unsafe self.object
        discard self
        return unsafe object
    }
}

/// libnftnl's table.
@safe struct TableObject: ~Copyable {
    private let object: OpaquePointer

    init(_ table: Table) {
        unsafe object = allocated(nftnl_table_alloc())
        unsafe _ = nftnl_table_set_str(object, UInt16(NFTNL_TABLE_NAME.rawValue), table.name)
    }

    deinit { unsafe nftnl_table_free(object) }

    func build(_ message: UnsafeMutableRawPointer) {
        unsafe nftnl_table_nlmsg_build_payload(header(message), object)
    }
}

/// libnftnl's chain.
@safe struct ChainObject: ~Copyable {
    private let object: OpaquePointer

    init(_ chain: Chain) {
        unsafe object = allocated(nftnl_chain_alloc())
        set(NFTNL_CHAIN_TABLE, chain.table.name)
        set(NFTNL_CHAIN_NAME, chain.name)
        guard let hook = chain.hook else { return }
        set(NFTNL_CHAIN_TYPE, hook.kind.rawValue)
        if let device = hook.device { set(NFTNL_CHAIN_DEV, device) }
        unsafe nftnl_chain_set_u32(
            object, UInt16(NFTNL_CHAIN_HOOKNUM.rawValue), UInt32(hook.number))
        unsafe nftnl_chain_set_s32(
            object, UInt16(NFTNL_CHAIN_PRIO.rawValue), Int32(hook.priority))
        unsafe nftnl_chain_set_u32(object, UInt16(NFTNL_CHAIN_POLICY.rawValue), 1)
    }

    deinit { unsafe nftnl_chain_free(object) }

    private func set(_ attribute: nftnl_chain_attr, _ text: String) {
        unsafe _ = nftnl_chain_set_str(object, UInt16(attribute.rawValue), text)
    }

    func build(_ message: UnsafeMutableRawPointer) {
        unsafe nftnl_chain_nlmsg_build_payload(header(message), object)
    }
}

/// libnftnl's rule.
@safe struct RuleObject: ~Copyable {
    private let object: OpaquePointer

    /// A rule, and the numbers of the sets that the batch has made for its ranges.
    init(_ rule: Rule, sets: [UInt32] = []) {
        unsafe object = allocated(nftnl_rule_alloc())
        set(NFTNL_RULE_TABLE, rule.chain.table.name)
        set(NFTNL_RULE_CHAIN, rule.chain.name)
        if let comment = rule.comment {
            let bytes = userData(NFTNL_UDATA_RULE_COMMENT.rawValue, text: comment)
            unsafe _ = nftnl_rule_set_data(
                object, UInt16(NFTNL_RULE_USERDATA.rawValue), bytes, UInt32(bytes.count))
        }
        if let owner = rule.owner {
            let bytes = userData(Rule.ownerType, text: owner)
            unsafe _ = nftnl_rule_set_data(
                object, UInt16(NFTNL_RULE_USERDATA.rawValue), bytes, UInt32(bytes.count))
        }
        if let number = rule.protocolOfMatches {
            set(NFTNL_RULE_COMPAT_PROTO, UInt32(number))
            set(NFTNL_RULE_COMPAT_FLAGS, 0)
        }
        var sets = sets[...]
        for expression in rule.expressions {
            var id: UInt32?
            if case .range = expression { id = sets.popFirst() }
            unsafe nftnl_rule_add_expr(object, ExpressionObject(expression, set: id).release())
        }
    }

    deinit { unsafe nftnl_rule_free(object) }

    private func set(_ attribute: nftnl_rule_attr, _ text: String) {
        unsafe _ = nftnl_rule_set_str(object, UInt16(attribute.rawValue), text)
    }

    private func set(_ attribute: nftnl_rule_attr, _ value: UInt32) {
        unsafe nftnl_rule_set_u32(object, UInt16(attribute.rawValue), value)
    }

    func build(_ message: UnsafeMutableRawPointer) {
        unsafe nftnl_rule_nlmsg_build_payload(header(message), object)
    }
}

/// libnftnl's set, with or without elements.
@safe struct SetObject: ~Copyable {
    private let object: OpaquePointer

    /// The name alone, and elements.
    init(_ set: NamedSet, _ elements: [Element]) {
        self.init(set.name, in: set.table, elements)
    }

    private init(_ name: String, in table: Table, _ elements: [Element]) {
        unsafe object = allocated(nftnl_set_alloc())
        self.set(NFTNL_SET_TABLE, table.name)
        self.set(NFTNL_SET_NAME, name)
        for element in elements {
            unsafe nftnl_set_elem_add(object, ElementObject(element).release())
        }
    }

    /// The set that goes with a rule, and some of its elements; the kernel gives it a name.
    init(_ ranges: Ranges, in table: Table, id: UInt32, _ elements: [Element] = []) {
        self.init(Ranges.setName, in: table, elements)
        self.set(NFTNL_SET_ID, id)
        guard elements.isEmpty else { return }
        self.set(
            NFTNL_SET_FLAGS,
            NFT_SET_ANONYMOUS.rawValue | NFT_SET_CONSTANT.rawValue | NFT_SET_INTERVAL.rawValue)
        self.set(NFTNL_SET_KEY_TYPE, ranges.type.number)
        self.set(NFTNL_SET_KEY_LEN, UInt32(ranges.type.size))
        let details = byteOrder(NFTNL_UDATA_SET_KEYBYTEORDER.rawValue, of: ranges.type)
        unsafe _ = nftnl_set_set_data(
            object, UInt16(NFTNL_SET_USERDATA.rawValue), details, UInt32(details.count))
    }

    /// The whole description, to make the set by.
    init(_ set: NamedSet, id: UInt32) {
        self.init(set, [])
        self.set(NFTNL_SET_ID, id)
        self.set(NFTNL_SET_KEY_TYPE, combined(set.key))
        self.set(NFTNL_SET_KEY_LEN, UInt32(length(of: set.key)))
        var details: [UInt8] = []
        if set.key.count == 1 {
            details += byteOrder(NFTNL_UDATA_SET_KEYBYTEORDER.rawValue, of: set.key[0])
        }
        switch set.value {
        case .none: break
        case .data(let types):
            self.set(NFTNL_SET_DATA_TYPE, combined(types))
            self.set(NFTNL_SET_DATA_LEN, UInt32(length(of: types)))
            if types.count == 1 {
                details += byteOrder(NFTNL_UDATA_SET_DATABYTEORDER.rawValue, of: types[0])
            }
        case .verdict:
            self.set(NFTNL_SET_DATA_TYPE, NFT_DATA_VERDICT.rawValue)
        }
        if set.value != .none { self.set(NFTNL_SET_FLAGS, NFT_SET_MAP.rawValue) }
        if set.isCounting {
            unsafe nftnl_set_add_expr(object, ExpressionObject(.counter).release())
        }
        unsafe _ = nftnl_set_set_data(
            object, UInt16(NFTNL_SET_USERDATA.rawValue), details, UInt32(details.count))
    }

    deinit { unsafe nftnl_set_free(object) }

    private func set(_ attribute: nftnl_set_attr, _ text: String) {
        unsafe _ = nftnl_set_set_str(object, UInt16(attribute.rawValue), text)
    }

    private func set(_ attribute: nftnl_set_attr, _ value: UInt32) {
        unsafe nftnl_set_set_u32(object, UInt16(attribute.rawValue), value)
    }

    func build(_ message: UnsafeMutableRawPointer) {
        unsafe nftnl_set_nlmsg_build_payload(header(message), object)
    }

    func buildElements(_ message: UnsafeMutableRawPointer) {
        unsafe nftnl_set_elems_nlmsg_build_payload(header(message), object)
    }
}

/// libnftnl's element, owned until a set takes it.
@safe private struct ElementObject: ~Copyable {
    private let object: OpaquePointer

    init(_ element: Element) {
        unsafe object = allocated(nftnl_set_elem_alloc())
        set(NFTNL_SET_ELEM_KEY, element.key)
        switch element.value {
        case nil: break
        case .data(let bytes): set(NFTNL_SET_ELEM_DATA, bytes)
        case .verdict(let verdict):
            unsafe nftnl_set_elem_set_u32(
                object, UInt16(NFTNL_SET_ELEM_VERDICT), UInt32(bitPattern: verdict.code))
            if let chain = verdict.chain {
                unsafe _ = nftnl_set_elem_set_str(object, UInt16(NFTNL_SET_ELEM_CHAIN), chain)
            }
        }
        if element.isEnd {
            unsafe nftnl_set_elem_set_u32(
                object, UInt16(NFTNL_SET_ELEM_FLAGS), NFT_SET_ELEM_INTERVAL_END.rawValue)
        }
        if let comment = element.comment {
            set(
                NFTNL_SET_ELEM_USERDATA,
                userData(NFTNL_UDATA_SET_ELEM_COMMENT.rawValue, text: comment))
        }
    }

    deinit { unsafe nftnl_set_elem_free(object) }

    private func set(_ attribute: Int, _ bytes: [UInt8]) {
        unsafe _ = nftnl_set_elem_set(object, UInt16(attribute), bytes, UInt32(bytes.count))
    }

    consuming func release() -> OpaquePointer {
        let object = unsafe self.object
        discard self
        return unsafe object
    }
}

/// What an allocation returned; without memory for it nothing can go on.
private func allocated(_ object: OpaquePointer?) -> OpaquePointer {
    guard let object = unsafe object else { fatalError("out of memory") }
    return unsafe object
}

private func header(_ message: UnsafeMutableRawPointer) -> UnsafeMutablePointer<nlmsghdr> {
    unsafe message.assumingMemoryBound(to: nlmsghdr.self)
}

/// A text of nft's user data: type, length, as much of the text as there is room for, and a NUL.
private func userData(_ type: UInt32, text: String) -> [UInt8] {
    let text = text.utf8.prefix(Element.longestComment)
    return [UInt8(type), UInt8(text.count + 1)] + text + [0]
}

/// A byte order of nft's user data, without which it shows a set's elements in the wrong one.
private func byteOrder(_ type: UInt32, of value: DataType) -> [UInt8] {
    let order = UInt32(value.isHostOrder ? 1 : 2)
    let bytes = unsafe withUnsafeBytes(of: order) { bytes in unsafe Array(bytes) }
    return [UInt8(type), 4] + bytes
}

/// nft's number of several types one after another: six bits each.
private func combined(_ types: [DataType]) -> UInt32 {
    types.reduce(0) { $0 << 6 | $1.number }
}

private func length(of types: [DataType]) -> Int {
    types.count == 1 ? types[0].size : types.reduce(0) { $0 + (($1.size + 3) & ~3) }
}
