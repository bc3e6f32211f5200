import Testing

@Suite("ipvlan", .enabled(if: isRoot && KernelFeature.ipvlan.isPresent))
struct IPVLANTests {
    let world: World
    let uplink: Uplink

    init() throws {
        world = try World()
        uplink = try Uplink(world)
    }

    private func network(
        _ keys: JSON = "{}", ipam: JSON? = BridgeTests.dualStack, name: String = "web"
    ) -> Network {
        let standard: JSON = #"{"master": "up0"}"#
        return Network(plugin: "ipvlan", standard.merging(keys), ipam: ipam, name: name, in: world)
    }

    @Test(
        "containers of a mode reach each other in both families; CHECK compares the mode",
        arguments: ["l2", "l3", "l3s"])
    func mode(mode: String) throws {
        var keys: JSON = "{}"
        keys["mode"] = JSON(mode)
        let network = network(keys)
        let (first, second) = (try world.trustingContainer(), try world.trustingContainer())
        try network.add(first)
        try network.add(second)
        let link = try first.link("eth0")
        #expect(link["linkinfo"]["info_data"]["mode"].string == mode)
        #expect(link["address"].string == (try world.link("up0"))["address"].string)
        #expect(try second.reaches("10.71.0.2"))
        #expect(try second.reaches("fd00:71::2"))
        #expect(try network.check(first) == nil)
        guard mode == "l2" else { return }
        #expect(try second.reaches("10.71.0.1"))
        #expect(try second.reaches("fd00:71::1"))
        try first.output(of: "ip link set eth0 type ipvlan mode l3")
        #expect(try network.check(first) == "link eth0: mode: wanted l2, found l3")
    }

    @Test("without a master it is the link of the default route; DEL needs neither")
    func defaultMaster() throws {
        let network = Network(plugin: "ipvlan", in: world)
        let container = try world.trustingContainer()
        let refused = try network.tryAdd(container)
        #expect(refused.json["msg"].string?.contains("no default route interface found") == true)
        try world.onHost("ip addr add 10.71.255.1/16 dev up0")
        try world.onHost("ip route add default via 10.71.0.1")
        try network.add(container)
        try world.onHost("ip route del default")
        try world.onHost("ip addr flush dev up0 scope global")
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try container.link("eth0").isNull)
    }

    @Test("an address that the neighbour has is a failure, and nothing is left")
    func duplicate() throws {
        try uplink.neighbour.output(of: "ip addr add fd00:71::2/64 dev up1 nodad")
        let container = try world.container()
        try world.unchanged {
            let ended = try network().tryAdd(container)
            #expect(
                ended.json["msg"].string?.contains("somebody else has it") == true,
                "\(ended.output)")
        }
        #expect(try container.link("eth0").isNull)
    }

    /// What a plugin before this one in the chain has answered.
    private func chained(_ interfaces: String) -> JSON {
        """
        {"prevResult": {"cniVersion": "1.0.0", "interfaces": [\(interfaces)],
            "ips": [{"address": "10.71.0.77/16", "gateway": "10.71.0.1", "interface": 0}]}}
        """
    }

    @Test("in a chain it stands on the interface before it, and has that one's address")
    func chain() throws {
        let network = Network(plugin: "ipvlan", ipam: nil, in: world)
        let container = try world.trustingContainer()
        let result = try network.add(container, with: chained(#"{"name": "up0"}"#))
        #expect(result["ips"][0]["address"].string == "10.71.0.77/16")
        #expect(result["interfaces"].array.count == 1)
        #expect(try container.link("eth0")["link_index"].number != nil)
        #expect(try container.reaches("10.71.0.1"))
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try container.link("eth0").isNull)
    }

    @Test("in a chain with two interfaces before it, it is refused")
    func ambiguous() throws {
        let network = Network(plugin: "ipvlan", ipam: nil, in: world)
        let ended = try network.tryAdd(
            try world.container(), with: chained(#"{"name": "a"}, {"name": "b"}"#))
        #expect(ended.json["msg"].string?.contains("chained master failure") == true)
    }

    @Test("a master in the container is found there")
    func inContainer() throws {
        let container = try world.trustingContainer()
        try container.output(of: "ip link add inner type veth peer name outer")
        try container.output(of: "ip link set inner up")
        try container.output(of: "ip link set outer up")
        let inside = try Snapshot(of: container)
        let network = network(#"{"master": "inner", "linkInContainer": true}"#)
        try network.add(container)
        #expect(try container.link("eth0")["link"].string == "inner")
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }
}
