import Addressing
import CNI
import Foundation
import PluginRuntime
import Testing

@testable import Plugins

/// The host-local plugin from its configuration to the files it leaves.
@Suite struct HostLocalTests {
    let directory = TemporaryDirectory()

    /// A call whose `ipam` has the members given and the test's data directory.
    private func call(
        _ ipam: String, _ rest: String = "", version: String = "1.1.0", container: String = "c1",
        arguments: String = "", netns: String? = nil
    ) throws(CNIError) -> Call {
        let more = ipam.isEmpty ? "" : ", " + ipam
        return try PluginTests.call(
            #""ipam": {"type": "host-local", "dataDir": "\#(directory.path)"\#(more)}"# + rest,
            version: version, container: container, arguments: arguments, netns: netns)
    }

    private func add(_ call: Call) throws -> [String] {
        try HostLocal.add(call).addresses.map { "\($0.address.address)" }
    }

    private func held() -> [String] {
        let names = try? FileManager.default.contentsOfDirectory(atPath: directory.path + "/net")
        return (names ?? []).filter { IPAddress($0) != nil }.sorted()
    }

    private static let small = #""subnet": "10.1.0.0/29""#

    @Test(
        "without a directory or with an empty one it keeps reservations where the reference does",
        arguments: ["", #", "dataDir": "", "resolvConf": """#])
    func defaults(keys: String) throws {
        let options = try HostLocal.Options(
            PluginTests.call(#""ipam": {"subnet": "10.1.0.0/16"\#(keys)}"#))
        #expect(options.dataDirectory == "/var/lib/cni/networks")
        #expect(options.resolverConfiguration == nil)
        #expect(options.routes.isEmpty)
        #expect(options.requested.isEmpty)
        #expect(options.rangeSets.map { "\($0)" } == ["10.1.0.1-10.1.255.254"])
    }

    @Test("range sets come from runtimeConfig, then the subnet, then ranges")
    func order() throws {
        let options = try HostLocal.Options(
            call(
                Self.small
                    + #", "ranges": [[{"subnet": "10.2.0.0/29"}], [{"subnet": "fd00::/64"}]]"#,
                #", "runtimeConfig": {"ipRanges": [[{"subnet": "10.3.0.0/29"}]]}"#))
        #expect(
            options.rangeSets.map { "\($0.ranges[0].subnet)" }
                == ["10.3.0.0/29", "10.1.0.0/29", "10.2.0.0/29", "fd00::/64"])
    }

    @Test("ADD reserves an address of every set, DEL frees them, twice is fine")
    func addAndDel() throws {
        let both = #""ranges": [[{"subnet": "10.1.0.0/29"}], [{"subnet": "fd00::/64"}]]"#
        let result = try HostLocal.add(
            call(both + #", "routes": [{"dst": "0.0.0.0/0"}]"#))
        #expect(result.addresses.map(\.address.description) == ["10.1.0.2/29", "fd00::2/64"])
        #expect(result.addresses.map(\.gateway) == [IPAddress("10.1.0.1"), IPAddress("fd00::1")])
        #expect(result.routes.count == 1)
        #expect(held() == ["10.1.0.2", "fd00::2"])
        for _ in 0..<2 {
            try HostLocal.del(call(both))
            #expect(held() == [])
        }
    }

    @Test("an ADD that fails at a later set keeps nothing, and leaves what was held before")
    func failedAdd() throws {
        _ = try add(call(Self.small, container: "other"))
        let sets = #""ranges": [[{"subnet": "10.2.0.0/29"}], [{"subnet": "10.1.0.0/29"}]]"#
        _ = try add(call(#""subnet": "10.1.0.0/29""#))
        #expect(
            failure { try add(call(sets)) }?.message.hasPrefix("failed to allocate for range 1: ")
                == true)
        #expect(held() == ["10.1.0.2", "10.1.0.3"])
    }

    @Test("an ADD that is refused as a duplicate leaves the container among its pod's")
    func refusedDuplicate() throws {
        let record = directory.path + "/.pods/1c-9:net:eth0"
        let arguments = "K8S_POD_UID=1c-9"
        _ = try add(call(Self.small, arguments: arguments))
        let before = try String(contentsOfFile: record, encoding: .utf8)
        #expect(
            failure { try add(call(Self.small, arguments: arguments)) }?.message
                .contains("duplicate allocation is not allowed") == true)
        #expect(try String(contentsOfFile: record, encoding: .utf8) == before)
    }

    /// A path that has a namespace behind it.
    private static let there = "/proc/self/ns/net"

    @Test("an ADD by another path that is refused does not end the container for its pod")
    func refusedElsewhere() throws {
        let pod = "K8S_POD_UID=1c-9"
        _ = try add(call(Self.small, arguments: pod, netns: Self.there))
        #expect(failure { try add(call(Self.small, arguments: pod, netns: "/gone")) } != nil)
        #expect(try add(call(Self.small, container: "c2", arguments: pod)) == ["10.1.0.3"])
        #expect(held() == ["10.1.0.2", "10.1.0.3"])
    }

    @Test("an ADD that comes to nothing elsewhere gives back what it was given, and no more")
    func takenBack() throws {
        let pod = "K8S_POD_UID=1c-9"
        _ = try add(call(Self.small, arguments: pod, netns: Self.there))
        for netns in [Self.there, "/gone"] {
            let again = try call(Self.small, arguments: pod + ";IP=10.1.0.5", netns: netns)
            let result = try HostLocal.add(again)
            #expect(held() == ["10.1.0.2", "10.1.0.5"])
            try HostLocal.takeBack(result, of: again)
            #expect(held() == ["10.1.0.2"])
        }
        let other = try call(Self.small, container: "c2", arguments: pod, netns: Self.there)
        try HostLocal.takeBack(HostLocal.add(other), of: other)
        #expect(held() == ["10.1.0.2"])
        let record = directory.path + "/.pods/1c-9:net:eth0"
        #expect(try String(contentsOfFile: record, encoding: .utf8) == "c1 \(Self.there)\n")
    }

    @Test("what ADD would answer is refused where ADD would be")
    func previewRefused() throws {
        let outside = try call(Self.small, arguments: "IP=10.9.0.5")
        let refusal = failure { try HostLocal.add(outside) }
        #expect(refusal?.message == "failed to allocate all requested IPs: 10.9.0.5")
        #expect(failure { try HostLocal.preview(outside) } == refusal)
    }

    @Test("an address that is left out may be an empty string")
    func emptyAddresses() throws {
        let empty = #", "gateway": "", "rangeStart": "", "rangeEnd": """#
        let route = #", "routes": [{"dst": "0.0.0.0/0", "gw": ""}]"#
        let result = try HostLocal.add(call(Self.small + empty + route))
        #expect(result.addresses.map(\.gateway) == [IPAddress("10.1.0.1")])
        #expect(result.routes.map(\.gateway) == [nil])
    }

    @Test("addresses are asked for by CNI_ARGS, args and runtimeConfig, with a length or without")
    func requested() throws {
        #expect(try add(call(Self.small, container: "a", arguments: "IP=10.1.0.5")) == ["10.1.0.5"])
        #expect(
            try add(
                call(Self.small, #", "args": {"cni": {"ips": ["10.1.0.4/29"]}}"#, container: "b"))
                == ["10.1.0.4"])
        #expect(
            try add(
                call(Self.small, #", "runtimeConfig": {"ips": ["10.1.0.3"]}"#, container: "c"))
                == ["10.1.0.3"])
        #expect(
            failure { try add(call(Self.small, container: "d", arguments: "IP=10.9.0.5")) }?.message
                == "failed to allocate all requested IPs: 10.9.0.5")
        #expect(held() == ["10.1.0.3", "10.1.0.4", "10.1.0.5"])
    }

    @Test("CHECK finds what ADD reserved, and fails when it is gone")
    func check() throws {
        #expect(failure { try HostLocal.check(call(Self.small)) }?.code == 999)
        _ = try add(call(Self.small))
        let previous = #", "prevResult": {"ips": [{"address": "10.1.0.2/29"}]}"#
        try HostLocal.check(call(Self.small, previous))
        try HostLocal.del(call(Self.small))
        #expect(
            failure { try HostLocal.check(call(Self.small, previous)) }?.message
                == "host-local: Failed to find address added by container c1")
    }

    @Test("GC frees what no valid attachment holds, and must be told which are valid")
    func garbage() throws {
        for name in ["a", "b", "c"] { _ = try add(call(Self.small, container: name)) }
        #expect(failure { try HostLocal.gc(call(Self.small)) }?.code == 7)
        #expect(held().count == 3)
        try HostLocal.gc(
            call(
                Self.small,
                #", "cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}]"#))
        #expect(held() == ["10.1.0.3"])
    }

    @Test("STATUS says 50 when a set has no address left")
    func status() throws {
        let tiny = #""subnet": "10.1.0.0/30""#
        try HostLocal.status(call(tiny))
        _ = try add(call(tiny))
        #expect(
            failure { try HostLocal.status(call(tiny)) }
                == CNIError(
                    .notAvailable, "no IP addresses available in range set: 10.1.0.1-10.1.0.2"))
    }

    @Test(
        "what is wrong is named by its path",
        arguments: [
            ("", "", 7, "ipam.ranges: no IP ranges specified"),
            (#""subnet": "x""#, "", 6, "ipam.subnet: not a CIDR: \"x\""),
            (
                #""subnet": "10.1.0.0/24", "gateway": 7"#, "", 6,
                "ipam.gateway: expected an IP address, found 7"
            ),
            (#""ranges": [7]"#, "", 6, "ipam.ranges[0]: expected an array of objects, found 7"),
            (
                #""ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": 7}]]"#, "", 6,
                "ipam.ranges[0][1].subnet: expected a CIDR, found 7"
            ),
            (
                #""ranges": [[{"subnet": "10.1.0.0/24"}], []]"#, "", 7,
                "ipam.ranges[1]: invalid range set 1: empty range set"
            ),
            (
                #""ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.1.0.0/28"}]]"#, "", 7,
                "ipam.ranges[0]: range set 0 overlaps with 1"
            ),
            (
                #""subnet": "10.1.0.0/24""#, #", "runtimeConfig": {"ipRanges": [[{}]]}"#, 7,
                "runtimeConfig.ipRanges[0]: invalid range set 0: subnet: missing"
            ),
            (
                #""subnet": "10.1.0.0/24""#, #", "runtimeConfig": {"ips": ["x"]}"#, 7,
                "runtimeConfig.ips: not an IP address: \"x\""
            ),
            (
                #""subnet": "10.1.0.0/24", "dataDir": 7"#, "", 6,
                "ipam.dataDir: expected a string, found 7"
            ),
        ])
    func wrong(ipam: String, rest: String, code: Int, message: String) {
        let ipam = #""ipam": {\#(ipam)}"#
        #expect(
            failure { try HostLocal.Options(PluginTests.call(ipam + rest)) }
                == CNIError(code: code, message))
    }

    @Test("0.1.0 and 0.2.0 take one set a family, at DEL too")
    func oldVersions() {
        let sets = #""ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]"#
        #expect(
            failure { try HostLocal.del(call(sets, version: "0.2.0")) }
                == CNIError(
                    .invalidConfiguration,
                    "CNI version 0.2.0 does not support more than 1 address per family"))
    }
}
