import Addressing
import Nftables

extension Element {
    /// The chain that its verdict leads to.
    var chain: String? {
        switch value {
        case .verdict(.goto(let chain)), .verdict(.jump(let chain)): chain
        default: nil
        }
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
    var isTheDestination: [Expression] { isAddress(isSource: false, .equal) }

    /// Lets only packets from the network pass.
    var isTheSource: [Expression] { isAddress(isSource: true, .equal) }

    /// Lets only packets pass that are from, or to, the network, or are not; written as `nft` and
    /// `iptables` do, of whole bytes of a prefix no more than these.
    func isAddress(isSource: Bool, _ comparison: Expression.Comparison) -> [Expression] {
        let size = family.bitWidth / 8
        let register = Register(word: 0)
        let offset = family.sourceOffset + (isSource ? 0 : size)
        let address = network.address.networkOrder
        if length > 0, length % 8 == 0 {
            return [
                .payload(.network, offset: offset, length: length / 8, to: register),
                .compare(register, comparison, Array(address.prefix(length / 8))),
            ]
        }
        let hostBits = UInt128(family.bitWidth - length)
        let ones = family == .v4 ? UInt128(UInt32.max) : .max
        let mask = length == 0 ? 0 : (ones >> hostBits) << hostBits
        return [
            .payload(.network, offset: offset, length: size, to: register),
            .bitwise(
                register, mask: IPAddress(family, bits: mask).networkOrder,
                flip: [UInt8](repeating: 0, count: size), to: register),
            .compare(register, comparison, address),
        ]
    }

    /// The same as `iptables` writes it: nothing for every address.
    func iptables(isSource: Bool, isInverted: Bool = false) -> [Expression] {
        guard length > 0 || isInverted else { return [] }
        return isAddress(isSource: isSource, isInverted ? .different : .equal)
    }
}
