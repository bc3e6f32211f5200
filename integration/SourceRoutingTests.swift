import Testing

@Suite("sbr", .enabled(if: isRoot))
struct SourceRoutingTests {
    let world: World

    init() throws { world = try World() }

    /// A network of two families on a bridge of its own, with sbr after it.
    private func network(_ number: Int, _ keys: JSON = "{}") -> Network {
        let ipam: JSON = """
            {"ranges": [[{"subnet": "10.7\(number).0.0/16"}], [{"subnet": "fd00:7\(number)::/64"}]],
             "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24"}, {"dst": "::/0"}]}
            """
        let bridge = Network(
            bridge: #"{"bridge": "cni\#(number)"}"#, ipam: ipam, name: "net\(number)", in: world
        ).plugins[0]
        var list: JSON = #"{"cniVersion": "1.0.0"}"#
        list["name"] = JSON("net\(number)" as String)
        list["plugins"] = JSON([bridge.value, keys.merging(#"{"type": "sbr"}"#).value])
        return Network(list, in: world)
    }

    private func lines(_ words: String, _ container: World.Container) throws -> [String] {
        try container.output(of: words).split(separator: "\n").map {
            $0.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        }
    }

    @Test("with two interfaces each address is reached, and answers, by its own")
    func twoInterfaces() throws {
        let (first, second) = (network(1), network(2))
        let container = try world.container()
        let inside = try Snapshot(of: container)
        let result = try first.add(container, interface: "net1")
        try second.add(container, interface: "net2")
        #expect(
            try lines("ip -4 rule", container) == [
                "0: from all lookup local", "32764: from 10.72.0.2 lookup 102",
                "32765: from 10.71.0.2 lookup 100", "32766: from all lookup main",
                "32767: from all lookup default",
            ])
        #expect(
            try lines("ip -4 route show table 100", container) == [
                "default via 10.71.0.1 dev net1",
                "10.71.0.0/16 dev net1 proto kernel scope link src 10.71.0.2",
                "192.0.2.0/24 via 10.71.0.1 dev net1",
            ])
        #expect(
            try container.output(of: "ip -6 route show table 103")
                .contains("default via fd00:72::1 dev net2"))
        #expect(try lines("ip -4 route", container) == [])
        for address in ["10.71.0.1", "10.72.0.1", "fd00:71::1", "fd00:72::1"] {
            let own = address.replacing("::1", with: "::2").replacing(".0.1", with: ".0.2")
            #expect(try container.run("ping -c 1 -W 10 -I \(own) \(address)").succeeded)
            #expect(try run("ping -c 1 -W 10 \(own)", in: world.host).succeeded)
        }
        let check = {
            try world.call(
                "sbr", "CHECK", first.configuration(first.plugins[1], previous: result),
                container, interface: "net1"
            ).json["msg"].string
        }
        #expect(try check() == nil)
        try container.output(of: "ip rule del from 10.71.0.2")
        #expect(
            try check() == "rule from 10.71.0.2 lookup 100: wanted present, found absent")
        try first.del(container, interface: "net1")
        try second.del(container, interface: "net2")
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test(
        "CHECK of the whole chain finds the routes in the addresses' tables, and misses one that is gone"
    )
    func chain() throws {
        for keys: JSON in ["{}", #"{"addSourceHints": true}"#] {
            let network = network(1, keys)
            let container = try world.container()
            try network.add(container)
            let difference = try network.check(container)
            #expect(difference == nil, "\(difference ?? "")")
            try container.output(of: "ip route del 192.0.2.0/24 table 100")
            #expect(
                try network.check(container)
                    == "route 192.0.2.0/24 via 10.71.0.1 on eth0: wanted present, found absent")
            try network.del(container)
        }
    }

    @Test("a table of the configuration is only looked up")
    func table() throws {
        let network = network(1, #"{"table": 77}"#)
        let container = try world.container()
        try network.add(container)
        #expect(try lines("ip -4 rule", container).contains("32765: from 10.71.0.2 lookup 77"))
        #expect(try lines("ip -6 rule", container).contains("32765: from fd00:71::2 lookup 77"))
        #expect(try lines("ip -4 route", container).count == 3)
        #expect(try network.check(container) == nil)
        try network.del(container)
    }

    @Test("gateways of the configuration come before those of the addresses")
    func gateways() throws {
        let network = network(1, #"{"gateways": ["10.71.9.9"]}"#)
        let container = try world.container()
        try network.add(container)
        let routes = try lines("ip -4 route show table 100", container)
        #expect(routes.contains("default via 10.71.9.9 dev eth0"))
        try network.del(container)
    }

    @Test("a gateway of the configuration is there instead of the address's, in both families")
    func gatewaysAlone() throws {
        let network = network(1, #"{"gateways": ["10.71.9.9", "fd00:71::fe"]}"#)
        let container = try world.container()
        try network.add(container)
        for (table, gateway) in [
            ("-4 route show table 100", "10.71.9.9"),
            ("-6 route show table 101", "fd00:71::fe"),
        ] {
            let routes = try container.ip(table).array.filter { $0["dst"].string == "default" }
            #expect(routes.map { $0["gateway"].string } == [gateway], "\(routes)")
            #expect(routes.allSatisfy { $0["nexthops"].isNull }, "\(routes)")
        }
        #expect(try lines("ip -4 route show default", container) == [])
        let difference = try network.check(container)
        #expect(difference == nil, "\(difference ?? "")")
        try network.del(container)
    }

    @Test("a table that somebody's rule for a whole network looks up is not taken")
    func tableInUse() throws {
        let network = network(1)
        let container = try world.container()
        try container.output(of: "ip rule add from 10.9.0.0/16 lookup 100")
        try container.output(of: "ip -6 rule add to fd09::/64 lookup 101")
        try network.add(container)
        let rules = try lines("ip -4 rule", container) + lines("ip -6 rule", container)
        #expect(rules.contains { $0.hasSuffix("from 10.71.0.2 lookup 102") }, "\(rules)")
        #expect(rules.contains { $0.hasSuffix("from fd00:71::2 lookup 103") }, "\(rules)")
        try network.del(container)
    }

    @Test("with source hints the networks' routes stay in the main table")
    func hints() throws {
        let network = network(1, #"{"addSourceHints": true}"#)
        let container = try world.container()
        try network.add(container)
        #expect(
            try lines("ip -4 route", container) == [
                "10.71.0.0/16 dev eth0 proto kernel scope link src 10.71.0.2"
            ])
        #expect(try container.output(of: "ip -6 route").contains("fd00:71::/64 dev eth0"))
        try network.del(container)
    }

    @Test("an ADD that fails leaves rules and routes as they were")
    func rollBack() throws {
        let network = network(1, #"{"gateways": ["203.0.113.1"]}"#)
        let plain = network.plugins[0]
        let container = try world.container()
        let ended = try world.call("bridge", "ADD", network.configuration(plain), container)
        let before = try Snapshot(of: container)
        let failed = try world.call(
            "sbr", "ADD", network.configuration(network.plugins[1], previous: ended.json),
            container)
        #expect(!failed.succeeded)
        #expect(failed.json["msg"].string?.hasPrefix("add route 0.0.0.0/0 via 203.0.113.1") == true)
        #expect(failed.json["details"].isNull, "\(failed.output)")
        #expect(try Snapshot(of: container).difference(from: before) == "")
        try network.del(container)
    }

    @Test("DEL succeeds, twice, without namespace, interface or result, and leaves no file")
    func vanished() throws {
        let network = network(1)
        let container = try world.container()
        try network.add(container)
        try container.output(of: "ip link del eth0")
        try network.del(container, withResult: false)
        try output(of: "ip netns del \(container.path.split(separator: "/").last ?? "")")
        try network.del(container, withResult: false)
        try network.del(container, withResult: false)
        #expect(try !run("ls \(container.path)").succeeded)
    }

    @Test(
        "the reference's texts for what it refuses",
        arguments: [
            ("{}", "This plugin must be called as chained plugin"),
            (
                #"{"prevResult": {"cniVersion": "1.0.0"}}"#,
                "No IP addresses supplied on interface: eth0"
            ),
        ])
    func refusals(keys: String, message: String) throws {
        let network = network(1)
        let container = try world.container()
        let ended = try world.call(
            "sbr", "ADD",
            network.configuration(network.plugins[1], with: JSON(text: keys)), container)
        #expect(ended.json["msg"].string == message)
    }
}
