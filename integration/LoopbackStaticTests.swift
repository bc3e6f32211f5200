import Testing

@Suite("loopback and static", .enabled(if: isRoot))
struct LoopbackStaticTests {
    let world: World

    init() throws { world = try World() }

    @Test("loopback brings lo up, and down again", arguments: ["0.3.1", "1.0.0"])
    func loopback(version: String) throws {
        let list: JSON = """
            {"name": "lo", "cniVersion": "\(version)", "plugins": [{"type": "loopback"}]}
            """
        let network = Network(list, in: world)
        let container = try world.container()
        let result = try network.add(container, interface: "lo")
        #expect(result["interfaces"][0]["name"].string == "lo")
        #expect(result["interfaces"][0]["mac"].string == "00:00:00:00:00:00")
        #expect(result["ips"][0]["address"].string == "127.0.0.1/8")
        #expect(result["ips"][1]["address"].string == "::1/128")
        #expect(try container.reaches("127.0.0.1"))
        if version != "0.3.1" {
            #expect(try network.check(container, interface: "lo") == nil)
            try container.output(of: "ip link set lo down")
            #expect(try network.check(container, interface: "lo")?.contains("lo") == true)
        }
        try network.del(container, interface: "lo")
        #expect(try container.ip("link show lo")[0]["flags"].array.contains(#""UP""#) == false)
        try network.del(World.Container(id: container.id, path: ""), interface: "lo")
    }

    @Test("loopback whose result has no form in the version leaves lo as it was")
    func inexpressible() throws {
        let container = try world.container()
        let configuration: JSON =
            #"{"name": "lo", "cniVersion": "0.2.0", "type": "loopback", "prevResult": {}}"#
        let ended = try world.call("loopback", "ADD", configuration, container, interface: "lo")
        #expect(ended.status == 1)
        #expect(try container.ip("link show lo")[0]["flags"].array.contains(#""UP""#) == false)
    }

    @Test("loopback refuses a foreign address on lo")
    func foreignAddress() throws {
        let container = try world.container()
        try container.output(of: "ip addr add 10.1.2.3/32 dev lo")
        let configuration: JSON = #"{"name": "lo", "cniVersion": "1.0.0", "type": "loopback"}"#
        let ended = try world.call("loopback", "ADD", configuration, container, interface: "lo")
        #expect(ended.status == 1)
        #expect(ended.json["msg"].string?.contains("address \"10.1.2.3\"") == true)
    }

    private func fixed(_ ipam: JSON, with keys: JSON = "{}", arguments: String? = nil) throws
        -> JSON
    {
        let base: JSON = #"{"type": "static"}"#
        var configuration: JSON = #"{"name": "fixed", "cniVersion": "1.0.0", "type": "static"}"#
        configuration["ipam"] = base.merging(ipam)
        return try world.call(
            "static", "ADD", configuration.merging(keys), try world.container(),
            arguments: arguments
        ).json
    }

    static let address: JSON =
        #"{"addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]}"#

    @Test("static gives what is written")
    func written() throws {
        let result = try fixed(
            """
            {"addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"},
                           {"address": "fd00::5/64"}],
             "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["192.0.2.53"]}}
            """)
        #expect(result["ips"][0]["gateway"].string == "10.1.0.1")
        #expect(result["ips"][1]["address"].string == "fd00::5/64")
        #expect(result["routes"][0]["dst"].string == "0.0.0.0/0")
        #expect(result["dns"]["nameservers"][0].string == "192.0.2.53")
    }

    @Test("CNI_ARGS adds, args.cni.ips replaces, and runtimeConfig.ips replaces that")
    func precedence() throws {
        let added = try fixed(Self.address, arguments: "IP=10.2.0.7/24,fd00::7/64;GATEWAY=10.2.0.1")
        #expect(
            added["ips"].array.map { $0["address"].string } == [
                "10.1.0.5/24", "10.2.0.7/24", "fd00::7/64",
            ])
        #expect(added["ips"][1]["gateway"].string == "10.2.0.1")
        let replaced = try fixed(
            Self.address, with: #"{"args": {"cni": {"ips": ["10.3.0.8/24"]}}}"#)
        #expect(replaced["ips"].array.map { $0["address"].string } == ["10.3.0.8/24"])
        let dynamic = try fixed(
            Self.address,
            with: """
                {"args": {"cni": {"ips": ["10.3.0.8/24"]}},
                 "runtimeConfig": {"ips": ["10.4.0.9/24"]}}
                """)
        #expect(dynamic["ips"].array.map { $0["address"].string } == ["10.4.0.9/24"])
    }

    @Test("an address without a prefix length is refused by its place")
    func noPrefix() throws {
        let result = try fixed(#"{"addresses": [{"address": "10.1.0.5"}]}"#)
        #expect(result["msg"].string?.contains("ipam.addresses[0].address") == true)
    }

    @Test("a bridge with fixed addresses works from ADD to DEL")
    func bridge() throws {
        let network = Network(
            bridge: """
                {"ipam": {"type": "static", "routes": [{"dst": "0.0.0.0/0"}],
                          "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]}}
                """, in: world)
        let container = try world.container()
        try network.add(container)
        #expect(try container.reaches("10.1.0.1"))
        #expect(try network.check(container) == nil)
        try network.del(container)
    }

    @Test("more routes than a socket can send at once are made")
    func manyRoutes() throws {
        let network = Network(
            bridge: #"{"ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}}"#,
            in: world)
        let container = try world.container()
        let routes = (0..<5000).map {
            ["dst": "10.\(100 + $0 / 250).\($0 % 250).0/24", "gw": "10.1.0.1"]
        }
        var plugin = network.plugins[0]
        plugin["ipam"] = plugin["ipam"].merging(JSON(["routes": routes]))
        let ended = try world.call("bridge", "ADD", network.configuration(plugin), container)
        #expect(ended.succeeded, "\(ended.output.prefix(500))")
        let there = try container.output(of: "ip route show via 10.1.0.1")
        #expect(there.split(separator: "\n").count == 5000)
        try network.del(container)
    }
}
