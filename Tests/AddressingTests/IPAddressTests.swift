import Addressing
import Testing

/// Addresses as text, as bytes and as numbers.
@Suite struct IPAddressTests {
    @Test(
        "RFC 5952: one text for an address, however it was written",
        arguments: [
            // Section 1 and 2: the many spellings of one address.
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:db8::1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:db8::0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:db8:0:0:1::1", "2001:db8::1:0:0:1"),
            ("2001:DB8:0:0:1::1", "2001:db8::1:0:0:1"),
            // 4.1: no leading zeros.
            ("2001:0db8::0001", "2001:db8::1"),
            // 4.2.1: as short as possible.
            ("2001:db8:0:0:0:0:2:1", "2001:db8::2:1"),
            // 4.2.2: not for one word alone.
            ("2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            // 4.2.3: the longest run, of equal ones the first.
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            // 4.3: lower case.
            ("2001:DB8::ABCD:EF", "2001:db8::abcd:ef"),
            // The ends.
            ("0:0:0:0:0:0:0:0", "::"), ("0:0:0:0:0:0:0:1", "::1"), ("1:0:0:0:0:0:0:0", "1::"),
            ("0:0:1:2:3:4:5:6", "::1:2:3:4:5:6"), ("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"),
            ("0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7"),
            ("FFFF:ffff:FFFF:ffff:FFFF:ffff:FFFF:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            // As Go prints it: no dotted part but for the IPv4 address itself.
            ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"), ("::10.1.0.1", "::a01:1"),
        ])
    func canonical(text: String, printed: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.family == .v6)
        #expect("\(address)" == printed)
        #expect(IPAddress(printed) == address)
    }

    @Test(
        "IPv4 is dotted decimal",
        arguments: ["0.0.0.0", "10.1.0.5", "255.255.255.255", "127.0.0.1"])
    func v4(text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.family == .v4)
        #expect("\(address)" == text)
    }

    @Test("an IPv4 address written as IPv6 is the IPv4 address")
    func mapped() {
        #expect(IPAddress("::ffff:10.1.0.1") == IPAddress("10.1.0.1"))
        #expect(IPAddress("::ffff:a01:1")?.description == "10.1.0.1")
        #expect(IPAddress("::10.1.0.1")?.family == .v6)
    }

    @Test(
        "what is no address is none",
        arguments: [
            "", " ", "10.1.0", "10.1.0.256", "10.1.0.5 ", " 10.1.0.5", "10.1.0.05", "10.1.0.5/16",
            "10.1.0.5.6", "0x0a.1.0.5", "167837701", "10.1.0.5\0", "10.1.0.5\0x", ":", ":::",
            "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "fe80::1%eth0", "[::1]",
            "g::", "::ffff:10.1.0.256", "１0.1.0.5",
        ])
    func invalid(text: String) { #expect(IPAddress(text) == nil) }

    @Test("4 or 16 bytes in network order are an address, and come back")
    func networkOrder() throws {
        let v4 = try #require(IPAddress(networkOrder: [10, 1, 0, 5]))
        #expect("\(v4)" == "10.1.0.5")
        #expect(v4.networkOrder == [10, 1, 0, 5])
        let bytes: [UInt8] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34]
        let v6 = try #require(IPAddress(networkOrder: bytes))
        #expect("\(v6)" == "fd00::1234")
        #expect(v6.networkOrder == bytes)
        for count in (0...32) where count != 4 && count != 16 {
            #expect(IPAddress(networkOrder: [UInt8](repeating: 1, count: count)) == nil)
        }
    }

    @Test("print and read are each other's reverse for addresses of every shape")
    func roundTrip() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            var bits = UInt128(generator.next()) << 64 | UInt128(generator.next())
            // Words that are zero or short are what the text form is about.
            for word in 0..<8 where Bool.random() {
                bits &= ~(UInt128([0xffff, 0xfff0, 0xff00].randomElement() ?? 0) << (word * 16))
            }
            for family in Family.allCases {
                let address = IPAddress(family, bits: bits)
                #expect(IPAddress("\(address)") == address)
                #expect(IPAddress(networkOrder: address.networkOrder) == address)
            }
        }
    }

    @Test("steps end where the family ends")
    func advanced() throws {
        let step = { (text: String, distance: Int) in
            IPAddress(text)?.advanced(by: distance).map { "\($0)" }
        }
        #expect(step("10.1.0.255", 1) == "10.1.1.0")
        #expect(step("10.1.0.0", -1) == "10.0.255.255")
        #expect(step("10.1.0.5", 0) == "10.1.0.5")
        #expect(step("255.255.255.255", 1) == nil)
        #expect(step("255.255.255.254", 1) == "255.255.255.255")
        #expect(step("0.0.0.0", -1) == nil)
        #expect(step("0.0.0.1", -1) == "0.0.0.0")
        #expect(step("0.0.0.0", .max) == nil)
        #expect(step("255.255.255.255", .min) == nil)
        #expect(step("fd00::ffff:ffff:ffff:ffff", 1) == "fd00:0:0:1::")
        #expect(step("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1) == nil)
        #expect(step("::", -1) == nil)
        #expect(step("::", .max) == "::7fff:ffff:ffff:ffff")
        #expect(step("::8000:0:0:0", .min) == "::")
    }

    @Test("addresses are ordered by family, then by number")
    func order() throws {
        let texts = [
            "0.0.0.0", "9.255.255.255", "10.0.0.0", "255.255.255.255", "::", "::1", "fd00::",
        ]
        let addresses = try texts.map { try #require(IPAddress($0)) }
        #expect(addresses.shuffled().sorted() == addresses)
    }

    @Test("loopback is 127.0.0.0/8 and ::1")
    func loopback() {
        for (text, isLoopback) in [
            ("127.0.0.1", true), ("127.255.255.255", true), ("::1", true), ("128.0.0.1", false),
            ("126.255.255.255", false), ("::", false), ("::2", false), ("0.0.0.1", false),
        ] {
            #expect(IPAddress(text)?.isLoopback == isLoopback, "\(text)")
        }
    }

    @Test("good on its link alone is what is of 169.254.0.0/16 or fe80::/10")
    func linkLocal() {
        for (text, isLinkLocal) in [
            ("169.254.0.0", true), ("169.254.255.255", true), ("169.253.255.255", false),
            ("169.255.0.0", false), ("fe80::1", true), ("febf::1", true), ("fec0::1", false),
            ("fe7f::1", false), ("::169.254.0.1", false),
        ] {
            #expect(IPAddress(text)?.isLinkLocal == isLinkLocal, "\(text)")
        }
    }

    @Test("bits above a family's width are dropped")
    func width() {
        #expect(IPAddress(.v4, bits: .max) == IPAddress("255.255.255.255"))
        #expect(Family.v4.any == IPAddress("0.0.0.0"))
        #expect(Family.v6.any == IPAddress("::"))
        #expect(Family.v4.addressFamily == 2)
        #expect(Family.v6.addressFamily == 10)
    }
}
