import Glibc
import Testing

/// What every plugin that makes an interface owes, whatever kind of interface it makes.
@Suite("every interface plugin", .enabled(if: isRoot))
struct InterfacePluginTests {
    /// A plugin and the keys it needs beside a world's uplink.
    struct Case: Sendable, CustomTestStringConvertible {
        let plugin: String
        var keys: JSON = "{}"
        /// The reference's version that Debian has may lack the plugin.
        var peerHasIt = true
        /// Whether the interface is the uplink itself, which goes with the container's namespace as
        /// the test's kind of link does.
        var takesUplink = false
        /// Whether an uplink has room for one of them only.
        var isAlone = false
        var hasMTU = true
        /// Whether anything is at the other end.
        var isPluggedIn = true
        /// What it needs that not every kernel has.
        var feature: KernelFeature?
        var testDescription: String { plugin }
    }

    /// Those that this machine's kernel has the links for.
    static let all = cases.filter { $0.feature?.isPresent ?? true }

    private static let cases = [
        Case(plugin: "ptp"),
        Case(plugin: "macvlan", keys: #"{"master": "up0"}"#),
        Case(
            plugin: "host-device", keys: #"{"device": "up0"}"#, takesUplink: true, isAlone: true,
            hasMTU: false),
        Case(plugin: "tap", peerHasIt: false, isPluggedIn: false),
        Case(
            plugin: "dummy", peerHasIt: false, hasMTU: false, isPluggedIn: false, feature: .dummy),
        Case(plugin: "ipvlan", keys: #"{"master": "up0"}"#, feature: .ipvlan),
        Case(
            plugin: "vlan", keys: #"{"master": "up0", "vlanId": 100}"#, isAlone: true,
            isPluggedIn: false, feature: .vlan),
    ]

    /// Routes that the kernel refuses, last of all.
    static let unreachable: JSON = """
        {"ranges": [[{"subnet": "10.71.0.0/16", "rangeStart": "10.71.0.2"}]],
         "routes": [{"dst": "192.0.2.0/24", "gw": "198.51.100.1"}]}
        """

    let world: World
    let uplink: Uplink

    init() throws {
        world = try World()
        uplink = try Uplink(world)
    }

    private func network(_ item: Case, ipam: JSON? = BridgeTests.dualStack) -> Network {
        Network(plugin: item.plugin, item.keys, ipam: ipam, in: world)
    }

    @Test(
        "a container reaches its gateway in both families, and CHECK agrees",
        arguments: all.filter(\.isPluggedIn))
    func reach(item: Case) throws {
        let network = network(item)
        let container = try world.container()
        let result = try network.add(container)
        for address in result["ips"].array {
            let gateway = address["gateway"].string ?? "none"
            #expect(try container.reaches(gateway), "\(gateway)")
        }
        #expect(result["ips"].array.count == 2)
        #expect(try network.check(container) == nil)
    }

    @Test("the result's interfaces are as the kernel has them", arguments: all)
    func result(item: Case) throws {
        let container = try world.trustingContainer()
        let result = try network(item).add(container)
        let interfaces = result["interfaces"].array
        let own = try #require(interfaces.last)
        #expect(own["name"].string == "eth0")
        #expect(own["sandbox"].string == container.path)
        #expect(own["mac"].string == (try container.link("eth0"))["address"].string)
        for interface in interfaces.dropLast() {
            let link = try world.link(interface["name"].string ?? "")
            #expect(interface["mac"].string == link["address"].string)
            #expect(interface["sandbox"].isNull)
        }
        for address in result["ips"].array {
            #expect(address["interface"].number == interfaces.count - 1)
        }
    }

    @Test("DEL leaves the host and the container as they were, and does so twice", arguments: all)
    func delete(item: Case) throws {
        let network = network(item)
        let container = try world.trustingContainer()
        let inside = try Snapshot(of: container)
        if item.takesUplink { try uplink.replug(world) }
        try world.unchanged {
            try network.add(container)
            try network.del(container)
            try network.del(container, withResult: false)
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test(
        "DEL needs no namespace, and none that was there before",
        arguments: all.filter { !$0.takesUplink })
    func deleteWithoutNamespace(item: Case) throws {
        let network = network(item)
        try world.unchanged {
            let container = try world.trustingContainer()
            try network.add(container)
            try world.remove(container)
            try network.del(container, withResult: false)
            try network.del(
                World.Container(id: container.id, path: ""), withResult: false)
        }
    }

    @Test("an ADD that fails half-way leaves host and container as they were", arguments: all)
    func failedAdd(item: Case) throws {
        let network = network(item, ipam: Self.unreachable)
        let container = try world.trustingContainer()
        let inside = try Snapshot(of: container)
        if item.takesUplink { try uplink.replug(world) }
        try world.unchanged {
            let ended = try network.tryAdd(container)
            #expect(ended.status == 1)
            let message = ended.json["msg"].string ?? ""
            #expect(message.contains("192.0.2.0/24"), "\(message)")
            #expect(ended.json["details"].isNull)
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test("an ADD over an interface of that name is refused and touches nothing", arguments: all)
    func occupied(item: Case) throws {
        let network = network(item)
        let container = try world.trustingContainer()
        try container.output(of: "ip link add eth0 type veth peer name other")
        let inside = try Snapshot(of: container)
        try world.unchanged {
            let ended = try network.tryAdd(container)
            #expect(ended.json["msg"].string?.contains("File exists (17)") == true)
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test("CHECK names an address that is gone and a link that is down", arguments: all)
    func differences(item: Case) throws {
        let network = network(item)
        let container = try world.trustingContainer()
        try network.add(container)
        try container.output(of: "ip addr del 10.71.0.2/16 dev eth0")
        let message = try network.check(container) ?? ""
        #expect(message.contains("address 10.71.0.2/16 on eth0"), "\(message)")
        try container.output(of: "ip link set eth0 down")
        #expect(try network.check(container)?.contains("link eth0: wanted up") == true)
    }

    @Test("GC gives back what no valid attachment has", arguments: all.filter { !$0.isAlone })
    func collect(item: Case) throws {
        let network = Network(plugin: item.plugin, item.keys, version: "1.1.0", in: world)
        let (kept, lost) = (try world.trustingContainer(), try world.trustingContainer())
        try network.add(kept)
        try world.unchanged {
            try network.add(lost)
            try world.remove(lost)
            try network.gc(keeping: [(kept, "eth0")])
        }
        #expect(try network.check(kept) == nil)
    }

    @Test("routes get their MTU, and name servers of IPAM stay", arguments: all)
    func nothingDropped(item: Case) throws {
        let ipam: JSON = """
            {"type": "static", "addresses": [{"address": "10.71.0.9/16", "gateway": "10.71.0.1"}],
             "routes": [{"dst": "0.0.0.0/0", "mtu": 1400, "advmss": 1300}],
             "dns": {"nameservers": ["10.71.0.53"]}}
            """
        let network = Network(
            plugin: item.plugin, item.keys, ipam: ipam, version: "1.1.0", in: world)
        let container = try world.trustingContainer()
        let result = try network.add(container)
        #expect(result["dns"]["nameservers"][0].string == "10.71.0.53")
        let route = try container.output(of: "ip route show default")
        #expect(route.contains("mtu 1400") && route.contains("advmss 1300"), "\(route)")
        #expect(try network.check(container) == nil)
    }

    @Test("the MTU is the configuration's", arguments: all.filter(\.hasMTU))
    func mtu(item: Case) throws {
        let keys = item.keys.merging(#"{"mtu": 1400}"#)
        let network = Network(plugin: item.plugin, keys, in: world)
        let container = try world.trustingContainer()
        try network.add(container)
        #expect(try container.link("eth0")["mtu"].number == 1400)
        #expect(try network.check(container) == nil)
    }
}
