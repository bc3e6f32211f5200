import Testing

@Suite("vlan", .enabled(if: isRoot && KernelFeature.vlan.isPresent))
struct VLANTests {
    let world: World
    let uplink: Uplink

    /// The gateways are the neighbour's, in VLAN 100 of the cable.
    init() throws {
        world = try World()
        uplink = try Uplink(world, vlan: 100)
    }

    private func network(_ keys: JSON = "{}", name: String = "web") -> Network {
        let standard: JSON = #"{"master": "up0", "vlanId": 100}"#
        return Network(plugin: "vlan", standard.merging(keys), name: name, in: world)
    }

    @Test("a container reaches its VLAN in both families, and one of another VLAN does not")
    func reach() throws {
        let (container, other) = (try world.container(), try world.trustingContainer())
        try network().add(container)
        #expect(try container.link("eth0")["linkinfo"]["info_data"]["id"].number == 100)
        #expect(try container.reaches("10.71.0.1"))
        #expect(try container.reaches("fd00:71::1"))
        try network(#"{"vlanId": 101}"#, name: "other").add(other)
        #expect(try !other.reaches("10.71.0.1", within: 2))
        #expect(
            try network().tryAdd(try world.container()).json["msg"].string?
                .contains("File exists (17)") == true)
    }

    @Test(
        "bad keys are refused by their names",
        arguments: [
            (#"{"master": ""}"#, #"master: "master" field is required"#),
            (#"{"vlanId": 4095}"#, "vlanId: invalid VLAN ID 4095"),
            (#"{"vlanId": -1}"#, "vlanId: invalid VLAN ID -1"),
            (#"{"mtu": 1501}"#, "invalid MTU 1501, must be [0, master MTU(1500)]"),
            (#"{"master": "none0"}"#, "find master none0: No such device (19)"),
        ])
    func refused(keys: String, wanted: String) throws {
        let container = try world.trustingContainer()
        try world.unchanged {
            let ended = try network(JSON(text: keys)).tryAdd(container)
            #expect(ended.json["msg"].string?.contains(wanted) == true, "\(ended.output)")
        }
        #expect(try container.link("eth0").isNull)
    }

    @Test("DEL does not need the master")
    func deleteWithoutMaster() throws {
        let container = try world.trustingContainer()
        try network(#"{"mtu": 1400}"#).add(container)
        try world.onHost("ip link set up0 down")
        try world.onHost("ip link set up0 name away")
        try network().del(container)
        #expect(try container.link("eth0").isNull)
    }

    @Test("a master in the container is found there")
    func inContainer() throws {
        let container = try world.trustingContainer()
        try container.output(of: "ip link add inner type veth peer name outer")
        try container.output(of: "ip link set inner up")
        try container.output(of: "ip link set outer up")
        let inside = try Snapshot(of: container)
        let network = network(#"{"master": "inner", "vlanId": 7, "linkInContainer": true}"#)
        try network.add(container)
        #expect(try container.link("eth0")["link"].string == "inner")
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test("VLAN 0 is the priority tag's, and allowed")
    func priority() throws {
        let container = try world.trustingContainer()
        let network = network(#"{"vlanId": 0}"#)
        try network.add(container)
        #expect(try container.link("eth0")["linkinfo"]["info_data"]["id"].number == 0)
        #expect(try network.check(container) == nil)
        try network.del(container)
    }
}
