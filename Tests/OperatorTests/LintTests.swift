import Addressing
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

    /// The faults of networks in a directory of their own, compared with a host.
    private func faults(
        among lists: [String], on host: Lint.Host? = nil
    ) throws -> [String] {
        let directory = try TemporaryDirectory()
        for (number, list) in lists.enumerated() {
            try directory.write(list, to: "\(number).conflist")
        }
        var lint = Lint(pluginDirectories: [], looksAtHost: false)
        lint.host = host
        return try lint.faults(at: directory.path).map { fault in
            "\(fault.severity.rawValue) \(fault.path): \(fault.message)"
                .replacing("\(directory.path)/", with: "")
        }
    }

    private func network(_ name: String, _ plugins: String...) -> String {
        #"{"cniVersion": "1.0.0", "name": "\#(name)", "plugins": [\#(plugins.joined(separator: ", "))]}"#
    }

    private func host(
        _ links: (name: String, mtu: Int)..., uplink: String? = nil
    ) -> Lint.Host {
        var host = Lint.Host()
        host.uplink = uplink
        for (name, mtu) in links {
            var link = Lint.Host.Link()
            link.mtu = mtu
            host.links[name] = link
        }
        return host
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
        #expect(
            try faults(
                #"{"type": "bridge"}"#,
                #"{"type": "portmap", "capabilities": {"portMappings": true, "portMapping": true}}"#
            )
                == [
                    "warning plugins[1].capabilities.portMapping: portmap makes nothing of this "
                        + #"capability: did you mean "portMappings"?"#
                ])
        // Of a plugin of somebody else's it is known what runtimes fill in.
        #expect(
            try faults(#"{"type": "theirs", "capabilities": {"bandwidt": true, "dns": true}}"#)
                == [
                    "warning plugins[0].capabilities.bandwidt: no runtime is known to fill this in: "
                        + #"did you mean "bandwidth"?"#
                ])
        #expect(
            try faults(#"{"type": "bridge", "capabilities": {"ips": "yes"}}"#)
                == [#"error plugins[0].capabilities.ips: expected a boolean, found "yes""#])
    }

    @Test(
        "VLANs that contradict each other are named",
        arguments: [
            (
                #""vlan": 100, "vlanTrunk": [{"id": 7}, {"minID": 90, "maxID": 110}]"#,
                ["warning plugins[0].vlanTrunk[1].minID: VLAN 100 is the untagged one already"]
            ),
            (
                #""vlan": 100, "vlanTrunk": [{"id": 100}]"#,
                ["warning plugins[0].vlanTrunk[0].id: VLAN 100 is the untagged one already"]
            ),
            (
                #""vlanTrunk": [{"minID": 10, "maxID": 20}, {"id": 20}, {"minID": 5, "maxID": 12}]"#,
                [
                    "warning plugins[0].vlanTrunk[1].id: VLAN 20 is in vlanTrunk[0] already",
                    "warning plugins[0].vlanTrunk[2].minID: VLAN 10 is in vlanTrunk[0] already",
                ]
            ),
            (
                #""preserveDefaultVlan": true"#,
                [
                    "warning plugins[0].preserveDefaultVlan: it means nothing without vlan or "
                        + "vlanTrunk"
                ]
            ),
            (
                #""vlan": 5, "preserveDefaultVlan": true"#,
                [
                    "warning plugins[0].preserveDefaultVlan: the container gets untagged packets of "
                        + "VLAN 1 as well as those of 5"
                ]
            ),
            (
                #""vlan": 4095"#,
                [
                    "error plugins[0]: vlan: invalid VLAN ID 4095 (must be between 0 and 4094)"
                ]
            ),
            (
                #""vlanTrunk": [{"id": 0}]"#,
                ["error plugins[0]: vlanTrunk[0].id: incorrect trunk id parameter"]
            ),
            (#""vlan": 100, "vlanTrunk": [{"id": 101}, {"minID": 102, "maxID": 110}]"#, []),
        ])
    func vlans(keys: String, expected: [String]) throws {
        #expect(try faults(#"{"type": "bridge", \#(keys)}"#) == expected)
    }

    @Test("a vlan without a number is named")
    func vlanZero() throws {
        #expect(
            try faults(#"{"type": "vlan", "master": "eth0"}"#)
                == [
                    "warning plugins[0].vlanId: 0 is no VLAN: packets are only given a priority"
                ])
    }

    @Test(
        "an MTU above that of the link below is an error where ADD fails, else a warning",
        arguments: [
            (#"{"type": "macvlan", "master": "eth0", "mtu": 9000}"#, "error", ": ADD is refused"),
            (
                #"{"type": "vlan", "master": "eth0", "vlanId": 5, "mtu": 9000}"#, "error",
                ": ADD is refused"
            ),
            (#"{"type": "macvlan", "mtu": 9000}"#, "error", ": ADD is refused"),
            (#"{"type": "ipvlan", "master": "eth0", "mtu": 9000}"#, "warning", ""),
            (#"{"type": "bridge", "isGateway": true, "mtu": 9000}"#, "warning", ""),
            (
                #"{"type": "ptp", "mtu": 9000, "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}"#,
                "warning", ""
            ),
        ])
    func mtu(plugin: String, severity: String, end: String) throws {
        let host = host(("eth0", 1500), ("eth1", 9000), uplink: "eth0")
        #expect(
            try faults(among: [network("n", plugin)], on: host)
                == ["\(severity) plugins[0].mtu: 9000, but eth0 has 1500\(end)"])
        let wide = plugin.replacing(#""master": "eth0""#, with: #""master": "eth1""#)
        guard wide != plugin else { return }
        #expect(try faults(among: [network("n", wide)], on: host) == [])
        let bare = plugin.replacing(", \"mtu\": 9000", with: "")
        #expect(
            try faults(
                among: [network("n", bare, #"{"type": "tuning", "mtu": 9000}"#)], on: host)
                == ["\(severity) plugins[1].mtu: 9000, but eth0 has 1500\(end)"])
    }

    @Test("a bridge's MTU goes by its uplink; without a gateway nothing else limits it")
    func bridgeUplink() throws {
        var host = host(("eth0", 1500), ("eth1", 4000), uplink: "eth0")
        let plugin = #"{"type": "bridge", "bridge": "br0", "mtu": 9000}"#
        #expect(try faults(among: [network("n", plugin)], on: host) == [])
        host.links["eth1"]?.bridge = "br0"
        #expect(
            try faults(among: [network("n", plugin)], on: host)
                == ["warning plugins[0].mtu: 9000, but eth1 has 4000"])
    }

    @Test("a master that the host has not, and a bridge that tells no VLANs apart, are errors")
    func links() throws {
        var host = host(("eth0", 1500))
        #expect(
            try faults(among: [network("n", #"{"type": "macvlan", "master": "eth7"}"#)], on: host)
                == ["error plugins[0].master: this host has no link eth7"])
        #expect(
            try faults(
                among: [
                    network("n", #"{"type": "macvlan", "master": "x", "linkInContainer": true}"#)
                ], on: host) == [])
        var bridge = Lint.Host.Link()
        bridge.kind = "bridge"
        host.links["cni0"] = bridge
        let tagged = network("n", #"{"type": "bridge", "vlan": 5}"#)
        #expect(
            try faults(among: [tagged], on: host)
                == [
                    "error plugins[0].bridge: cni0 is there and does not tell VLANs apart: "
                        + "ip link set cni0 type bridge vlan_filtering 1"
                ])
        host.links["cni0"]?.filtersVLANs = true
        #expect(try faults(among: [tagged], on: host) == [])
    }

    @Test("flavours of iptables that do not see each other are named")
    func flavours() throws {
        var host = Lint.Host()
        host.hasLegacyTables = true
        host.showsLegacyTables = true
        let list = network(
            "n", #"{"type": "bridge", "ipMasq": true}"#, #"{"type": "firewall"}"#,
            #"{"type": "tuning"}"#)
        let found = try faults(among: [list], on: host)
        #expect(found.count == 3)
        #expect(found[0].hasPrefix("warning plugins[0]: this host also has tables of the old"))
        #expect(found[1].hasPrefix("warning plugins[1]: this host also has tables of the old"))
        #expect(
            found[2]
                == "warning plugins[1]: iptables of this host is iptables-legacy: it does not show "
                + "the rules that firewall makes, which iptables-nft does")
        let portmap = { (backend: String) in
            #"{"type": "portmap", "backend": "\#(backend)", "capabilities": {"portMappings": true}}"#
        }
        let bridge = { (name: String) in #"{"type": "bridge", "bridge": "\#(name)"}"# }
        #expect(
            try faults(among: [
                network("a", bridge("a"), portmap("iptables")),
                network("b", bridge("b"), portmap("nftables")),
                network("c", bridge("c"), portmap("iptables")),
            ]) == [
                "warning plugins[1].backend: ports are mapped by nftables, those of network a by "
                    + "iptables: which comes first for a port of both is not said"
            ])
    }

    @Test("addresses that two networks give out are an error, a subnet at two places a warning")
    func subnets() throws {
        let bridge = { (name: String, bridge: String, range: String) in
            self.network(
                name,
                #"{"type": "bridge", "bridge": "\#(bridge)", "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"\#(range)}}"#
            )
        }
        let low = #", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.20""#
        let high = #", "rangeStart": "10.1.0.21", "rangeEnd": "10.1.0.30""#
        #expect(
            try faults(among: [bridge("a", "x", low), bridge("b", "x", "")])
                == [
                    "error plugins[0].ipam: 10.1.0.0/24 overlaps with 10.1.0.10-10.1.0.20 of network "
                        + "a (0.conflist)"
                ])
        #expect(try faults(among: [bridge("a", "x", low), bridge("b", "x", high)]) == [])
        #expect(
            try faults(among: [bridge("a", "x", low), bridge("b", "y", high)])
                == [
                    "warning plugins[0].ipam: the host has routes to 10.1.0.0/24 by two links, of "
                        + "which one hides the other: it overlaps with 10.1.0.0/24 of network a "
                        + "(0.conflist)"
                ])
        let fixed = { (name: String, address: String) in
            self.network(
                name,
                #"{"type": "macvlan", "master": "e", "ipam": {"type": "static", "addresses": [{"address": "\#(address)"}]}}"#
            )
        }
        #expect(try faults(among: [fixed("a", "10.2.0.5/24"), fixed("b", "10.2.0.6/24")]) == [])
        #expect(
            try faults(among: [fixed("a", "10.2.0.5/24"), fixed("b", "10.2.0.5/24")])
                == [
                    "error plugins[0].ipam: 10.2.0.5 overlaps with 10.2.0.5 of network a (0.conflist)"
                ])
    }

    @Test("addresses that are known to their container alone may be others' too")
    func privateAddresses() throws {
        let ipam = #""ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}"#
        let bridge = network("b", #"{"type": "bridge", \#(ipam)}"#)
        for type in ["dummy", "tap"] {
            let own = { (name: String) in network(name, #"{"type": "\#(type)", \#(ipam)}"#) }
            #expect(try faults(among: [own("a"), bridge, own("c")]) == [], "\(type)")
        }
    }

    @Test("the networks of conf/ may all be one host's, but for the one that is for iptables")
    func together() throws {
        let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("conf")
        let faults = try Lint(pluginDirectories: [], looksAtHost: false).faults(at: directory.path)
        let texts = faults.map { fault in
            let file = URL(fileURLWithPath: fault.file).lastPathComponent
            return "\(fault.severity.rawValue) \(file): \(fault.path): \(fault.message)"
        }
        #expect(
            texts == [
                "warning iptables.conflist: plugins[1].backend: ports are mapped by iptables, those "
                    + "of network pods by nftables: which comes first for a port of both is not said"
            ])
    }

    @Test("a subnet that the host is in by another link is warned of")
    func hostSubnets() throws {
        var host = host(("eth0", 1500))
        host.links["eth0"]?.addresses = [try #require(IPPrefix("10.1.0.7/16"))]
        let plugin =
            #"{"type": "bridge", "bridge": "br0", "isGateway": true, "ipam": {"type": "host-local", "subnet": "10.1.2.0/24"}}"#
        #expect(
            try faults(among: [network("n", plugin)], on: host)
                == [
                    "warning plugins[0].ipam: 10.1.2.0/24 overlaps with 10.1.0.7/16 of the host's link "
                        + "eth0"
                ])
        host.links["br0"] = host.links["eth0"]
        host.links["eth0"] = nil
        #expect(try faults(among: [network("n", plugin)], on: host) == [])
    }

    @Test("ports of a bridge that only one of its networks isolates are named")
    func isolation() throws {
        #expect(
            try faults(among: [
                network("a", #"{"type": "bridge", "portIsolation": true}"#),
                network("b", #"{"type": "bridge"}"#),
            ]) == [
                "warning plugins[0].portIsolation: only one of this and network a on the bridge cni0 "
                    + "isolates its ports: the containers of both reach each other"
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
        #expect(messages[2] == "1400, but network a has none on the same bridge cni0")
        #expect(messages[3].hasPrefix("cni0 is also the gateway of network a, with another subnet"))
    }

    @Test("plugins that are not installed and files that others may write are found on the host")
    func host() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write(
            #"{"name": "n", "plugins": [{"type": "loopback"}, {"type": "mine", "anything": 1}, {"type": "shut"}, {"type": "brigde"}, {"type": "tuning"}]}"#,
            to: "n.conflist", mode: 0o666)
        let plugins = try TemporaryDirectory()
        try plugins.write("", to: "loopback", mode: 0o755)
        let shut = try plugins.write("", to: "shut", mode: 0o644)
        let faults = try Lint(pluginDirectories: [plugins.path]).faults(at: file)
            .filter { $0.severity == .error }
        #expect(
            faults.map(\.message) == [
                "mode 666: others than the owner may write it",
                "mine is not installed in \(plugins.path)",
                "\(shut), mode 644, may not be run",
                "brigde is not installed in \(plugins.path): did you mean \"bridge\"?",
                "tuning is not installed in \(plugins.path)",
            ])
    }

    @Test("limits in the configuration that keep those of a runtime from counting are warned of")
    func limits() throws {
        let bandwidth = { (keys: String) in
            #"{"type": "bandwidth", "capabilities": {"bandwidth": true}\#(keys)}"#
        }
        #expect(try faults(#"{"type": "bridge"}"#, bandwidth("")) == [])
        #expect(
            try faults(
                #"{"type": "bridge"}"#, bandwidth(#", "egressRate": 8000, "egressBurst": 8000"#))
                == [
                    "warning plugins[1].capabilities.bandwidth: what a runtime says does not count, "
                        + "as the limits of a pod's annotations: egressRate is given here"
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
            #expect(errors == [], "\(file)")
        }
    }
}
