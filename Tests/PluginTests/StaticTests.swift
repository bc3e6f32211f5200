import Addressing
import CNI
import PluginRuntime
import Testing

@testable import Plugins

/// The static plugin, which touches nothing.
@Suite struct StaticTests {
    private func add(
        _ members: String, version: String = "1.1.0", arguments: String = ""
    ) throws -> AddResult {
        try Static.add(call(members, version: version, arguments: arguments))
    }

    private func addresses(_ members: String, arguments: String = "") throws -> [String] {
        try add(members, arguments: arguments).addresses.map {
            "\($0.address)" + ($0.gateway.map { " by \($0)" } ?? "")
        }
    }

    private static let one =
        #""ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}]}"#

    @Test("it answers with what the configuration says")
    func answer() throws {
        let result = try add(
            #"""
            "ipam": {"addresses": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"},
                                   {"address": "fd00::5/64"}],
                     "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}, {"dst": "0.0.0.0/0", "gw": "10.1.0.2"}],
                     "dns": {"nameservers": ["10.1.0.1"]}}
            """#)
        #expect(result.addresses.map(\.address.description) == ["10.1.0.5/16", "fd00::5/64"])
        #expect(result.addresses.map(\.gateway) == [IPAddress("10.1.0.1"), nil])
        #expect(result.routes.map(\.gateway) == [nil, IPAddress("10.1.0.2")])
        #expect(result.routes.map(\.mtu) == [1400, nil])
        #expect(result.dns.nameservers == ["10.1.0.1"])
    }

    @Test("an ipam object without keys gives nothing")
    func defaults() throws { #expect(try add(#""ipam": {}"#) == AddResult()) }

    @Test("CNI_ARGS add addresses, and gateways to the networks they are in")
    func arguments() throws {
        #expect(
            try addresses(
                Self.one, arguments: "IP=10.2.0.5/16 ,\tfd00::5/64 ;GATEWAY= 10.2.0.1 ,fd00::1")
                == ["10.1.0.5/16 by 10.1.0.1", "10.2.0.5/16 by 10.2.0.1", "fd00::5/64 by fd00::1"])
    }

    @Test("args' addresses replace the configured ones, runtimeConfig's replace those")
    func replaced() throws {
        let args = Self.one + #", "args": {"cni": {"ips": ["10.3.0.5/16"]}}"#
        let runtime = args + #", "runtimeConfig": {"ips": ["10.4.0.5/16", "fd00::5/64"]}"#
        #expect(try addresses(args, arguments: "IP=10.2.0.5/16") == ["10.3.0.5/16"])
        #expect(try addresses(runtime) == ["10.4.0.5/16", "fd00::5/64"])
    }

    @Test("what others stand for need be no address")
    func replacedNonsense() throws {
        let bad = #""ipam": {"addresses": [{"address": "10.1.0.5"}]}, "#
        for other in [
            #""args": {"cni": {"ips": ["10.3.0.5/16"]}}"#,
            #""runtimeConfig": {"ips": ["10.3.0.5/16"]}"#,
        ] {
            #expect(try addresses(bad + other) == ["10.3.0.5/16"])
        }
    }

    @Test(
        "what is wrong is named by its path",
        arguments: [
            ("", 7, "IPAM config missing 'ipam' key"),
            (#""ipam": 7"#, 6, "ipam: expected an object, found 7"),
            (
                #""ipam": {"addresses": 7}"#, 6,
                "ipam.addresses: expected an array of objects, found 7"
            ),
            (
                #""ipam": {"addresses": [{"address": "10.1.0.5"}]}"#, 7,
                "ipam.addresses[0].address: the 'address' field is expected to be in CIDR notation, "
                    + "got: '10.1.0.5'"
            ),
            (
                #""ipam": {"addresses": [{"address": "10.1.0.5/16"}, {"gateway": "x"}]}"#, 6,
                "ipam.addresses[1].gateway: not an IP address: \"x\""
            ),
            (#""ipam": {"routes": [{"gw": "10.1.0.1"}]}"#, 7, "ipam.routes[0].dst: missing"),
            (#""ipam": {"routes": [{"dst": "x"}]}"#, 6, "ipam.routes[0].dst: not a CIDR: \"x\""),
            (
                #""ipam": {}, "args": {"cni": {"ips": ["10.1.0.5"]}}"#, 7,
                "args.cni.ips[0]: an entry in the 'ips' field is NOT in CIDR notation, "
                    + "got: '10.1.0.5'"
            ),
            (
                #""ipam": {}, "runtimeConfig": {"ips": "10.1.0.5/16"}"#, 6,
                "runtimeConfig.ips: expected an array, each a string, found \"10.1.0.5/16\""
            ),
        ])
    func wrong(members: String, code: Int, message: String) {
        #expect(failure { try add(members) } == CNIError(code: code, message))
    }

    @Test("a wrong address in CNI_ARGS is an error of code 4")
    func wrongArguments() {
        for arguments in ["IP=10.2.0.5", "GATEWAY=x"] {
            #expect(failure { try add(Self.one, arguments: arguments) }?.code == 4)
        }
    }

    @Test("0.1.0 and 0.2.0 take one address a family", arguments: ["0.1.0", "0.2.0"])
    func oldVersions(version: String) throws {
        let two =
            #""ipam": {"addresses": [{"address": "10.1.0.5/16"}, {"address": "10.2.0.5/16"}]}"#
        #expect(
            failure { try add(two, version: version) }
                == CNIError(
                    .invalidConfiguration,
                    "CNI version \(version) does not support more than 1 address per family"))
        #expect(try add(Self.one, version: version).addresses.count == 1)
    }

    @Test("CHECK fails for an address that the result lacks")
    func check() throws {
        let good = #", "prevResult": {"ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]}"#
        let elsewhere =
            #", "prevResult": {"ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.9"}]}"#
        let bad = #", "prevResult": {"ips": [{"address": "10.1.0.6/16"}]}"#
        try Static.check(call(Self.one + good))
        #expect(
            failure { try Static.check(call(Self.one + bad)) }?.message
                == "static: Failed to find address 10.1.0.5/16 in prevResult")
        #expect(
            failure { try Static.check(call(Self.one + elsewhere)) }?.message
                == "static: Failed to match addr 10.1.0.5 on interface eth0")
        #expect(
            failure { try Static.check(call(Self.one)) }?.message == "Required prevResult missing")
    }
}
