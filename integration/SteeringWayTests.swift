import Testing

/// Other ways to the group's tree than nftables, on a kernel that is made to lack what the better ways need.
@Suite("bandwidth: other ways to the tree", .serialized, .enabled(if: isRoot))
struct SteeringWayTests {
    let world: World

    init() throws { world = try World() }

    /// What a kernel lacks, and the kinds of filters that steer what the container sends and receives.
    private static let ways: [(lacking: String, egress: String?, ingress: String)] = [
        ("egress", nil, "bpf"), ("fwd", "bpf", "bpf"), ("fwd bpf", "u32", "u32"),
    ]

    private static let keys: JSON = """
        {"shaping": {"linkRate": 200000000,
            "egress": {"rate": 10000000, "ceil": 40000000},
            "ingress": {"rate": 10000000, "ceil": 20000000}}}
        """

    private static let both: JSON = """
        {"ranges": [[{"subnet": "10.71.0.0/16"}], [{"subnet": "fd00:71::/64"}]]}
        """

    private func network(_ keys: JSON) -> Network {
        BandwidthTests.network(keys, ipam: Self.both, in: world)
    }

    private func port(_ result: JSON) -> String { result["interfaces"][1]["name"].string ?? "" }

    private func address(_ result: JSON, _ index: Int = 0) -> String {
        result["ips"][index]["address"].string?.split(separator: "/").first.map(String.init) ?? ""
    }

    /// The number of a class by its name.
    private func id(_ name: String) throws -> String {
        let text = try world.onHost("nft -j list set netdev shaper classes")
        for object in JSON(text: text)["nftables"].array {
            for element in object["set"]["elem"].array
            where element["elem"]["comment"].string == name {
                return element["elem"]["val"].string ?? ""
            }
        }
        throw Failure("no class \(name): \(text)")
    }

    /// The packets that a class has sent.
    private func packets(_ id: String, on link: String) throws -> Int {
        let text = try world.onHost("tc -s class show dev \(link) classid \(id)")
        let words = text.split { " \n".contains($0) }
        guard let sent = words.firstIndex(of: "Sent"), words.count > sent + 3 else { return -1 }
        return Int(words[sent + 3]) ?? -1
    }

    private func rate(
        _ from: String, _ to: String, _ address: String, port: Int
    ) throws -> Double {
        try Flow(from: from, to: to, address: address, port: port, seconds: 2).rate()
    }

    @Test("limits hold in both directions and between neighbours", arguments: ways)
    func holds(lacking: String, egress: String?, ingress: String) throws {
        try world.lack(lacking)
        let network = network(Self.keys)
        let warmUp = try world.container()
        try network.add(warmUp)
        try network.del(warmUp)
        try world.unchanged {
            let (one, other) = (try world.container("one"), try world.container("other"))
            let (result, neighbour) = (try network.add(one), try network.add(other))
            let seen = { (place: String) in
                try self.world.onHost("tc filter show dev \(port(result)) \(place)")
            }
            #expect(try seen("ingress").contains(" \(egress ?? "mirred") ") == (egress != nil))
            #expect(try seen("egress").contains(" \(ingress) "))
            let table = try world.onHost("nft list table netdev shaper")
            #expect(table.contains("chain e-\(port(result))") == (egress == nil))
            #expect(!table.contains("chain i-"))
            let sent = try rate(one.path, world.host, "10.71.0.1", port: 5001)
            #expect(carried(24...41).contains(sent), "\(sent) Mbit/s of 40")
            let received = try rate(world.host, one.path, address(result), port: 5002)
            #expect(carried(12...21).contains(received), "\(received) Mbit/s of 20")
            let before = try packets(id("web other eth0"), on: "shp-i")
            let between = try rate(one.path, other.path, address(neighbour), port: 5003)
            #expect(carried(12...21).contains(between), "\(between) Mbit/s of 20")
            #expect(try packets(id("web one eth0"), on: "shp-e") > 1000)
            #expect(try packets(id("web other eth0"), on: "shp-i") > before + 1000)
            #expect(try network.check(one) == nil)
            #expect(try network.check(other) == nil)
            try network.del(one)
            #expect(try network.check(other) == nil)
            try network.del(other)
        }
    }

    @Test("address resolution and neighbour discovery are in no class", arguments: ways)
    func urgent(lacking: String, egress: String?, ingress: String) throws {
        try world.lack(lacking)
        let network = network(Self.keys)
        let container = try world.container("one")
        // Else its new link-local address asks for routers, and every four seconds again.
        try container.output(of: "sysctl -qw net.ipv6.conf.default.router_solicitations=0")
        let result = try network.add(container)
        let id = try id("web one eth0")
        try container.output(of: "ping -q -c 1 fd00:71::1")
        // It also joins groups, and says so again within a second.
        var last = -1
        while try packets(id, on: "shp-e") != last {
            last = try packets(id, on: "shp-e")
            try container.output(of: "sleep 2")
        }
        for (address, words) in [("10.71.0.1", "-4"), ("fd00:71::1", "-6")] {
            let before = (try packets(id, on: "shp-e"), try packets(id, on: "shp-i"))
            try container.output(of: "ip \(words) neigh flush dev eth0")
            try world.onHost(
                "ip \(words) neigh flush to \(self.address(result, words == "-4" ? 0 : 1))")
            try container.output(of: "ping -q -c 3 -i 0.2 \(address)")
            #expect(try packets(id, on: "shp-e") == before.0 + 3)
            #expect(try packets(id, on: "shp-i") == before.1 + 3)
        }
        try network.del(container)
    }

    @Test("filters in the container see what it receives", arguments: ways)
    func visible(lacking: String, egress: String?, ingress: String) throws {
        try world.lack(lacking)
        let network = network(Self.keys)
        let container = try world.container("one")
        let result = try network.add(container)
        for words in [
            "add table netdev t",
            "add chain netdev t c { type filter hook ingress device eth0 priority 0 ; }",
            "add rule netdev t c ip protocol icmp counter",
        ] {
            try container.output(of: "nft " + words)
        }
        try world.onHost("ping -q -c 3 -i 0.2 \(address(result))")
        let seen = try container.output(of: "nft list chain netdev t c")
        #expect(seen.contains("counter packets 3 "), "\(seen)")
        try network.del(container)
    }

    @Test("CHECK names what is not there, and a second ADD puts it back", arguments: ways)
    func damage(lacking: String, egress: String?, ingress: String) throws {
        try world.lack(lacking)
        let network = network(Self.keys)
        let container = try world.container("one")
        let result = try network.add(container)
        let host = port(result)
        var damages = [("tc filter del dev \(host) egress pref 65535", "last filter of \(host)")]
        if egress != nil {
            damages.append(
                ("tc filter del dev \(host) ingress pref 65534", "last filter of \(host) on egress")
            )
        }
        if egress == "u32" {
            damages.append(
                ("tc filter del dev shp-e parent 1: pref 65535", "filter to class"))
        }
        for (command, named) in damages {
            try world.onHost(command)
            let message = try network.check(container) ?? ""
            #expect(message.contains(named), "\(message)")
            #expect(
                message.contains(
                    ingress == "u32"
                        ? "ingress by filters of u32" : "ingress by a program of cls_bpf"),
                "\(message)")
            #expect(message.contains("because this kernel lacks nftables'"), "\(message)")
            let again = network.configuration(network.plugins[1], previous: result)
            let ended = try world.call("bandwidth", "ADD", again, container)
            #expect(ended.succeeded, "\(ended.output)")
            #expect(ended.errors.contains("by "), "\(ended.errors)")
            #expect(try network.check(container) == nil)
        }
        try network.del(container)
    }

    @Test("a program tells packets of one container apart; u32 cannot, and says so")
    func classes() throws {
        let keys: JSON = """
            {"shaping": {"egress": {"ceil": 40000000}, "ingress": {"ceil": 40000000},
                "classes": [{"name": "echo", "protocol": "icmp", "egress": {}, "ingress": {}}]}}
            """
        try world.lack("fwd")
        let network = network(keys)
        let container = try world.container("one")
        // What asks for routers is ICMP, too.
        try container.output(of: "sysctl -qw net.ipv6.conf.default.router_solicitations=0")
        try network.add(container)
        try container.output(of: "ping -q -c 3 -i 0.2 10.71.0.1")
        for link in ["shp-e", "shp-i"] {
            #expect(try packets(id("web one eth0 echo"), on: link) == 3)
        }
        #expect(try network.check(container) == nil)
        try network.del(container)
        try world.lack("fwd bpf")
        let ended = try network.tryAdd(try world.container())
        #expect(ended.json["code"].number == 50)
        #expect(
            ended.json["msg"].string?.hasPrefix(
                "shaping.classes: cannot be kept, because this kernel lacks nftables'") == true,
            "\(ended.output)")
    }

    @Test("DEL with the veth gone, and GC, leave nothing of it", arguments: ways)
    func gone(lacking: String, egress: String?, ingress: String) throws {
        try world.lack(lacking)
        let network = network(Self.keys)
        let warmUp = try world.container()
        try network.add(warmUp)
        try network.del(warmUp)
        try world.unchanged {
            let containers = try (0..<2).map { _ in try world.container() }
            for container in containers {
                try world.onHost("ip link del \(port(try network.add(container)))")
            }
            try network.del(containers[0], withResult: false)
            try network.gc(keeping: [])
            #expect(try world.onHostIfThere("ip link show shp-e").isEmpty)
            for container in containers { try network.del(container) }
        }
    }
}
