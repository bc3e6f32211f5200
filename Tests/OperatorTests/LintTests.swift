import CNI
import Foundation
import Plugins
import Testing

@testable import Operator

/// What lint finds in configurations.
@Suite struct LintTests {
    private func faults(
        _ plugins: String..., keys: String = #""cniVersion": "1.0.0", "name": "n""#
    ) throws -> [String] {
        let directory = try TemporaryDirectory()
        let file = try directory.write(
            "{\(keys), \"plugins\": [\(plugins.joined(separator: ", "))]}", to: "n.conflist")
        return try Lint(pluginDirectories: [], looksAtHost: false).faults(at: file).map {
            "\($0.severity.rawValue) \($0.path): \($0.message)"
        }
    }

    @Test("an unknown key is named with its place and the nearest that is known")
    func unknown() throws {
        #expect(
            try faults(
                #"{"type": "bridge", "isGatway": true, "ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "rout": []}}"#
            )
                == [
                    #"warning plugins[0].isGatway: unknown key: did you mean "isGateway"?"#,
                    #"warning plugins[0].ipam.rout: unknown key: did you mean "routes"?"#,
                ])
        #expect(
            try faults(#"{"type": "bridge", "zzzzzzzzzz": 1}"#)
                == ["warning plugins[0].zzzzzzzzzz: unknown key"])
        #expect(
            try faults(#"{"type": "loopback"}"#, keys: #""name": "n", "plugns": 1"#)
                == [#"warning plugns: unknown key: did you mean "plugins"?"#])
    }

    @Test("upper and lower case do not make a key unknown")
    func spelling() throws {
        #expect(
            try faults(#"{"type": "bridge", "IsGateway": true, "RuntimeConfig": {"Mac": ""}}"#)
                == [])
    }

    @Test("a value of the wrong type is named with its place, inside lists too")
    func types() throws {
        let ranges = #"[[{"subnet": "10.1.0.0/24"}, {"subnet": "10.0/8x", "gateway": 7}]]"#
        #expect(
            try faults(
                #"{"type": "bridge", "mtu": "9000", "ipam": {"type": "host-local", "ranges": \#(ranges)}}"#
            )
                == [
                    #"error plugins[0].mtu: expected an integer, found "9000""#,
                    #"error plugins[0].ipam.ranges[0][1].subnet: expected a CIDR, found "10.0/8x""#,
                    "error plugins[0].ipam.ranges[0][1].gateway: expected an IP address, found 7",
                ])
    }

    @Test("what the plugin itself would refuse is found without a container")
    func refusals() throws {
        #expect(
            try faults(#"{"type": "bridge"}"#, #"{"type": "bandwidth", "egressRate": 5}"#)
                == ["error plugins[1]: egressBurst: if rate is set, burst must also be set"])
        #expect(
            try faults(#"{"type": "bridge", "ipam": {"type": "host-local"}}"#)
                == ["error plugins[0]: ipam.ranges: no IP ranges specified"])
        #expect(
            try faults(#"{"type": "bandwidth"}"#)
                == ["error plugins[0].type: bandwidth must come behind another plugin"])
    }

    @Test("a capability that nobody handles is named")
    func capabilities() throws {
        #expect(
            try faults(
                #"{"type": "bridge", "capabilities": {"ips": true, "mac": true}, "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}"#
            )
                == [])
        #expect(
            try faults(#"{"type": "bridge", "capabilities": {"aliases": true}}"#)
                == [
                    "warning plugins[0].capabilities.aliases: bridge makes nothing of this capability"
                ])
    }

    @Test("a key that is there twice is named")
    func twice() throws {
        #expect(
            try faults(#"{"type": "bridge", "mtu": 1400, "mtu": 1500}"#).first
                == #"error : the key "mtu" is there twice: the last one counts"#)
    }

    @Test("addresses of one host on a network of many are warned of, unless they are bounded")
    func shared() throws {
        let macvlan = { (ipam: String) in
            #"{"type": "macvlan", "master": "eth0", "ipam": {"type": "host-local", \#(ipam)}}"#
        }
        #expect(try faults(macvlan(#""subnet": "10.1.0.0/24""#)).count == 1)
        #expect(
            try faults(
                macvlan(
                    #""subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.20""#)
            ) == [])
    }

    @Test("networks of a directory are compared with each other")
    func conflicts() throws {
        let directory = try TemporaryDirectory()
        let bridge = { (name: String, subnet: String, keys: String) in
            #"{"cniVersion": "1.0.0", "name": "\#(name)", "plugins": [{"type": "bridge", \#(keys) "ipam": {"type": "host-local", "subnet": "\#(subnet)"}}]}"#
        }
        try directory.write(bridge("a", "10.1.0.0/16", #""isGateway": true,"#), to: "1.conflist")
        try directory.write(
            bridge("b", "10.1.2.0/24", #""isGateway": true, "mtu": 1400,"#), to: "2.conflist")
        try directory.write(bridge("a", "10.3.0.0/24", #""bridge": "x","#), to: "3.conflist")
        let messages = try Lint(pluginDirectories: [], looksAtHost: false)
            .faults(at: directory.path).map(\.message)
        #expect(messages.count == 4)
        #expect(messages[0].hasPrefix(#""a" is the network of"#))
        #expect(messages[1].hasPrefix("10.1.2.0/24 overlaps with 10.1.0.0/16 of network a"))
        #expect(messages[2] == "1400, but network a has 0 on the same bridge cni0")
        #expect(messages[3].hasPrefix("cni0 is also the gateway of network a, with another subnet"))
    }

    @Test("plugins that are not installed and files that others may write are found on the host")
    func host() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write(
            #"{"name": "n", "plugins": [{"type": "loopback"}, {"type": "mine", "anything": 1}]}"#,
            to: "n.conflist", mode: 0o666)
        let plugins = try TemporaryDirectory()
        try plugins.write("", to: "loopback", mode: 0o755)
        let faults = try Lint(pluginDirectories: [plugins.path]).faults(at: file)
            .filter { $0.severity == .error }
        #expect(
            faults.map(\.message) == [
                "mode 666: others than the owner may write it",
                "mine is not installed in \(plugins.path)",
            ])
    }

    @Test("every network of conf/ is without a fault by itself")
    func examples() throws {
        let conf = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("conf").path
        let files = try FileManager.default.contentsOfDirectory(atPath: conf)
        #expect(!files.isEmpty)
        for file in files {
            let errors = try Lint(pluginDirectories: [], looksAtHost: false)
                .faults(at: "\(conf)/\(file)")
                .filter { !$0.message.hasPrefix("host-local knows this host's addresses alone") }
            #expect(errors == [], "\(file)")
        }
    }
}
