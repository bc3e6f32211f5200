import CLinux
import Testing

@testable import Netlink

/// Messages as bytes, beside what netlink(7) says they are on a little-endian machine.
@Suite struct MessageTests {
    @Test("a message is header, fixed part and attributes, padded to four bytes")
    func bytes() {
        var link = ifinfomsg()
        link.ifi_family = 1
        link.ifi_index = 0x0102
        link.ifi_flags = 0x41
        link.ifi_change = 0xffff_ffff
        var message = Message(
            "add link", type: Int(RTM_NEWLINK), flags: [.create, .exclusive], link)
        message.put(Int(IFLA_IFNAME), "eth0")
        message.put(Int(IFLA_MTU), UInt32(1400))
        message.put(Int(IFLA_ADDRESS), bytes: [2, 0xfc, 0, 0, 0, 1])
        #expect(
            Array(message.encoded(sequence: 0x0a0b_0c0d)) == [
                64, 0, 0, 0,  // nlmsg_len
                16, 0,  // nlmsg_type: RTM_NEWLINK
                0x05, 0x06,  // nlmsg_flags: REQUEST, ACK, EXCL, CREATE
                0x0d, 0x0c, 0x0b, 0x0a,  // nlmsg_seq
                0, 0, 0, 0,  // nlmsg_pid
                1, 0, 0, 0,  // ifi_family, padding, ifi_type
                0x02, 0x01, 0, 0,  // ifi_index
                0x41, 0, 0, 0,  // ifi_flags
                0xff, 0xff, 0xff, 0xff,  // ifi_change
                9, 0, 3, 0,  // nla_len without padding, IFLA_IFNAME
                0x65, 0x74, 0x68, 0x30, 0, 0, 0, 0,  // "eth0", NUL, padding
                8, 0, 4, 0,  // IFLA_MTU
                0x78, 0x05, 0, 0,
                10, 0, 1, 0,  // IFLA_ADDRESS
                2, 0xfc, 0, 0, 0, 1, 0, 0,  // six bytes, padding
            ])
    }

    @Test("a nested attribute's length covers what is in it, padding included")
    func nested() {
        var message = Message("x", type: Int(RTM_NEWLINK), rtgenmsg(rtgen_family: 0))
        message.nest(Int(IFLA_LINKINFO)) { message in
            message.put(Int(IFLA_INFO_KIND), "veth")
            message.nest(Int(IFLA_INFO_DATA)) { message in
                message.put(7, UInt8(9))
            }
            message.nest(5) { _ in }
        }
        message.put(6)
        #expect(
            Array(message.encoded(sequence: 1).dropFirst(20)) == [
                32, 0, 18, 0x80,  // IFLA_LINKINFO, NLA_F_NESTED
                9, 0, 1, 0,  // IFLA_INFO_KIND
                0x76, 0x65, 0x74, 0x68, 0, 0, 0, 0,  // "veth", NUL, padding
                12, 0, 2, 0x80,  // IFLA_INFO_DATA, NLA_F_NESTED
                5, 0, 7, 0, 9, 0, 0, 0,  // one byte and its padding
                4, 0, 5, 0x80,  // nested and empty
                4, 0, 6, 0,  // present and empty
            ])
    }

    @Test("a fixed part inside a nested attribute counts in its length")
    func embedded() {
        var peer = ifinfomsg()
        peer.ifi_index = 5
        var message = Message("x", type: Int(RTM_NEWLINK), ifinfomsg())
        message.nest(1) { message in
            message.embed(peer)
            message.put(3, "c0")
        }
        #expect(
            Array(message.encoded(sequence: 1).dropFirst(32)) == [
                28, 0, 1, 0x80,  // nested
                0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  // ifinfomsg
                7, 0, 3, 0, 0x63, 0x30, 0, 0,  // "c0", NUL, padding
            ])
    }

    @Test("a message of any size reads back as it was written")
    func growth() {
        var message = Message("x", type: Int(RTM_NEWLINK), ifinfomsg())
        for number in 0..<200 {
            message.put(number, bytes: [UInt8](repeating: UInt8(number), count: number))
        }
        message.nest(300) { message in
            for number in 0..<1000 { message.put(number, UInt32(number)) }
        }
        let bytes = message.encoded(sequence: 1)
        #expect(bytes.uint32(at: 0) == UInt32(bytes.count))
        let attributes = Attributes(bytes.dropFirst(32))
        for number in 0..<200 {
            #expect(
                attributes[number].map { Array($0.payload) }
                    == [UInt8](repeating: UInt8(number), count: number))
        }
        let nested = attributes[300]?.nested.map(\.uint32)
        #expect(nested == (0..<1000).map { UInt32($0) })
    }

    @Test("a request to change is acknowledged, a request for one object is answered by it")
    func acknowledgement() {
        let flags = { (message: Message) in message.encoded(sequence: 1).uint16(at: 6) }
        let get = Message("x", type: Int(RTM_GETLINK), ifinfomsg())
        #expect(get.isQuery && !get.isDump)
        #expect(flags(get) == UInt16(NLM_F_REQUEST))
        let dump = Message("x", type: Int(RTM_GETLINK), flags: .dump, ifinfomsg())
        #expect(dump.isDump && !dump.isQuery)
        #expect(flags(dump) == UInt16(NLM_F_REQUEST | NLM_F_ACK | NLM_F_ROOT | NLM_F_MATCH))
        for type in [RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELROUTE, RTM_SETLINK] {
            let change = Message("x", type: Int(type), ifinfomsg())
            #expect(!change.isQuery && !change.isDump)
            #expect(flags(change) == UInt16(NLM_F_REQUEST | NLM_F_ACK))
        }
        let create = Message(
            "x", type: Int(RTM_NEWLINK), flags: [.create, .exclusive, .replace, .append],
            ifinfomsg())
        #expect(!create.isDump)
    }

    @Test("one message is encoded under many numbers and stays as it was")
    func sequence() {
        let message = Message("x", type: Int(RTM_NEWLINK), ifinfomsg())
        for number: UInt32 in [0, 1, .max] {
            #expect(message.encoded(sequence: number).uint32(at: 8) == number)
        }
    }
}
