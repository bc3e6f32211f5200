import Testing

@Suite("vrf", .enabled(if: isRoot && KernelFeature.vrf.isPresent))
struct VRFTests {
    let world: World

    init() throws { world = try World() }

    /// The chain of conf/vrf.conflist, with keys for the vrf plugin.
    private func network(_ keys: JSON = "{}") -> Network {
        var bridge: JSON = #"{"type": "bridge", "bridge": "cni-vrf", "isDefaultGateway": true}"#
        var allocation: JSON = #"{"type": "host-local"}"#
        allocation["dataDir"] = JSON(world.directory)
        bridge["ipam"] = allocation.merging(BridgeTests.dualStack)
        let vrf = (#"{"type": "vrf", "vrfname": "red"}"# as JSON).merging(keys)
        var list: JSON = #"{"name": "web", "cniVersion": "1.0.0"}"#
        list["plugins"] = JSON([bridge.value, vrf.value])
        return Network(list, in: world)
    }

    /// The VRFs of a container with their tables: `red 1, blue 2`.
    private func vrfs(_ container: World.Container) throws -> String {
        try container.ip("link show type vrf").array
            .filter { !$0["ifname"].isNull }
            .map { "\($0["ifname"].string ?? "") \($0["linkinfo"]["info_data"]["table"])" }
            .joined(separator: ", ")
    }

    private func master(_ container: World.Container, _ link: String = "eth0") throws -> String? {
        try container.link(link)["master"].string
    }

    @Test("the interface and its routes are the VRF's, its addresses stay, and CHECK agrees")
    func member() throws {
        let container = try world.container()
        let network = network()
        let result = try network.add(container)
        #expect(result["ips"][0]["address"].string == "10.71.0.2/16")
        #expect(try vrfs(container) == "red 1")
        #expect(try master(container) == "red")
        #expect(try container.output(of: "ip addr show eth0").contains("inet6 fd00:71::2/64"))
        for (family, gateway) in [("-4", "10.71.0.1"), ("-6", "fd00:71::1")] {
            let routes = try container.output(of: "ip \(family) route show vrf red")
            #expect(routes.contains("default via \(gateway)"), "\(routes)")
            #expect(try container.run("ping -c 1 -W 10 -I red \(gateway)").succeeded)
        }
        let difference = try network.check(container)
        #expect(difference == nil, "\(difference ?? "")")
        try container.output(of: "ip link set eth0 nomaster")
        let check = try world.call(
            "vrf", "CHECK", network.configuration(network.plugins[1], previous: result), container)
        #expect(
            check.json["msg"].string
                == "Failed to find eth0 associated to vrf red: VRF of eth0: wanted red, found none")
    }

    @Test("DEL takes the interface out and gives its routes back; the last one takes the VRF away")
    func leave() throws {
        let container = try world.container()
        let network = network()
        let vrf = network.plugins[1]
        try network.add(container)
        // A second default route would be in the way of the first.
        try container.output(of: "ip route del default vrf red")
        try container.output(of: "ip -6 route del default vrf red")
        try network.add(container, interface: "net1")
        #expect(try vrfs(container) == "red 1")
        #expect(try master(container, "net1") == "red")

        let call = { (interface: String, namespace: String) in
            try world.call(
                "vrf", "DEL", network.configuration(vrf),
                World.Container(id: container.id, path: namespace), interface: interface)
        }
        #expect(try call("eth0", container.path).succeeded)
        #expect(try master(container) == nil)
        #expect(try vrfs(container) == "red 1")
        #expect(try call("net1", container.path).succeeded)
        #expect(try vrfs(container) == "")
        #expect(
            try container.output(of: "ip route show default").contains("via 10.71.0.1 dev net1"))
        #expect(try call("net1", container.path).succeeded)
        #expect(try call("net1", "").succeeded)
    }

    @Test("routes on the interface itself move along, and so do those by the gateways behind them")
    func routed() throws {
        let ipam: JSON = """
            {"ranges": [[{"subnet": "10.71.0.0/16"}], [{"subnet": "fd00:71::/64"}]],
             "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}, {"dst": "::/0"}]}
            """
        let ptp = Network(plugin: "ptp", ipam: ipam, in: world).plugins[0]
        var list: JSON = #"{"name": "web", "cniVersion": "1.1.0"}"#
        list["plugins"] = JSON([ptp.value, ["type": "vrf", "vrfname": "red"]])
        let network = Network(list, in: world)
        let container = try world.container()
        try network.add(container)
        let routes = try container.output(of: "ip route show vrf red")
        for route in [
            "default via 10.71.0.1", "mtu 1400", "10.71.0.0/16 via 10.71.0.1",
            "10.71.0.1 dev eth0 scope link src 10.71.0.2",
        ] {
            #expect(routes.contains(route), "\(routes)")
        }
        let routes6 = try container.output(of: "ip -6 route show vrf red")
        #expect(routes6.contains("default via fd00:71::1"), "\(routes6)")
        for address in ["10.71.0.1", "fd00:71::1"] {
            #expect(try container.run("ping -c 1 -W 10 -I red \(address)").succeeded, "\(address)")
        }
        let difference = try network.check(container)
        #expect(difference == nil, "\(difference ?? "")")
        let vrf = try world.call(
            "vrf", "DEL", network.configuration(network.plugins[1]), container)
        #expect(vrf.succeeded, "\(vrf.output)")
        #expect(try container.output(of: "ip route").contains("default via 10.71.0.1"))
        #expect(try container.reaches("fd00:71::1"))
        try network.del(container)
    }

    @Test("a route over two gateways stays one")
    func severalGateways() throws {
        let ipam: JSON = """
            {"subnet": "fd00:71::/64", "routes": [
                {"dst": "fd00:99::/64", "gw": "fd00:71::8"}, {"dst": "fd00:99::/64", "gw": "fd00:71::9"}]}
            """
        let dummy = Network(plugin: "dummy", ipam: ipam, in: world).plugins[0]
        var list: JSON = #"{"name": "web", "cniVersion": "1.0.0"}"#
        list["plugins"] = JSON([dummy.value, ["type": "vrf", "vrfname": "red"]])
        let container = try world.trustingContainer()
        try Network(list, in: world).add(container)
        let routes = try container.output(of: "ip -6 route show vrf red")
        #expect(routes.contains("via fd00:71::8") && routes.contains("via fd00:71::9"), "\(routes)")
    }

    @Test("DEL of the whole chain leaves the container as it was")
    func delete() throws {
        let container = try world.container()
        let inside = try Snapshot(of: container)
        let network = network()
        try network.add(try world.container())
        try world.unchanged {
            try network.add(container)
            try network.del(container)
        }
        // The kernel's rule for VRFs comes with the first one and stays, as a second depends on it.
        let left = try Snapshot(of: container).difference(from: inside)
            .split(separator: "\n").filter { !$0.contains("l3mdev") }
        #expect(left == [])
    }

    @Test("the table is the configuration's, and one VRF has one")
    func table() throws {
        let container = try world.container()
        try network(#"{"table": 1001}"#).add(container)
        #expect(try vrfs(container) == "red 1001")
        let ended = try network(#"{"table": 77}"#).tryAdd(container, interface: "net1")
        #expect(
            ended.json["msg"].string?
                .contains("VRF red already exist with different routing table 1001") == true)
    }

    @Test(
        "what cannot be is refused, and leaves no VRF behind",
        arguments: [
            (#"{"vrfname": "blue"}"#, "interface eth0 has already a master set: red"),
            (#"{"vrfname": "lo"}"#, "Netlink lo is not a VRF"),
            (#"{"vrfname": ""}"#, "configuration is expected to have a valid vrf name"),
            (#"{"table": -1}"#, "table: not a routing table: -1"),
        ])
    func refused(keys: String, wanted: String) throws {
        let container = try world.container()
        let network = network()
        let result = try network.add(container)
        let ended = try world.call(
            "vrf", "ADD",
            network.configuration(network.plugins[1], previous: result, with: JSON(text: keys)),
            container)
        #expect(ended.json["msg"].string?.contains(wanted) == true, "\(ended.output)")
        #expect(try vrfs(container) == "red 1")
    }
}
