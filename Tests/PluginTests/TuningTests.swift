import CNI
import PluginRuntime
import Testing

@testable import Plugins

/// The tuning plugin's configuration.
@Suite struct TuningTests {
    private func options(_ members: String = "", arguments: String = "") throws -> Tuning.Options {
        try Tuning.Options(call(members, arguments: arguments))
    }

    @Test("without keys nothing is set")
    func defaults() throws {
        let options = try options()
        #expect(options.sysctls.isEmpty)
        #expect(options.dataDirectory == "/run/cni/tuning")
        #expect(try options.link("eth0").isEmpty)
    }

    @Test("args' hardware address comes before runtimeConfig's, then CNI_ARGS', then mac")
    func hardwareAddress() throws {
        let own = #""mac": "02:00:00:00:00:01""#
        let argument = "MAC=02:00:00:00:00:02"
        let runtime = #", "runtimeConfig": {"mac": "02:00:00:00:00:03"}"#
        let args = #", "args": {"cni": {"mac": "02:00:00:00:00:04"}}"#
        #expect(try options(own).mac == "02:00:00:00:00:01")
        #expect(try options(own, arguments: argument).mac == "02:00:00:00:00:02")
        #expect(try options(own + runtime, arguments: argument).mac == "02:00:00:00:00:03")
        #expect(try options(own + runtime + args, arguments: argument).mac == "02:00:00:00:00:04")
    }

    @Test("args come over the keys of the same name, also where there is no sysctl")
    func arguments() throws {
        let args = #"""
            "args": {"cni": {"sysctl": {"net.core.somaxconn": "9"}, "promisc": false, "mtu": 1300,
                             "allmulti": true, "txQLen": 5}}
            """#
        let alone = try options(args)
        #expect(alone.sysctls == [.init(key: "net.core.somaxconn", value: "9")])
        let over = try options(
            #""sysctl": {"net.core.somaxconn": "1", "net.a": "2"}, "promisc": true, "mtu": 1400, "#
                + args)
        #expect(Set(over.sysctls.map(\.value)) == ["9", "2"])
        #expect(!over.promiscuous && over.mtu == 1300)
        #expect(over.allMulticast == true && over.queueLength == 5)
    }

    @Test(
        "a key's path follows from its first separator",
        arguments: [
            ("net.ipv4.conf.IFNAME.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
            ("net/ipv4/conf/IFNAME/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
            ("net.ipv4.conf.eth0/7.rp_filter", "net/ipv4/conf/eth0.7/rp_filter"),
            ("net/ipv4/conf/eth0.7/rp_filter", "net/ipv4/conf/eth0.7/rp_filter"),
        ])
    func path(key: String, path: String) {
        #expect(Tuning.Options.Setting(key: key, value: "").path(for: "eth0.100") == path)
    }

    @Test(
        "a key outside net is refused",
        arguments: [
            "kernel.hostname", "net", "net.", "net/../kernel/hostname", "/net/../kernel/hostname",
            "//net", "/kernel/net/core", "network.x", "", "net/./core",
        ])
    func outside(key: String) throws {
        let options = try options(#""sysctl": {"\#(key)": "1"}"#)
        let error = failure { try options.settings(of: "eth0") }
        #expect(
            error
                == CNIError(.invalidConfiguration, "invalid net sysctl key: \"\(key)\""))
    }

    @Test(
        "a separator too many is none",
        arguments: [
            "/net/ipv4/conf/eth0/arp_filter", "net.ipv4..conf.eth0.arp_filter",
            ".net.ipv4.conf.IFNAME.arp_filter.", "net//ipv4/conf/IFNAME//arp_filter",
        ])
    func separators(key: String) throws {
        let settings = try options(#""sysctl": {"\#(key)": "1"}"#).settings(of: "eth0")
        #expect(settings.map(\.path) == ["net/ipv4/conf/eth0/arp_filter"])
    }

    @Test("a value that is no text is an error of code 6")
    func numbers() {
        let error = failure { try options(#""sysctl": {"net.core.somaxconn": 5}"#) }
        #expect(error?.message == "sysctl.net.core.somaxconn: expected a string, found 5")
        #expect(error?.code == 6)
    }

    @Test(
        "a line means what it does to the reference, whose expressions are Go's",
        arguments: [
            (#"^net\.ipv4\.conf\.eth\d+\.\w+$"#, "net.ipv4.conf.eth10.rp_filter", true),
            (#"^net\.ipv4\.conf\.eth\d+\.\w+$"#, "net.ipv4.conf.ethd.rp_filter", false),
            (#"^net\.[\w.]+$"#, "net.core.somaxconn", true),
            (#"^net\.[\w.]+$"#, "net.core.so-max", false),
            (#"^net\.[^\d]+$"#, "net.core.x", true), (#"^net\.[^\d]+$"#, "net.core.x9", false),
            (#"^net\.\D+$"#, "net.core.x9", false),
            (#"\Anet\.(?:core|ipv4)\.[a-z_]*\z"#, "net.ipv4.x", true),
            (#"\Anet\.(?:core|ipv4)\.[a-z_]*\z"#, "net.ipv6.x", false),
            (#"^net\.[a\-z]+$"#, "net.a-z", true), (#"^net\.[a\-z]+$"#, "net.b", false),
            (#"^net\.[\]x]$"#, "net.]", true), (#"^net\.[[:alpha:]_]+$"#, "net.a_b", true),
            (#"^net\.[]x]+$"#, "net.x]", true), (#"^net\.core\.(a|b)+$"#, "net.core.abab", true),
        ])
    func expressions(line: String, key: String, isAllowed: Bool) {
        #expect((failure { try Tuning.Allowlist(line).require(key) } == nil) == isAllowed)
    }

    @Test("what POSIX has not is refused, not misread")
    func flags() {
        #expect(
            failure { try Tuning.Allowlist("(?i)NET").require("net.x") }?.message
                == "/etc/cni/tuning/allowlist.conf: not an expression: (?i)NET")
    }

    @Test("a line of the list may match anywhere; empty lines match nothing")
    func allowlist() throws {
        let list = Tuning.Allowlist("core\n\n  ^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$ \n")
        for key in ["net.core.somaxconn", "net.ipv4.conf.IFNAME.rp_filter"] {
            #expect(failure { try list.require(key) } == nil)
        }
        for key in ["net.ipv4.conf.all.rp_filter", "net.ipv4.conf.IFNAME.x.y", ""] {
            #expect(failure { try list.require(key) } != nil)
        }
        #expect(failure { try Tuning.Allowlist("").require("net.core.x") } != nil)
        #expect(failure { try Tuning.Allowlist("[").require("net.core.x") } != nil)
    }
}
