/// An address together with the length of its network's prefix: `10.1.0.5/16`.
public struct IPPrefix: Sendable, Hashable {
    /// The address, host bits included.
    public let address: IPAddress
    /// The number of leading bits that name the network.
    public let length: Int

    /// A prefix from its parts; nil if the length does not fit the family.
    public init?(_ address: IPAddress, length: Int) {
        guard (0...address.family.bitWidth).contains(length) else { return nil }
        self.address = address
        self.length = length
    }

    /// Reads `address/length`, in plain decimal; nil for anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPAddress(String(parts[0])),
            (1...3).contains(parts[1].utf8.count),
            parts[1].utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let length = Int(parts[1])
        else { return nil }
        self.init(address, length: length)
    }

    /// The prefix that is one address alone: `/32` or `/128`.
    public init(host address: IPAddress) {
        self.address = address
        self.length = address.family.bitWidth
    }

    /// Every address of the family: `0.0.0.0/0` or `::/0`.
    public init(everythingIn family: Family) {
        self.address = family.any
        self.length = 0
    }

    /// The family of the address.
    public var family: Family { address.family }

    /// The same network with the host bits cleared.
    public var network: IPPrefix { IPPrefix(unchecked: first, length: length) }

    /// The lowest address of the network.
    public var first: IPAddress { IPAddress(family, bits: address.bits & ~hostMask) }

    /// The highest address of the network: the broadcast address in IPv4.
    public var last: IPAddress { IPAddress(family, bits: address.bits | hostMask) }

    /// Whether `other` lies in this network; never across families.
    public func contains(_ other: IPAddress) -> Bool {
        other.family == family && (other.bits ^ address.bits) & ~hostMask == 0
    }

    private var hostMask: UInt128 {
        let hostBits = family.bitWidth - length
        return hostBits == 128 ? .max : (1 << UInt128(hostBits)) - 1
    }

    private init(unchecked address: IPAddress, length: Int) {
        self.address = address
        self.length = length
    }
}

extension IPPrefix: CustomStringConvertible {
    /// The text form, `10.1.0.5/16`.
    public var description: String { "\(address)/\(length)" }
}
