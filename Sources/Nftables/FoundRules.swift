internal import CLinux
public import Netlink

extension Ruleset {
    /// The rules of a chain as they could be made again, with the sets of their ranges; nil if there is no
    /// such chain, or if it has rules that this project does not make.
    public mutating func foundRules(of chain: Chain) throws(KernelError) -> [Rule]? {
        let listed = try expressions(of: chain)
        if listed.isEmpty, try !has(chain) { return nil }
        var rules: [Rule] = []
        for attributes in listed {
            var expressions: [Expression] = []
            for attribute in attributes {
                var found = Expression(attribute)
                if case .lookup(let register, let set, let inverted) = found,
                    let type = expressions.last?.loadedType
                {
                    let ranges = Ranges(type, try elements(ofSet: set, in: chain.table))
                    found = .range(register, in: ranges, inverted: inverted)
                }
                guard let found else { return nil }
                expressions.append(found)
            }
            rules.append(Rule(in: chain, expressions))
        }
        return rules
    }
}

extension Expression {
    /// An expression as the kernel shows it, of the kinds that rules of family netdev have here.
    fileprivate init?(_ attribute: Attribute) {
        guard let name = attribute.nested[Int(NFTA_EXPR_NAME.rawValue)]?.text,
            let data = attribute.nested[Int(NFTA_EXPR_DATA.rawValue)]?.nested
        else { return nil }
        func number<Kind: RawRepresentable<UInt32>>(_ kind: Kind) -> UInt32? {
            data[Int(kind.rawValue)]?.uint32?.bigEndian
        }
        func register<Kind: RawRepresentable<UInt32>>(_ kind: Kind) -> Register? {
            number(kind).map(Register.init(number:))
        }
        func bytes<Kind: RawRepresentable<UInt32>>(_ kind: Kind) -> [UInt8]? {
            data[Int(kind.rawValue)]?.nested[Int(NFTA_DATA_VALUE.rawValue)].map {
                Array($0.payload)
            }
        }
        switch name {
        case "meta":
            guard let key = number(NFTA_META_KEY).flatMap(Meta.init(number:)) else { return nil }
            if let to = register(NFTA_META_DREG) {
                self = .meta(key, to: to)
            } else if let from = register(NFTA_META_SREG) {
                self = .setMeta(key, from: from)
            } else {
                return nil
            }
        case "payload":
            guard let to = register(NFTA_PAYLOAD_DREG),
                let header = number(NFTA_PAYLOAD_BASE).flatMap(Header.init(number:)),
                let offset = number(NFTA_PAYLOAD_OFFSET), let length = number(NFTA_PAYLOAD_LEN)
            else { return nil }
            self = .payload(header, offset: Int(offset), length: Int(length), to: to)
        case "cmp":
            guard let from = register(NFTA_CMP_SREG), let value = bytes(NFTA_CMP_DATA),
                let comparison = number(NFTA_CMP_OP).flatMap(Comparison.init(number:))
            else { return nil }
            self = .compare(from, comparison, value)
        case "bitwise":
            guard let from = register(NFTA_BITWISE_SREG), let to = register(NFTA_BITWISE_DREG),
                let mask = bytes(NFTA_BITWISE_MASK), let flip = bytes(NFTA_BITWISE_XOR)
            else { return nil }
            self = .bitwise(from, mask: mask, flip: flip, to: to)
        case "lookup":
            guard let from = register(NFTA_LOOKUP_SREG),
                let set = data[Int(NFTA_LOOKUP_SET.rawValue)]?.text
            else { return nil }
            if let to = register(NFTA_LOOKUP_DREG) {
                self = .map(from, by: set, to: to)
            } else {
                let flags = number(NFTA_LOOKUP_FLAGS) ?? 0
                self = .lookup(from, in: set, inverted: flags & NFT_LOOKUP_F_INV.rawValue != 0)
            }
        case "immediate":
            let data = data[Int(NFTA_IMMEDIATE_DATA.rawValue)]?.nested
            switch data.flatMap(Element.Value.init) {
            case .data(let value)?:
                guard let to = register(NFTA_IMMEDIATE_DREG) else { return nil }
                self = .immediate(value, to: to)
            case .verdict(let verdict)?: self = .verdict(verdict)
            case nil: return nil
            }
        case "fwd":
            guard let from = register(NFTA_FWD_SREG_DEV) else { return nil }
            self = .forward(from)
        default: return nil
        }
    }

    /// The type of what it loads, where ranges of it are looked up.
    fileprivate var loadedType: DataType? {
        switch self {
        case .payload(.network, _, 4, _): .ipv4
        case .payload(.network, _, 16, _): .ipv6
        case .payload(.transport, _, 2, _): .port
        case .meta(.ipProtocol, _): .ipProtocol
        default: nil
        }
    }
}

extension Ranges {
    /// The ranges of a set's elements, which are in the order of their keys.
    fileprivate init(_ type: DataType, _ elements: [Element]) {
        var ranges: [(first: [UInt8], last: [UInt8])] = []
        for (index, element) in elements.enumerated() where !element.isEnd {
            let end = elements[(index + 1)...].first
            let last = end?.key.predecessor ?? [UInt8](repeating: .max, count: element.key.count)
            ranges.append((element.key, last))
        }
        self.init(type, ranges)
    }
}

extension [UInt8] {
    /// The number before this one, of as many bytes.
    fileprivate var predecessor: [UInt8] {
        var next = self
        for index in next.indices.reversed() {
            next[index] &-= 1
            if next[index] != .max { return next }
        }
        return next
    }
}
