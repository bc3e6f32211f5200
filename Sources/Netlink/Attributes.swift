internal import CLinux

/// The attributes of a message or of a nested attribute.
///
/// Reading is bounds-checked and stops at the first attribute that does not fit, so that no reply
/// can lead outside its bytes.
public struct Attributes: Sendable, Sequence {
    private let bytes: ArraySlice<UInt8>

    /// The attributes in some bytes.
    public init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    /// The attribute of a type; of several the last, nil if there is none.
    public subscript(type: some BinaryInteger) -> Attribute? {
        var match: Attribute?
        for attribute in self where attribute.type == UInt16(type) { match = attribute }
        return match
    }

    /// Walks the attributes in their order.
    public func makeIterator() -> Iterator { Iterator(rest: bytes) }

    /// A walk over attributes.
    public struct Iterator: IteratorProtocol {
        fileprivate var rest: ArraySlice<UInt8>

        /// The next attribute, or nil at the end.
        public mutating func next() -> Attribute? {
            guard let length: UInt16 = rest.load(at: 0), let type: UInt16 = rest.load(at: 2),
                (4...rest.count).contains(Int(length))
            else { return nil }
            let payload = rest.dropFirst(4).prefix(Int(length) - 4)
            rest = rest.dropFirst((Int(length) + 3) & ~3)
            return Attribute(type: type & UInt16(NLA_TYPE_MASK_BITS), payload: payload)
        }
    }
}

/// The bits of nla_type that are the type: the top two are flags.
private let NLA_TYPE_MASK_BITS = ~(UInt32(NLA_F_NESTED) | UInt32(NLA_F_NET_BYTEORDER)) & 0xffff

/// One attribute of a reply.
public struct Attribute: Sendable {
    /// Its type, without the flags.
    public let type: UInt16
    /// Its content.
    public let payload: ArraySlice<UInt8>

    /// The content as a number or a structure, if it is long enough.
    public func value<Value: BitwiseCopyable & FixedWidthInteger>(
        as type: Value.Type = Value.self
    ) -> Value? {
        payload.load(at: 0)
    }

    /// The content as text, up to the first NUL.
    public var text: String { String(decoding: payload.prefix { $0 != 0 }, as: UTF8.self) }

    /// The content as attributes.
    public var nested: Attributes { Attributes(payload) }
}

extension ArraySlice<UInt8> {
    /// The integer at an offset in the host's byte order, or nil if it does not fit.
    public func load<Value: FixedWidthInteger>(
        at offset: Int, as type: Value.Type = Value.self
    ) -> Value? {
        let size = MemoryLayout<Value>.size
        guard offset >= 0, count - offset >= size else { return nil }
        var value: Value = 0
        for index in 0..<size {
            value |= Value(truncatingIfNeeded: self[startIndex + offset + index])
                << Value(truncatingIfNeeded: index * 8)
        }
        return Value(littleEndian: value)
    }
}
