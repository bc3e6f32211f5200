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
    public subscript(type: Int) -> Attribute? {
        var match: Attribute?
        for attribute in self where attribute.type == type { match = attribute }
        return match
    }

    /// Walks the attributes in their order.
    public func makeIterator() -> Iterator { Iterator(bytes: bytes) }

    /// A walk over attributes.
    public struct Iterator: IteratorProtocol {
        fileprivate let bytes: ArraySlice<UInt8>
        private var offset = 0

        fileprivate init(bytes: ArraySlice<UInt8>) { self.bytes = bytes }

        /// The next attribute, or nil at the end.
        public mutating func next() -> Attribute? {
            guard let length = bytes.uint16(at: offset).map(Int.init),
                let type = bytes.uint16(at: offset + 2), length >= 4,
                length <= bytes.count - offset
            else { return nil }
            let start = bytes.startIndex + offset
            offset += (length + 3) & ~3
            return Attribute(
                type: Int(type) & typeBits, payload: bytes[(start + 4)..<(start + length)])
        }
    }
}

/// The bits of nla_type that are the type: the top two are flags.
private let typeBits = ~(Int(NLA_F_NESTED) | Int(NLA_F_NET_BYTEORDER))

/// One attribute of a reply.
public struct Attribute: Sendable {
    /// Its type, without the flags.
    public let type: Int
    /// Its content.
    public let payload: ArraySlice<UInt8>

    /// The content as a number of 8 bits, if it is long enough.
    public var uint8: UInt8? { payload.first }
    /// The content as a number of 32 bits, if it is long enough.
    public var uint32: UInt32? { payload.uint32(at: 0) }

    /// The content as a number of 64 bits, if it is long enough.
    public var uint64: UInt64? {
        guard let low = payload.uint32(at: 0), let high = payload.uint32(at: 4) else { return nil }
        return UInt64(littleEndian: UInt64(low) | UInt64(high) << 32)
    }

    /// The content as text, up to the first NUL.
    public var text: String { String(decoding: payload.prefix { $0 != 0 }, as: UTF8.self) }

    /// The content as attributes.
    public var nested: Attributes { Attributes(payload) }

    /// The content as a C structure, in the host's byte order, if it is long enough.
    public func value<Value: BitwiseCopyable>(_ type: Value.Type) -> Value? { payload.value(type) }
}

extension Reply {
    /// The fixed part of a type, if the reply is long enough.
    public func header<Header: BitwiseCopyable>(_ type: Header.Type) -> Header? {
        payload.value(type)
    }
}

extension ArraySlice<UInt8> {
    /// The byte at an offset, or nil past the end.
    public func uint8(at offset: Int) -> UInt8? {
        offset < count ? self[startIndex + offset] : nil
    }

    /// The C structure, in the host's byte order, that is the beginning, or nil if it does not fit.
    public func value<Value: BitwiseCopyable>(_ type: Value.Type) -> Value? {
        guard count >= MemoryLayout<Value>.size else { return nil }
        return unsafe withUnsafeBytes { bytes in unsafe bytes.loadUnaligned(as: type) }
    }

    /// The number of 16 bits at an offset in the host's byte order, or nil if it does not fit.
    public func uint16(at offset: Int) -> UInt16? {
        guard offset + 2 <= count else { return nil }
        let start = startIndex + offset
        return UInt16(littleEndian: UInt16(self[start]) | UInt16(self[start + 1]) << 8)
    }

    /// The number of 32 bits at an offset in the host's byte order, or nil if it does not fit.
    public func uint32(at offset: Int) -> UInt32? {
        guard offset + 4 <= count else { return nil }
        let start = startIndex + offset
        let low = UInt32(self[start]) | UInt32(self[start + 1]) << 8
        let high = UInt32(self[start + 2]) | UInt32(self[start + 3]) << 8
        return UInt32(littleEndian: low | high << 16)
    }
}
