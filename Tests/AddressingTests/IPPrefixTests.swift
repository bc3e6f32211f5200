import Addressing
import Testing

/// An address with the length of its network's prefix.
@Suite struct IPPrefixTests {
    @Test(
        "a prefix is read and printed with its host bits",
        arguments: ["10.1.0.5/16", "0.0.0.0/0", "10.1.0.5/32", "fd00::5/64", "::/0", "::1/128"])
    func text(text: String) throws {
        let prefix = try #require(IPPrefix(text))
        #expect("\(prefix)" == text)
    }

    @Test(
        "what is no prefix is none",
        arguments: [
            "", "/", "10.1.0.5", "10.1.0.5/", "/16", "10.1.0.5/33", "10.1.0.5/-1", "10.1.0.5/+16",
            "10.1.0.5/ 16", "10.1.0.5/16 ", "10.1.0.5/16/16", "10.1.0.5/0x10", "10.1.0.5/1e1",
            "10.1.0/16", "fd00::/129", "10.1.0.5/255.255.0.0", "10.1.0.5/99999999999999999999",
            "10.1.0.5/٣", "::ffff:10.1.0.5/112",
        ])
    func invalid(text: String) { #expect(IPPrefix(text) == nil) }

    @Test("a length must fit the family")
    func length() throws {
        let v4 = try #require(IPAddress("10.1.0.5"))
        let v6 = try #require(IPAddress("fd00::5"))
        for length in [-1, 33, 128, .min, .max] { #expect(IPPrefix(v4, length: length) == nil) }
        for length in [-1, 129, .min, .max] { #expect(IPPrefix(v6, length: length) == nil) }
        #expect(IPPrefix(v4, length: 32) == IPPrefix(host: v4))
        #expect(IPPrefix(v6, length: 128) == IPPrefix(host: v6))
    }

    @Test(
        "a network has a first and a last address",
        arguments: [
            ("10.1.2.3/16", "10.1.0.0", "10.1.255.255"), ("10.1.2.3/32", "10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/31", "10.1.2.2", "10.1.2.3"), ("10.1.2.3/0", "0.0.0.0", "255.255.255.255"),
            ("10.1.2.3/1", "0.0.0.0", "127.255.255.255"),
            ("fd00::5/64", "fd00::", "fd00::ffff:ffff:ffff:ffff"),
            ("fd00::5/128", "fd00::5", "fd00::5"),
            ("fd00::5/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ])
    func ends(text: String, first: String, last: String) throws {
        let prefix = try #require(IPPrefix(text))
        #expect("\(prefix.first)" == first)
        #expect("\(prefix.last)" == last)
        #expect(prefix.network.address == prefix.first)
        #expect(prefix.network.length == prefix.length)
        #expect(prefix.contains(prefix.first) && prefix.contains(prefix.last))
        #expect(prefix.first.advanced(by: -1).map(prefix.contains) != true)
        #expect(prefix.last.advanced(by: 1).map(prefix.contains) != true)
    }

    @Test("a network never contains an address of the other family")
    func families() throws {
        let v4 = try #require(IPAddress("10.1.0.5"))
        let v6 = try #require(IPAddress("::a01:5"))
        #expect(!IPPrefix(everythingIn: .v4).contains(v6))
        #expect(!IPPrefix(everythingIn: .v6).contains(v4))
        #expect(IPPrefix(everythingIn: .v4).contains(v4))
        #expect(IPPrefix(everythingIn: .v6).contains(v6))
        #expect("\(IPPrefix(everythingIn: .v6))" == "::/0")
    }
}
