import Testing

/// A macvlan, ipvlan or vlan has no end on the host: what it sends and receives is held back in the
/// container.
@Suite("bandwidth: behind plugins without an end on the host", .enabled(if: isRoot))
struct ContainerEndTests {
    let world: World
    let uplink: Uplink

    init() throws {
        world = try World()
        uplink = try Uplink(
            world, gateways: ["10.71.0.1/16", "10.71.0.9/32", "fd00:71::1/64"])
    }

    private func network(_ keys: JSON, behind kind: String = "macvlan") -> Network {
        var list: JSON = #"{"name": "web", "cniVersion": "1.1.0"}"#
        var link: JSON = #"{"master": "up0"}"#
        if kind == "vlan" { link["vlanId"] = "100" }
        let first = Network(plugin: kind, link, version: "1.1.0", in: world)
        let second = (#"{"type": "bandwidth"}"# as JSON).merging(keys)
        list["plugins"] = JSON([first.plugins[0].value, second.value])
        return Network(list, in: world)
    }

    private func rate(from: String, to: String, _ address: String, _ port: Int = 5001) throws
        -> Double
    {
        try Flow(from: from, to: to, address: address, port: port, seconds: 1.5).rate()
    }

    /// The kinds of links that this kernel has.
    private static let kinds =
        ["macvlan"] + (KernelFeature.ipvlan.isPresent ? ["ipvlan"] : [])
        + (KernelFeature.vlan.isPresent ? ["vlan"] : [])

    /// Moves the neighbour's addresses into the VLAN of the network.
    private func tagNeighbour() throws {
        for words in [
            "ip link add link up1 name up1.100 type vlan id 100", "ip addr flush dev up1",
            "ip addr add 10.71.0.1/16 dev up1.100", "ip addr add 10.71.0.9/32 dev up1.100",
            "ip link set up1.100 up",
        ] {
            try uplink.neighbour.output(of: words)
        }
    }

    @Test(
        "limits hold in both directions, and DEL leaves the container as it was", arguments: kinds)
    func limits(kind: String) throws {
        if kind == "vlan" { try tagNeighbour() }
        let network = network(BandwidthTests.caps, behind: kind)
        let container = try world.container()
        try network.add(container)
        #expect(try network.check(container) == nil)
        let sent = try rate(from: container.path, to: uplink.neighbour.path, "10.71.0.1")
        #expect(carried(6...11).contains(sent), "\(sent) Mbit/s of 10")
        let received = try rate(from: uplink.neighbour.path, to: container.path, "10.71.0.2")
        #expect(carried(12...22).contains(received), "\(received) Mbit/s of 20")
        let before = try Snapshot(of: try world.container())
        try network.del(container)
        let after = try Snapshot(of: container)
        #expect(after.difference(from: before) == "")
        try network.del(container)
    }

    @Test("classes and subnets are kept there", arguments: kinds)
    func classes(kind: String) throws {
        if kind == "vlan" { try tagNeighbour() }
        let network = network(
            """
            {"unshapedSubnets": ["10.71.0.9/32"], "shaping": {
                "egress": {"rate": 20000000}, "ingress": {"rate": 20000000},
                "classes": [{"name": "slow", "ports": [5002], "egress": {"ceil": 4000000},
                    "ingress": {}}]}}
            """, behind: kind)
        let container = try world.container()
        try network.add(container)
        #expect(try network.check(container) == nil)
        for (address, port, expected) in [
            ("10.71.0.1", 5001, 10...22), ("10.71.0.1", 5002, 2...4.5),
            ("10.71.0.9", 5001, 40...100_000),
        ] {
            let got = try rate(from: container.path, to: uplink.neighbour.path, address, port)
            #expect(carried(expected).contains(got), "\(got) Mbit/s to \(address) \(port)")
        }
        let got = try rate(from: uplink.neighbour.path, to: container.path, "10.71.0.2")
        #expect(carried(10...22).contains(got), "\(got) Mbit/s")
        try network.del(container)
    }

    @Test("what is about other containers cannot be kept there, and is refused or left out")
    func shared() throws {
        let keys = #""linkRate": 100000000, "egress": {"rate": 5000000, "ceil": 10000000}"#
        let refused = try network("{\"shaping\": {\(keys)}}").tryAdd(try world.container())
        #expect(refused.json["code"].number == 7)
        #expect(
            refused.json["msg"].string
                == "shaping.linkRate, shaping.egress.rate: cannot be kept, because the interface has "
                + "no end on the host")
        let container = try world.container()
        let network = network("{\"shaping\": {\(keys), \"onMissing\": \"degrade\"}}")
        let ended = try network.tryAdd(container)
        #expect(ended.succeeded, "\(ended.output)")
        #expect(ended.errors.contains("not kept, because the interface has no end"))
        #expect(
            try container.output(of: "tc class show dev eth0").contains("rate 10Mbit ceil 10Mbit"))
        #expect(try network.check(container) == nil)
        try network.del(container)
    }

    @Test("a failed ADD leaves the container as it was")
    func rollBack() throws {
        let network = network(
            BandwidthTests.caps.merging(#"{"unshapedSubnets": ["10.72.0.0/16"]}"#))
        let container = try world.container()
        let plain = Network(plugin: "macvlan", #"{"master": "up0"}"#, version: "1.1.0", in: world)
        let result = try plain.add(container)
        try container.output(of: "ip link add shp-i type bridge")
        let before = try Snapshot(of: container)
        let ended = try world.call(
            "bandwidth", "ADD", network.configuration(network.plugins[1], previous: result),
            container)
        #expect(ended.json["msg"].string?.contains("shp-i") == true, "\(ended.output)")
        let after = try Snapshot(of: container)
        #expect(after.difference(from: before) == "")
    }

    @Test(
        "a second ADD without a direction lifts its limit, and DEL leaves the container as it was")
    func oneDirection() throws {
        let keys: [JSON] = [
            #"{"egressRate": 90000000, "egressBurst": 900000}"#,
            #"{"ingressRate": 90000000, "ingressBurst": 900000}"#,
        ]
        let both = network(keys[0].merging(keys[1]))
        let container = try world.container()
        let result = try both.add(container)
        let call = { (verb: String, keys: JSON) in
            var given: JSON = #"{"cniVersion": "1.1.0", "name": "web", "type": "bandwidth"}"#
            given["prevResult"] = result
            return try world.call("bandwidth", verb, given.merging(keys), container)
        }
        let trees = {
            try container.output(of: "tc class show dev eth0").isEmpty
                ? ""
                : "egress "
                    + (container.output(of: "nft list ruleset").contains("eth0\" counter")
                        ? "ingress" : "")
        }
        #expect(try call("ADD", keys[0]).succeeded)
        #expect(try trees() == "egress ")
        #expect(try container.link("shp-i").isNull)
        #expect(try call("ADD", keys[1]).succeeded)
        #expect(try trees() == "")
        #expect(try !container.link("shp-i").isNull)
        #expect(try call("CHECK", keys[1]).succeeded)
        #expect(try call("DEL", keys[1]).succeeded)
        #expect(try container.output(of: "nft list ruleset") == "")
        #expect(try container.link("shp-i").isNull)
    }

    @Test("two interfaces of a container cannot have one class of what they receive")
    func oneNumber() throws {
        let keys: JSON = #"{"shaping": {"classId": "1:20", "ingress": {"rate": 9000000}}}"#
        let network = network(keys)
        let container = try world.container()
        let result = try network.add(container)
        let before = try container.output(of: "tc class show dev shp-i")
        #expect(throws: (any Error).self) { try network.add(container, interface: "eth1") }
        #expect(try container.output(of: "tc class show dev shp-i") == before)
        var given: JSON = #"{"cniVersion": "1.1.0", "name": "web", "type": "bandwidth"}"#
        given["prevResult"] = result
        #expect(try world.call("bandwidth", "CHECK", given.merging(keys), container).succeeded)
    }
}
