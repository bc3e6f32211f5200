import Glibc
import Testing

@Suite("ptp", .enabled(if: isRoot))
struct PTPTests {
    let world: World

    init() throws { world = try World() }

    @Test("two containers reach each other through the host, in both families")
    func reach() throws {
        let network = Network(plugin: "ptp", in: world)
        let (first, second) = (try world.container(), try world.container())
        try network.add(first)
        try network.add(second)
        for address in ["10.71.0.2", "10.71.0.1", "fd00:71::2", "fd00:71::1"] {
            #expect(try second.reaches(address), "\(address)")
        }
        #expect(try run("ping -c 1 -W 10 10.71.0.3", in: world.host).succeeded)
    }

    @Test("with ipMasq what leaves has the host's address, and DEL needs nothing to end that")
    func masquerade() throws {
        let outside = try Outside(world)
        let network = Network(
            plugin: "ptp", #"{"ipMasq": true}"#, ipam: BridgeTests.dualStack, in: world)
        let container = try world.container()
        try network.add(container)
        #expect(try container.reaches(Outside.address))
        #expect(try container.reaches(Outside.address6))
        #expect(try outside.seen() == ["192.0.2.1", "2001:db8::1"])
        #expect(try network.check(container) == nil)
        try world.onHost("nft flush ruleset")
        #expect(try network.check(container)?.contains("masquerade of 10.71.0.2/16") == true)
        try network.del(World.Container(id: container.id, path: ""), withResult: false)
        #expect(try world.onHost("nft list ruleset") == "")
    }

    @Test("the container's own network is reached by the gateway, from its address")
    func routes() throws {
        let container = try world.container()
        try Network(plugin: "ptp", in: world).add(container)
        let routes = try container.output(of: "ip route")
        #expect(routes.contains("10.71.0.1 dev eth0 scope link src 10.71.0.2"), "\(routes)")
        #expect(routes.contains("10.71.0.0/16 via 10.71.0.1 dev eth0 src 10.71.0.2"), "\(routes)")
        let host = try world.onHost("ip route")
        #expect(host.contains("10.71.0.2 dev veth") && host.contains("scope link"), "\(host)")
    }

    @Test("the host's end has a link-local address at once, which brings no anycast address")
    func linkLocal() throws {
        let network = Network(plugin: "ptp", in: world)
        let container = try world.container()
        let result = try network.add(container)
        let hostEnd = result["interfaces"][0]["name"].string ?? ""
        let own = try world.onHost("ip -6 -br addr show dev \(hostEnd) scope link")
        let address = own.split(separator: " ").last { $0.hasPrefix("fe80::") } ?? ""
        #expect(address.hasSuffix("/128"), "\(own)")
        #expect(try container.reaches("\(address.dropLast(4))%eth0"))
        // The container's is the kernel's, which looks for new carriers once a second.
        var peer: Substring?
        for _ in 0..<50 where peer == nil {
            let inside = try container.output(of: "ip -6 -br addr show dev eth0 scope link")
            peer = inside.split(separator: " ").last { $0.hasPrefix("fe80::") }
            if peer == nil { usleep(100_000) }
        }
        let ping = "ping -c 1 -W 10 \(peer?.split(separator: "/").first ?? "")%\(hostEnd)"
        #expect(try run(ping, in: world.host).succeeded, "\(ping)")
        #expect(try !world.onHost("cat /proc/net/anycast6").contains(hostEnd))
    }

    @Test("a host that has IPv6 switched off has no less of IPv4")
    func withoutIPv6() throws {
        for setting in ["all", "default"] {
            try world.onHost("sysctl -qw net.ipv6.conf.\(setting).disable_ipv6=1")
        }
        for keys: JSON in ["{}", #"{"mtu": 1000}"#] {
            let network = Network(
                plugin: "ptp", keys, ipam: #"{"subnet": "10.71.0.0/16"}"#, in: world)
            let container = try world.container()
            try network.add(container)
            #expect(try container.reaches("10.71.0.1"))
            #expect(try network.check(container) == nil)
            try network.del(container)
            try world.onHost("sysctl -qw net.ipv6.conf.default.disable_ipv6=0")
        }
    }

    @Test("an empty list of name servers takes IPAM's away")
    func dns() throws {
        let ipam: JSON = """
            {"type": "static", "addresses": [{"address": "10.71.0.9/16", "gateway": "10.71.0.1"}],
             "dns": {"nameservers": ["10.71.0.53"]}}
            """
        let keys: JSON = #"{"dns": {"nameservers": []}}"#
        let attach = { (keys: JSON) in
            let network = Network(plugin: "ptp", keys, ipam: ipam, in: self.world)
            let container = try self.world.container()
            defer { try? network.del(container) }
            return try network.add(container)["dns"]["nameservers"].array.map(\.string)
        }
        #expect(try attach("{}") == ["10.71.0.53"])
        #expect(try attach(keys) == [])
    }

    @Test("without IPAM there is no ADD, but a DEL")
    func withoutIPAM() throws {
        let network = Network(plugin: "ptp", ipam: nil, in: world)
        let container = try world.container()
        let ended = try network.tryAdd(container)
        #expect(ended.json["code"].number == 7)
        try network.del(container)
    }
}
