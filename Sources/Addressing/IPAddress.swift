import Glibc

/// The two families of Internet addresses.
public enum Family: UInt8, Sendable, Hashable, CaseIterable {
    /// Internet Protocol version 4: 32 bits.
    case v4 = 4
    /// Internet Protocol version 6: 128 bits.
    case v6 = 6

    /// The length of an address, in bits.
    public var bitWidth: Int { self == .v4 ? 32 : 128 }

    /// The kernel's number for the family: AF_INET or AF_INET6.
    public var addressFamily: UInt8 { UInt8(self == .v4 ? AF_INET : AF_INET6) }

    /// The address that stands for "any": `0.0.0.0` or `::`.
    public var any: IPAddress { IPAddress(self, bits: 0) }
}

/// An IPv4 or IPv6 address.
///
/// An IPv4 address written as IPv6 (`::ffff:10.1.0.1`) is the IPv4 address, as in Go's `net.IP`.
public struct IPAddress: Sendable, Hashable, Comparable {
    /// The family the address belongs to.
    public let family: Family
    /// The address as a number: the low 32 bits for IPv4.
    public let bits: UInt128

    /// An address from its number; bits above the family's width are dropped.
    public init(_ family: Family, bits: UInt128) {
        self.family = family
        self.bits = family == .v4 ? bits & 0xffff_ffff : bits
    }

    /// Reads the text form that inet_pton(3) takes, in either family; nil for anything else.
    public init?(_ text: String) {
        // inet_pton stops at a NUL, which would let "10.0.0.1\0x" through.
        guard !text.utf8.contains(0) else { return nil }
        var bytes = [UInt8](repeating: 0, count: 16)
        if unsafe inet_pton(AF_INET, text, &bytes) == 1 {
            self.init(networkOrder: bytes[..<4])
        } else if unsafe inet_pton(AF_INET6, text, &bytes) == 1 {
            self.init(networkOrder: bytes[...])
        } else {
            return nil
        }
    }

    /// Reads 4 or 16 bytes in network order; nil for any other number.
    public init?(networkOrder bytes: some Collection<UInt8>) {
        let bits = bytes.reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
        switch bytes.count {
        case 4: self.init(.v4, bits: bits)
        case 16 where bits >> 32 == 0xffff: self.init(.v4, bits: bits)
        case 16: self.init(.v6, bits: bits)
        default: return nil
        }
    }

    /// The 4 or 16 bytes of the address in network order.
    public var networkOrder: [UInt8] {
        stride(from: family.bitWidth - 8, through: 0, by: -8).map { shift in
            UInt8(truncatingIfNeeded: bits >> UInt128(shift))
        }
    }

    /// The address `distance` after this one in the same family, or nil past either end.
    public func advanced(by distance: Int) -> IPAddress? {
        let moved =
            distance < 0
            ? bits.subtractingReportingOverflow(UInt128(distance.magnitude))
            : bits.addingReportingOverflow(UInt128(distance))
        guard !moved.overflow, family == .v6 || moved.partialValue >> 32 == 0 else { return nil }
        return IPAddress(family, bits: moved.partialValue)
    }

    /// Whether the address is a loopback address: `127.0.0.0/8` or `::1`.
    public var isLoopback: Bool { family == .v4 ? bits >> 24 == 127 : bits == 1 }

    /// Whether the address is good on its link alone: `169.254.0.0/16` or `fe80::/10`.
    public var isLinkLocal: Bool { family == .v4 ? bits >> 16 == 0xa9fe : bits >> 118 == 0x3fa }

    /// Orders by family, IPv4 first, then by number.
    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        (left.family.rawValue, left.bits) < (right.family.rawValue, right.bits)
    }
}

extension IPAddress: CustomStringConvertible {
    /// The canonical text: dotted decimal, or RFC 5952 as Go prints it.
    public var description: String {
        if family == .v4 {
            let byte = { (shift: UInt128) in UInt8(truncatingIfNeeded: bits >> shift).description }
            return byte(24) + "." + byte(16) + "." + byte(8) + "." + byte(0)
        }
        let words = stride(from: 112, through: 0, by: -16).map { shift in
            UInt16(truncatingIfNeeded: bits >> UInt128(shift))
        }
        let hex = { (words: ArraySlice<UInt16>) in
            var text = ""
            for word in words {
                if !text.isEmpty { text += ":" }
                text += String(word, radix: 16)
            }
            return text
        }
        guard let zeros = longestRunOfZeros(words) else { return hex(words[...]) }
        return hex(words[..<zeros.lowerBound]) + "::" + hex(words[zeros.upperBound...])
    }

    /// The first longest run of two or more zero words: what `::` replaces.
    private func longestRunOfZeros(_ words: [UInt16]) -> Range<Int>? {
        var longest = 0..<0
        var start = 0
        for (index, word) in words.enumerated() {
            if word != 0 {
                start = index + 1
            } else if index + 1 - start > longest.count {
                longest = start..<index + 1
            }
        }
        return longest.count > 1 ? longest : nil
    }
}
