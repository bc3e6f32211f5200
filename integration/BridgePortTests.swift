import Glibc
import Testing

@Suite("bridge: the keys of the interface and its port", .enabled(if: isRoot))
struct BridgePortTests {
    let world: World

    init() throws { world = try World() }

    /// The host's end of an attachment, as `ip -d` tells it.
    private func port(_ result: JSON) throws -> JSON {
        try world.ip("link show \(result["interfaces"][1]["name"].string ?? "")")[0]
    }

    @Test("a port has no address of its own")
    func noAddress() throws {
        let network = Network(ipam: BridgeTests.dualStack, in: world)
        let result = try network.add(try world.container())
        let port = try #require(result["interfaces"][1]["name"].string)
        let found = try world.ip("addr show dev \(port)")[0]
        #expect(found["ifname"].string == port && found["operstate"].string == "UP")
        #expect(found["addr_info"].array.isEmpty)
    }

    @Test("ADD waits for the port of a bridge with a spanning tree, which takes four seconds")
    func spanningTree() throws {
        try world.onHost("ip link add cni0 up type bridge stp_state 1 forward_delay 200")
        let container = try world.container()
        let result = try Network(in: world).add(container)
        #expect(try port(result)["linkinfo"]["info_slave_data"]["state"].string == "forwarding")
        #expect(try container.run("ping -c 1 -W 10 10.71.0.1").succeeded)
    }

    @Test("a bridge is found by its alternative name, and listed by its own")
    func alternativeName() throws {
        try world.onHost("ip link add cni-own type bridge")
        try world.onHost("ip link property add dev cni-own altname cni-other")
        let network = Network(bridge: #"{"bridge": "cni-other"}"#, in: world)
        let container = try world.container()
        let result = try network.add(container)
        #expect(result["interfaces"].array.map { $0["name"].string }.first == "cni-own")
        #expect(result["interfaces"].array.count == 3)
        #expect(try container.reaches("10.71.0.1"))
        #expect(try network.check(container) == nil)
        try network.del(container)
    }

    @Test("mtu is that of both ends")
    func mtu() throws {
        let network = Network(bridge: #"{"mtu": 1400}"#, in: world)
        let container = try world.container()
        let result = try network.add(container)
        #expect(try port(result)["mtu"].number == 1400)
        #expect(try container.ip("link show eth0")[0]["mtu"].number == 1400)
        #expect(try network.check(container) == nil)
    }

    @Test("with an mtu of 9000, packets of 9000 bytes reach gateway, neighbour and network")
    func jumbo() throws {
        let outside = try Outside(world)
        try outside.addRoutes()
        try world.onHost("ip link set up0 mtu 9000")
        try outside.machine.output(of: "ip link set wire0 mtu 9000")
        let network = Network(
            dualStack: #"{"mtu": 9000}"#,
            then: #"""
                {"type": "bandwidth", "egressRate": 1000000000, "egressBurst": 100000000,
                 "ingressRate": 1000000000, "ingressBurst": 100000000}
                """#, in: world)
        let (first, second) = (try world.container(), try world.container())
        let result = try network.add(first)
        try network.add(second)
        #expect(try port(result)["mtu"].number == 9000)
        // The kernel asks for no neighbour on behalf of others while its own address is tentative.
        try world.waitForAddresses()
        for (address, header) in [
            ("10.71.0.1", 28), ("10.71.0.3", 28), (Outside.address, 28), ("fd00:71::1", 48),
            ("fd00:71::3", 48), (Outside.address6, 48),
        ] {
            #expect(
                try first.run("ping -c 1 -W 10 -M do -s \(9000 - header) \(address)").succeeded,
                "\(address)")
        }
        #expect(
            try !first.run("ping -c 1 -W 1 -M do -s 8973 \(Outside.address)").succeeded)
    }

    @Test("hairpinMode lets a container reach itself by the bridge")
    func hairpin() throws {
        let network = Network(bridge: #"{"hairpinMode": true}"#, in: world)
        let result = try network.add(try world.container())
        #expect(try port(result)["linkinfo"]["info_slave_data"]["hairpin"].bool == true)
        let plain = try Network(in: world).add(try world.container())
        #expect(try port(plain)["linkinfo"]["info_slave_data"]["hairpin"].bool == false)
    }

    @Test("with hairpinMode a packet to its own host port comes to the container once")
    func onceByHairpin() throws {
        let network = Network(
            dualStack: #"{"hairpinMode": true}"#,
            then: #"""
                {"type": "portmap", "runtimeConfig": {"portMappings": [
                    {"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]}}
                """#, in: world)
        let container = try world.container()
        try network.add(container)
        // One that listens, too, to what is sent to everybody.
        try network.add(try world.container())
        try container.output(of: "nft add table inet watch")
        try container.output(
            of: "nft add chain inet watch in { type filter hook prerouting priority raw; }")
        try container.output(of: "nft add counter inet watch seen")
        try container.output(of: "nft add rule inet watch in udp dport 53 counter name seen")
        let server = try Socket.server(.udp, port: 53, in: container.path)
        let client = try Socket.client(.udp, to: "10.71.0.1", port: 5353, in: container.path)
        #expect(client != nil)
        #expect(server.peer() != nil)
        usleep(100_000)
        #expect(
            try container.output(of: "nft list counter inet watch seen").contains("packets 1 "))
    }

    @Test("promiscMode makes the bridge take every packet")
    func promiscuous() throws {
        let network = Network(bridge: #"{"promiscMode": true}"#, in: world)
        let container = try world.container()
        try network.add(container)
        #expect(try world.ip("link show cni0")[0]["promiscuity"].number == 1)
        #expect(try world.onHost("ip link show cni0").contains("PROMISC"))
        #expect(try network.check(container) == nil)
    }

    @Test("isolated containers reach their gateway and not one another")
    func isolated() throws {
        let network = Network(bridge: #"{"portIsolation": true}"#, in: world)
        let (first, second) = (try world.container(), try world.container())
        try network.add(first)
        try network.add(second)
        #expect(try second.reaches("10.71.0.1"))
        #expect(try !second.run("ping -c 1 -W 1 10.71.0.2").succeeded)
    }

    @Test("disableContainerInterface leaves the interface down and without addresses")
    func down() throws {
        let network = Network(
            bridge: #"{"disableContainerInterface": true, "ipam": {}}"#, in: world)
        let container = try world.container()
        let result = try network.add(container)
        #expect(result["ips"].array.isEmpty)
        #expect(try container.ip("link show eth0")[0]["flags"].array.contains(#""UP""#) == false)
        #expect(try container.output(of: "ip -6 addr show dev eth0") == "")
        #expect(try network.check(container) == nil)
        try network.del(container)
    }

    @Test("without IPAM there is an interface that is up and has no address")
    func layerTwo() throws {
        let network = Network(bridge: #"{"ipam": {}, "isGateway": false}"#, in: world)
        let container = try world.container()
        let result = try network.add(container)
        #expect(result["interfaces"].array.count == 3)
        #expect(try container.ip("link show eth0")[0]["flags"].array.contains(#""UP""#))
        #expect(try container.output(of: "ip -4 addr show dev eth0") == "")
        try network.del(container)
    }

    @Test("runtimeConfig.mac comes before args.cni.mac, and that before CNI_ARGS")
    func macs() throws {
        let network = Network(in: world)
        let mac = { (keys: JSON) in
            let container = try world.container()
            try network.add(
                container, arguments: "IgnoreUnknown=1;K8S_POD_NAME=x;MAC=02:00:00:00:00:01",
                with: keys)
            return try container.ip("link show eth0")[0]["address"].string
        }
        #expect(try mac("{}") == "02:00:00:00:00:01")
        #expect(try mac(#"{"args": {"cni": {"mac": "02:00:00:00:00:02"}}}"#) == "02:00:00:00:00:02")
        #expect(
            try mac(
                """
                {"args": {"cni": {"mac": "02:00:00:00:00:02"}},
                 "RuntimeConfig": {"mac": "02:00:00:00:00:03"}}
                """) == "02:00:00:00:00:03")
    }

    /// What is broken behind the plugin's back, where, and what CHECK then names.
    static let damage: [(String, inContainer: Bool, String)] = [
        ("ip addr del 10.71.0.2/16 dev eth0", true, "address 10.71.0.2/16"),
        ("ip addr del fd00:71::2/64 dev eth0", true, "address fd00:71::2/64"),
        ("ip route del default", true, "route 0.0.0.0/0"),
        ("ip link set eth0 down", true, "eth0"),
        ("ip link set eth0 address 02:00:00:00:00:09", true, "02:00:00:00:00:09"),
        ("ip link del eth0", true, "eth0"),
        ("ip link set PORT nomaster", false, "master"),
        ("ip link set PORT down", false, "PORT"),
        ("ip link set PORT type bridge_slave hairpin off", false, "hairpin"),
        ("ip link set PORT mtu 1280", false, "mtu"),
        ("ip addr del 10.71.0.1/16 dev cni0", false, "10.71.0.1/16"),
        ("ip link set cni0 down", false, "cni0"),
        ("sysctl -qw net.ipv4.ip_forward=0", false, "ip_forward"),
    ]

    @Test("CHECK names what was changed behind its back", arguments: damage)
    func check(damage: String, inContainer: Bool, named: String) throws {
        let network = Network(
            bridge: #"{"hairpinMode": true, "mtu": 1400}"#, ipam: BridgeTests.dualStack, in: world)
        let container = try world.container()
        let result = try network.add(container)
        #expect(try network.check(container) == nil)

        let port = result["interfaces"][1]["name"].string ?? ""
        let words = damage.replacing("PORT", with: port)
        if inContainer { try container.output(of: words) } else { try world.onHost(words) }
        let message = try network.check(container)
        #expect(message?.contains(named.replacing("PORT", with: port)) == true, "\(message ?? "")")
        try network.del(container)
    }
}
