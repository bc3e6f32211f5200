/// A 48-bit Ethernet address.
public struct MACAddress: Sendable, Hashable {
    /// The six bytes, in the order they travel.
    public let bytes: [UInt8]

    /// An address from its six bytes; nil for any other number of them.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == 6 else { return nil }
        self.bytes = Array(bytes)
    }

    /// Reads `02:fc:00:00:00:01`, also with dashes, and `02fc.0000.0001`; nil for anything else.
    public init?(_ text: String) {
        let hasDots = text.contains(".")
        let separator: Character = hasDots ? "." : text.contains("-") ? "-" : ":"
        let parts = text.split(separator: separator, omittingEmptySubsequences: false)
        let digits = hasDots ? 4 : 2
        let numbers = parts.compactMap { part in
            part.utf8.count == digits && part.first != "+" ? UInt16(part, radix: 16) : nil
        }
        guard numbers.count == parts.count else { return nil }
        self.init(
            numbers.flatMap { number in
                let low = UInt8(truncatingIfNeeded: number)
                return hasDots ? [UInt8(number >> 8), low] : [low]
            })
    }

    /// A random, locally administered unicast address, as the kernel's eth_random_addr makes.
    public static func random() -> MACAddress {
        var generator = SystemRandomNumberGenerator()
        let number = generator.next()
        var bytes = (0..<6).map { UInt8(truncatingIfNeeded: number >> (UInt64($0) * 8)) }
        bytes[0] = bytes[0] & 0xfe | 0x02
        return MACAddress(unchecked: bytes)
    }

    /// A random address above what interfaces commonly have.
    ///
    /// A bridge that was given no address takes its lowest port's; a port with such an address
    /// does not change it.
    public static func randomForPort() -> MACAddress {
        MACAddress(unchecked: [0xfe] + random().bytes.dropFirst())
    }

    /// The address of interfaces that have none: six zero bytes.
    public static let zero = MACAddress(unchecked: [0, 0, 0, 0, 0, 0])

    /// The link-local IPv6 address that an interface with this address gives itself, by EUI-64.
    public var linkLocal: IPAddress {
        let half = (bytes.prefix(3) + [0xff, 0xfe] + bytes.suffix(3))
            .reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
        return IPAddress(.v6, bits: 0xfe80 << 112 | half ^ 0x0200_0000_0000_0000)
    }

    private init(unchecked bytes: [UInt8]) { self.bytes = bytes }
}

extension MACAddress: CustomStringConvertible {
    /// The text form in lower case with colons.
    public var description: String {
        var text = ""
        for byte in bytes {
            if !text.isEmpty { text += ":" }
            text += (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return text
    }
}
