internal import CLinux

/// What a filter of u32 matches: words of a packet, counted from its network header, each with a mask.
struct Selector {
    private let keys: [(mask: UInt32, value: UInt32, offset: Int32)]

    /// Every packet.
    static let all = Selector(keys: [(0, 0, 0)])

    /// What passes by a tree, address resolution and neighbour discovery, and at last every packet.
    static let steered = [Selector(keys: [type(ETH_P_ARP)])] + neighbours + [all]

    /// The messages of ICMPv6 that are neighbour discovery's, which never wait.
    static var neighbourMessages: [UInt8] {
        [UInt8(ND_NEIGHBOR_SOLICIT), UInt8(ND_NEIGHBOR_ADVERT)]
    }

    private static let neighbours = neighbourMessages.map { message in
        Selector(keys: [
            type(ETH_P_IPV6), (0x0000_ff00, UInt32(IPPROTO_ICMPV6) << 8, 4),
            (0xff00_0000, UInt32(message) << 24, 40),
        ])
    }

    /// The type in the link header, the two bytes before the network header.
    private static func type(_ number: Int32) -> (UInt32, UInt32, Int32) {
        (0xffff, UInt32(number), -4)
    }

    /// As the kernel takes it: the selector and its keys.
    var bytes: [UInt8] {
        var selector = tc_u32_sel()
        selector.flags = UInt8(TC_U32_TERMINAL)
        selector.nkeys = UInt8(keys.count)
        var bytes = unsafe withUnsafeBytes(of: selector) { unsafe Array($0) }
        for (mask, value, offset) in keys {
            var key = tc_u32_key()
            key.mask = mask.bigEndian
            key.val = value.bigEndian
            key.off = offset
            bytes += unsafe withUnsafeBytes(of: key) { unsafe Array($0) }
        }
        return bytes
    }
}
