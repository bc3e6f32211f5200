import Addressing
import Testing

@testable import Nftables
@testable import Plugins

@Suite("portmap: conditions in words")
struct PortConditionTests {
    private func read(_ words: [String], _ family: Family = .v4) throws -> [PortCondition] {
        try PortConditionReader.read(words, family).all
    }

    private func condition(_ test: PortCondition.Test, not: Bool = false) -> PortCondition {
        PortCondition(test: test, isInverted: not)
    }

    private func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

    @Test("the languages of iptables and of nft say the same")
    func bothLanguages() throws {
        let pairs: [([String], [String])] = [
            (["!", "-s", "10.1.2.3/8"], ["ip saddr != 10.0.0.0/8"]),
            (["-d", "192.0.2.1"], ["ip", "daddr", "==", "192.0.2.1"]),
            (["-i", "eth+"], ["iifname", "\"eth*\""]),
            (["!", "--out-interface", "lo"], ["meta oifname != lo"]),
            (["-p", "udp", "--sport", "1024:65535"], ["udp sport 1024-65535"]),
            (["-m", "multiport", "!", "--sports", "53,80:90"], ["th sport != { 53, 80-90 }"]),
            (["-m", "mark", "--mark", "0x20/0xff"], ["meta mark & 0xff == 32"]),
            (["-m", "conntrack", "--ctstate", "NEW,RELATED"], ["ct state new,related"]),
            (["-p", "sctp"], ["fib daddr type local ip protocol sctp"]),
            (["-s", "10.0.0.0/8,127.0.0.1"], ["ip saddr {10.0.0.0/8,127.0.0.1}"]),
        ]
        for (iptables, nft) in pairs {
            #expect(try read(iptables) == read(nft), "\(iptables)")
        }
    }

    @Test("what is read is what was written")
    func values() throws {
        #expect(
            try read(["!", "-s", "10.1.2.3/8"])
                == [condition(.address(isSource: true, [prefix("10.0.0.0/8")]), not: true)])
        #expect(
            try read(["-d", "2001:db8::/33"], .v6)
                == [condition(.address(isSource: false, [prefix("2001:db8::/33")]))])
        #expect(
            try read(["--mark", "7"]) == [condition(.mark(7, mask: .max))])
        #expect(
            try read(["tcp dport != 80"])
                == [
                    condition(.transport([6])),
                    condition(.port(isSource: false, [80...80]), not: true),
                ])
        #expect(try read([]) == [])
    }

    @Test("several addresses are several rules of iptables")
    func alternatives() throws {
        let conditions = try PortConditionReader.read(
            ["-s", "10.0.0.1,10.0.0.2", "-d", "192.0.2.1,192.0.2.2", "-i", "eth0"], .v4)
        #expect(conditions.alternatives.count == 4)
        #expect(conditions.alternatives.allSatisfy { $0.count == 3 })
        #expect(PortConditions.none.alternatives == [[]])
    }

    @Test(
        "a complaint says which word it is about",
        arguments: [
            (["-s", "x"], 1, "not an address: \"x\""),
            (["-s"], 0, "a value is missing"),
            (["!", "-s", "10.0.0.1,10.0.0.2"], 2, "iptables takes one address after \"!\""),
            (["-p", "icmp"], 1, "not a protocol with ports: \"icmp\""),
            (["--dport", "90:80"], 1, "not a port: \"90:80\""),
            (["-m", "mark", "--mark", "x"], 3, "not a number of 32 bits: \"x\""),
            (["-j", "ACCEPT"], 0, "\"-j\" cannot be expressed"),
            (["-i", "a-name-too-long-for-it"], 1, "not an interface: \"a-name-too-long-for-it\""),
            (["ip6 saddr ::1"], 0, "\"ip6\" is of the other family"),
            (["ip", "saddr", "{ 10.0.0.1"], 2, "\"}\" is missing"),
            (["ct", "mark", "1"], 0, "only \"ct state\" can be expressed"),
            (["ip ttl 1"], 0, "\"ttl\" cannot be expressed"),
        ])
    func complaints(words: [String], index: Int, text: String) throws {
        do throws(PortConditionReader.Complaint) {
            _ = try PortConditionReader.read(words, .v4)
            Issue.record("taken")
        } catch {
            #expect(error.index == index)
            #expect(error.text == text)
        }
    }
}
