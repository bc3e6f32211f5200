import Addressing
import Nftables

extension Element {
    /// The chain that its verdict leads to.
    var chain: String? {
        guard case .verdict(.goto(let chain)) = value else { return nil }
        return chain
    }
}

extension Addressing.Family {
    /// Lets only packets of the family pass.
    var isThePackets: [Expression] {
        let number = addressFamily
        return [
            .meta(.family, to: Register(word: 0)), .compare(Register(word: 0), .equal, [number]),
        ]
    }

    var sourceOffset: Int { self == .v4 ? 12 : 8 }

    /// What goes to many at once, which nobody masquerades.
    var multicast: IPPrefix {
        let bits = UInt128(self == .v4 ? 0xe0 : 0xff) << UInt128(bitWidth - 8)
        let length = self == .v4 ? 4 : 8
        guard let prefix = IPPrefix(IPAddress(self, bits: bits), length: length) else {
            return IPPrefix(everythingIn: self)
        }
        return prefix
    }
}

extension IPPrefix {
    /// The prefix as part of a chain's name, in which nft reads no colons.
    var nameInRules: String {
        var name = ""
        for character in description.utf8 {
            name.unicodeScalars.append(character == 0x3a ? "_" : Unicode.Scalar(character))
        }
        return name
    }

    /// Lets only packets to the network pass.
    var isTheDestination: [Expression] {
        isAddress(at: family.sourceOffset + family.bitWidth / 8)
    }

    /// Lets only packets from the network pass.
    var isTheSource: [Expression] { isAddress(at: family.sourceOffset) }

    private func isAddress(at offset: Int) -> [Expression] {
        let size = family.bitWidth / 8
        let hostBits = UInt128(family.bitWidth - length)
        let ones = family == .v4 ? UInt128(UInt32.max) : .max
        let mask = length == 0 ? 0 : (ones >> hostBits) << hostBits
        let register = Register(word: 0)
        let load = Expression.payload(
            .network, offset: offset, length: size, to: register)
        let cut = Expression.bitwise(
            register, mask: IPAddress(family, bits: mask).networkOrder,
            flip: [UInt8](repeating: 0, count: size), to: register)
        return [load] + (hostBits == 0 ? [] : [cut])
            + [.compare(register, .equal, network.address.networkOrder)]
    }
}
