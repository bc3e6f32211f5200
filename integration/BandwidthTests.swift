import Testing

@Suite("bandwidth: what it makes and takes away", .enabled(if: isRoot))
struct BandwidthTests {
    let world: World

    init() throws { world = try World() }

    /// A bridge network whose second plugin is bandwidth with these keys.
    static func network(
        _ keys: JSON, ipam: JSON = #"{"subnet": "10.71.0.0/16"}"#, name: String = "web",
        in world: World
    ) -> Network {
        let bridge = Network(ipam: ipam, name: name, version: "1.1.0", in: world)
        var plugin: JSON = #"{"type": "bandwidth"}"#
        plugin = plugin.merging(keys)
        var list: JSON = "{}"
        list["name"] = JSON(name)
        list["cniVersion"] = "\"1.1.0\""
        list["plugins"] = JSON([bridge.plugins[0].value, plugin.value])
        return Network(list, in: world)
    }

    static let caps: JSON = """
        {"ingressRate": 20000000, "ingressBurst": 2147483647,
         "egressRate": 10000000, "egressBurst": 2147483647}
        """
    static let fast: JSON = #"{"egressRate": 700000000, "egressBurst": 800000}"#
    static let shares: JSON = """
        {"shaping": {"linkRate": 50000000,
            "egress": {"rate": 10000000, "ceil": 50000000, "priority": 1, "queueMs": 50},
            "ingress": {"rate": 5000000, "ceil": 50000000}}}
        """

    @discardableResult
    private func tc(_ words: String) throws -> String { try world.onHost("tc " + words) }

    private func port(_ result: JSON) -> String { result["interfaces"][1]["name"].string ?? "" }

    /// The numbers of containers' classes on a link.
    private func classes(on link: String) throws -> [String] {
        try world.onHostIfThere("tc class show dev \(link)").split(separator: "\n")
            .filter { $0.hasPrefix("class htb") }.map { String($0.split(separator: " ")[2]) }
            .filter { $0 != "1:1" && $0 != "1:fffe" }
    }

    @Test(
        "a class that cannot be removed keeps its name, by which the next DEL or GC removes it",
        arguments: ["DEL", "GC"])
    func keepsName(verb: String) throws {
        let network = Self.network(Self.shares, in: world)
        let container = try world.container()
        try network.add(container)
        let id = try #require(try classes(on: "shp-e").first)
        let names = { try self.world.onHostIfThere("nft list set netdev shaper classes") }
        let remove = {
            let valid: JSON = #"{"cni.dev/valid-attachments": []}"#
            let configuration = network.configuration(
                network.plugins[1], with: verb == "GC" ? valid : "{}")
            return try self.world.call("bandwidth", verb, configuration, container)
        }
        // The kernel removes no class that a filter leads to.
        try tc("filter add dev shp-e parent 1: protocol all prio 9 u32 match u32 0 0 flowid \(id)")
        let refused = try remove()
        #expect(!refused.succeeded && refused.output.contains("class \(id)"), "\(refused.output)")
        #expect(try classes(on: "shp-e") == [id])
        #expect(try names().contains(id))
        try tc("filter del dev shp-e parent 1: prio 9")
        let ended = try remove()
        #expect(ended.succeeded, "\(ended.output)")
        #expect(try classes(on: "shp-e").isEmpty && classes(on: "shp-i").isEmpty)
        #expect(try !names().contains(id))
        try network.del(container)
    }

    @Test("both limits are classes of HTB, and the result is passed on as it came")
    func limits() throws {
        let network = Self.network(Self.caps, in: world)
        let container = try world.container("abc")
        let result = try network.add(container)
        #expect(result["interfaces"].array.count == 3)
        let egress = try tc("class show dev shp-e")
        #expect(egress.contains("rate 10Mbit ceil 10Mbit"))
        #expect(try tc("class show dev \(port(result))").contains("rate 20Mbit ceil 20Mbit"))
        let id = try #require(try classes(on: "shp-e").first)
        let table = try world.onHost("nft list table netdev shaper")
        let element = table.split(separator: "\n").first { $0.contains(" : \(id) }") } ?? ""
        #expect(element.contains("\"\(port(result))\" counter packets"), "\(table)")
        #expect(element.contains("comment \"web abc eth0\""), "\(table)")
        #expect(try network.check(container) == nil)
        #expect(try container.reaches("10.71.0.1"))
        try network.del(container)
        #expect(try classes(on: "shp-e").isEmpty)
    }

    @Test(
        "ADD to DEL leaves nothing, be it the group's last container or not",
        arguments: [BandwidthTests.caps, BandwidthTests.shares])
    func leavesNothing(keys: JSON) throws {
        let network = Self.network(keys, in: world)
        let first = try world.container()
        // The bridge stays.
        try network.add(first)
        try network.del(first)
        for isLast in [true, false] {
            if !isLast { try network.add(first) }
            try world.unchanged {
                let container = try world.container()
                try network.add(container)
                #expect(try network.check(container) == nil)
                try network.del(container)
                try network.del(container)
            }
        }
    }

    @Test(
        "two interfaces of a container have limits of their own, and DEL of one leaves the other's",
        arguments: [BandwidthTests.caps, BandwidthTests.shares])
    func twoInterfaces(keys: JSON) throws {
        let network = Self.network(keys, in: world)
        let container = try world.container()
        try network.add(container)
        let first = try classes(on: "shp-e")
        try network.add(container, interface: "net1")
        #expect(try classes(on: "shp-e").count == 2)
        #expect(try network.check(container) == nil)
        try network.del(container, interface: "net1", withResult: false)
        #expect(try classes(on: "shp-e") == first)
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try classes(on: "shp-e").isEmpty)
    }

    @Test("thousands of subnets are more than a program can look up, and no reason to fail")
    func manySubnets() throws {
        let subnets = (0..<6000).map { "\"fd00:1:\(String($0, radix: 16))::/48\"" }
        let keys = Self.shares.merging(
            JSON(text: "{\"unshapedSubnets\": [\(subnets.joined(separator: ","))]}"))
        let network = Self.network(keys, in: world)
        let container = try world.container()
        try network.add(container)
        #expect(try network.check(container) == nil)
        try network.del(container)
    }

    @Test("a second ADD changes the classes in place, from one way of queueing to another")
    func again() throws {
        let first = Self.network(Self.caps, in: world)
        let container = try world.container()
        let result = try first.add(container)
        let id = try classes(on: "shp-e")
        for keys in [Self.shares, Self.fast, Self.caps] {
            let other = Self.network(keys, in: world)
            let configuration = other.configuration(other.plugins[1], previous: result)
            let ended = try world.call("bandwidth", "ADD", configuration, container)
            #expect(ended.succeeded, "\(ended.output)")
            let checked = try world.call("bandwidth", "CHECK", configuration, container)
            #expect(checked.succeeded, "\(checked.output)")
            #expect(try classes(on: "shp-e") == id)
        }
        #expect(try classes(on: "shp-i").isEmpty)
        #expect(try classes(on: port(result)) == id)
        try first.del(container)
    }

    @Test("DEL finds everything with namespace and veth gone, and without a result")
    func gone() throws {
        for keys in [Self.caps, Self.shares] {
            let network = Self.network(keys, in: world)
            let container = try world.container()
            let result = try network.add(container)
            #expect(try !world.onHostIfThere("ip link show shp-e").isEmpty)
            #expect(try world.onHost("nft list tables").contains("shaper"))
            try world.onHost("ip link del \(port(result))")
            try output(of: "ip netns del \(container.path.split(separator: "/").last ?? "")")
            try network.del(container, withResult: false)
            #expect(try world.onHostIfThere("ip link show shp-e").isEmpty)
            #expect(try !world.onHost("nft list tables").contains("shaper"))
        }
    }

    @Test("an ADD that fails leaves the host as it was")
    func rollBack() throws {
        // Addresses that the kernel gives new links a moment later would count as changes.
        try world.onHost("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
        let bridge = Network(version: "1.1.0", in: world)
        let container = try world.container()
        let result = try bridge.add(container)
        // Somebody else's qdisc is in the place that the ingress limit needs.
        try tc("qdisc add dev \(port(result)) root pfifo")
        try world.unchanged {
            let network = Self.network(Self.caps, in: world)
            let ended = try world.call(
                "bandwidth", "ADD", network.configuration(network.plugins[1], previous: result),
                container)
            #expect(!ended.succeeded)
            #expect(ended.json["msg"].string?.contains("pfifo") == true, "\(ended.output)")
        }
        try bridge.del(container)
    }

    @Test("GC removes what belongs to no valid attachment of its network, and touches no others")
    func garbage() throws {
        let network = Self.network(Self.shares, in: world)
        let other = Self.network(Self.shares, name: "other", in: world)
        let containers = try (0..<3).map { _ in try world.container() }
        try network.add(containers[0])
        try network.add(containers[1])
        try other.add(containers[2])
        try tc(
            "class add dev shp-e parent 1:1 classid 1:77 htb rate 1mbit ceil 1mbit quantum 1514")
        // An ADD that was killed has left its name and its class.
        try world.nft("add element netdev shaper classes { 1:55 comment \"web gone eth0\" }")
        try tc(
            "class add dev shp-e parent 1:1 classid 1:55 htb rate 1mbit ceil 1mbit quantum 1514")
        #expect(try classes(on: "shp-e").count == 5)
        try network.gc(keeping: [(containers[0], "eth0")])
        #expect(try classes(on: "shp-e").count == 3)
        #expect(try classes(on: "shp-e").contains("1:77"))
        #expect(try classes(on: "shp-i").count == 2)
        #expect(try network.check(containers[0]) == nil)
        #expect(try other.check(containers[2]) == nil)
    }

    @Test(
        "CHECK names what was changed behind its back",
        arguments: [
            ("tc class change dev shp-e parent 1:1 classid ID htb rate 1mbit quantum 1514", "rate"),
            (
                "tc class change dev shp-e parent 1:1 classid ID htb rate 10mbit ceil 50mbit "
                    + "burst 3028 cburst 3028 prio 1 quantum 6250", "burst at the ceiling"
            ),
            (
                "tc class change dev shp-e parent 1:1 classid ID htb rate 10mbit ceil 50mbit "
                    + "burst 3028 cburst 12500 prio 1 quantum 1514", "quantum"
            ),
            ("tc qdisc del dev shp-i parent ID", "leaf of class"),
            ("nft flush chain netdev shaper e-PORT", "rules of chain e-PORT"),
            ("nft delete element netdev shaper ingress_class { PORT }", "ingress of PORT"),
            ("ip link set shp-e down", "shp-e"),
            ("tc qdisc del dev PORT clsact", "last filter of PORT"),
            ("nft flush chain netdev shaper ingress", "rules of chain ingress"),
        ])
    func check(damage: String, named: String) throws {
        let network = Self.network(Self.shares, in: world)
        let container = try world.container()
        let port = port(try network.add(container))
        #expect(try network.check(container) == nil)
        let id = try #require(try classes(on: "shp-e").first)
        try world.onHost(damage.replacing("PORT", with: port).replacing("ID", with: id))
        let message = try network.check(container)
        #expect(
            message?.contains(named.replacing("PORT", with: port)) == true, "\(message ?? "")")
        try network.del(container)
    }

    @Test("a guarantee that linkRate cannot keep is refused with the numbers")
    func overcommitted() throws {
        let keys: JSON = """
            {"shaping": {"linkRate": 50000000, "egress": {"rate": 30000000, "ceil": 50000000}}}
            """
        let network = Self.network(keys, in: world)
        try network.add(try world.container())
        let ended = try network.tryAdd(try world.container())
        #expect(
            ended.json["msg"].string
                == "shaping.egress.rate: 30 Mbit/s and the 30 Mbit/s that others are guaranteed on "
                + "shp-e are more than linkRate, 50 Mbit/s")
    }

    @Test("STATUS finds that this kernel can shape, and leaves nothing")
    func status() throws {
        try world.unchanged {
            let network = Self.network(Self.caps, in: world)
            let ended = try Command(
                ["\(world.plugins)/bandwidth"],
                environment: ["CNI_COMMAND": "STATUS", "CNI_PATH": world.plugins],
                input: Array(network.configuration(network.plugins[1]).description.utf8),
                in: world.host
            ).wait()
            #expect(ended.succeeded, "\(ended.output)")
        }
    }

    @Test("thirty ADDs at once get a class each")
    func storm() throws {
        let bridge = Network(version: "1.1.0", in: world)
        let network = Self.network(Self.shares, in: world)
        let keys = Self.caps.merging(#"{"shaping": {"ingress": {"rate": 1000}}}"#)
        var all: [(World.Container, JSON)] = []
        for _ in 0..<30 {
            let container = try world.container()
            all.append((container, try bridge.add(container)))
        }
        let running = try all.map { container, result in
            try world.start(
                "bandwidth", "ADD",
                network.configuration(network.plugins[1], previous: result, with: keys)
                    .description,
                container: container.id, namespace: container.path)
        }
        for command in running {
            let ended = command.wait()
            #expect(ended.succeeded, "\(ended.output)")
        }
        #expect(Set(try classes(on: "shp-e")).count == 30)
        #expect(Set(try classes(on: "shp-i")).count == 30)
        try network.gc(keeping: [])
        #expect(try classes(on: "shp-e").isEmpty && classes(on: "shp-i").isEmpty)
    }

    @Test("a fixed class is had, and refused when it is another's")
    func fixed() throws {
        let network = Self.network(
            #"{"shaping": {"classId": "1:20", "egress": {"ceil": 10000000}}}"#, in: world)
        let container = try world.container()
        try network.add(container)
        #expect(try classes(on: "shp-e") == ["1:20"])
        let other = try world.container()
        let ended = try network.tryAdd(other)
        #expect(
            ended.json["msg"].string
                == "name class 1:20: File exists (17): it belongs to \"web \(container.id) eth0\"")
        #expect(try network.check(container) == nil)
    }

    @Test("groups have trees and tables of their own")
    func groups() throws {
        let network = { (group: String) in
            Self.network(
                "{\"shaping\": {\"group\": \"\(group)\", \"egress\": {\"ceil\": 10000000}}}",
                in: self.world)
        }
        let (red, blue) = (try world.container(), try world.container())
        try network("red").add(red)
        try network("blue").add(blue)
        #expect(try classes(on: "shp-e-red").count == 1)
        #expect(try classes(on: "shp-e-blue").count == 1)
        try network("red").del(red)
        #expect(try world.onHostIfThere("ip link show shp-e-red").isEmpty)
        #expect(try world.onHost("nft list table netdev shaper-blue").contains("comment"))
    }

    @Test(
        "after its IFB was removed, the next ADD sends all containers' packets to a new one")
    func remade() throws {
        let network = Self.network(Self.caps, in: world)
        let container = try world.container()
        let result = try network.add(container)
        try world.onHost("ip link del shp-e")
        #expect(try network.check(container)?.contains("goes to: wanted shp-e") == true)
        try network.add(try world.container())
        let message = try network.check(container) ?? ""
        #expect(message.contains("on shp-e: wanted present"), "\(message)")
        #expect(!message.contains("goes to"), "\(message)")
        #expect(try container.reaches("10.71.0.1"))
        let configuration = network.configuration(network.plugins[1], previous: result)
        let again = try world.call("bandwidth", "ADD", configuration, container)
        #expect(again.succeeded, "\(again.output)")
        #expect(try network.check(container) == nil)
        #expect(try container.reaches("10.71.0.1"))
    }
}
