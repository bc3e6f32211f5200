import Testing

@Suite("the Go plugins' containers, and back", .enabled(if: isRoot))
struct TakeOverTests {
    let world: World
    let peer: String

    init() throws {
        world = try World()
        peer = try Peer.directory()
    }

    @Test("a container that the Go plugins attached is checked and detached by these")
    func fromPeer() throws {
        let network = Network(ipam: BridgeTests.dualStack, in: world)
        let (neighbour, container) = (try world.container(), try world.container())
        try network.add(neighbour)
        let inside = try Snapshot(of: container)
        try world.unchanged {
            network.path = peer
            try network.add(container)
            network.path = nil
            #expect(try neighbour.reaches("10.71.0.3"))
            let difference = try network.check(container)
            #expect(difference == nil, "\(difference ?? "")")
            try network.del(container)
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test("a container that these attached is checked and detached by the Go plugins")
    func toPeer() throws {
        let network = Network(ipam: BridgeTests.dualStack, in: world)
        let (neighbour, container) = (try world.container(), try world.container())
        try network.add(neighbour)
        try world.unchanged {
            try network.add(container)
            network.path = peer
            #expect(try network.check(container) == nil)
            try network.del(container)
        }
    }

    @Test(
        "masquerade, ports and limits of the Go plugins go with DEL, with the namespace or without",
        arguments: [true, false])
    func rulesOfPeer(hasNamespace: Bool) throws {
        let bridge = Network(
            bridge: #"{"ipMasq": true}"#, ipam: BridgeTests.dualStack,
            in: world)
        let portmap: JSON = #"{"type": "portmap"}"#
        let bandwidth: JSON = #"{"type": "bandwidth"}"#
        var list: JSON = #"{"name": "web", "cniVersion": "1.0.0"}"#
        list["plugins"] = JSON([bridge.plugins[0].value, portmap.value, bandwidth.value])
        let network = Network(list, in: world)
        let ports: JSON = #"""
            {"runtimeConfig": {"portMappings":
                [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                 {"hostPort": 8081, "containerPort": 81, "protocol": "udp"}],
             "bandwidth": {"ingressRate": 8000000, "ingressBurst": 800000,
                           "egressRate": 8000000, "egressBurst": 800000}}}
            """#
        // One stays, and with the first what all of the Go plugins' containers share.
        let (neighbour, first) = (try world.container(), try world.container())
        try network.add(neighbour)
        network.path = peer
        try network.add(first, with: ports)
        network.path = nil
        try network.del(first)
        // By then the bridge's address has settled.
        #expect(try neighbour.reaches("fd00:71::1"))
        try world.unchanged {
            let container = try world.container()
            network.path = peer
            try network.add(container, with: ports)
            let rules = try world.onHost("nft list ruleset")
            #expect(rules.contains("CNI-DN-") && rules.contains("masquerade"))
            #expect(try world.onHost("ip link show type ifb").contains("bwp"))
            network.path = nil
            if !hasNamespace {
                try output(of: "ip netns del \(container.path.split(separator: "/").last ?? "")")
            }
            try network.del(container)
        }
    }

    @Test(
        "what the Go plugins made for macspoofchk goes with DEL, whatever the configuration says by then",
        arguments: [#"{"macspoofchk": true}"#, "{}"])
    func spoofCheckOfPeer(keys: String) throws {
        let theirs = Network(bridge: #"{"macspoofchk": true}"#, in: world)
        theirs.path = peer
        let (neighbour, container) = (try world.container(), try world.container())
        try theirs.add(neighbour)
        try world.unchanged {
            try theirs.add(container)
            let there = try world.onHost("nft list table bridge nat")
            #expect(there.contains("cni-br-iface-\(container.id)-eth0-mac"), "\(there)")
            let ours = Network(bridge: JSON(text: keys), in: world)
            try ours.del(container)
        }
        #expect(try neighbour.reaches("10.71.0.1"))
    }

    @Test("both give the same result but for names, hardware addresses and addresses given")
    func sameResult() throws {
        for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
            let network = Network(
                ipam: BridgeTests.dualStack, name: "v\(version)", version: version, in: world)
            let container = try world.container()
            let ours = try network.add(container)
            try network.del(container)
            network.path = peer
            let theirs = try network.add(container)
            try network.del(container)
            let wild = { (result: JSON) in
                result.description
                    .replacing(/[0-9a-f]{2}(:[0-9a-f]{2}){5}/, with: "MAC")
                    .replacing(/veth[0-9a-f]+/, with: "veth")
                    .replacing(/10\.71\.0\.[23]\//, with: "ADDRESS/")
                    .replacing(/fd00:71::[23]\//, with: "ADDRESS/")
                    // Since 1.2.0 the Go plugins leave an empty dns out of a result of 1.0.0.
                    .replacing(
                        "\"cniVersion\":\"1.0.0\",\"dns\":{},", with: "\"cniVersion\":\"1.0.0\",")
            }
            #expect(wild(ours) == wild(theirs), "\(version)")
        }
    }

    /// A bridge network of the peer's own kind: it masquerades and maps ports by iptables.
    private func iptables(_ backend: JSON = "{}") -> Network {
        let bridge = Network(
            bridge: #"{"ipMasq": true, "ipMasqBackend": "iptables"}"#,
            ipam: BridgeTests.dualStack, in: world)
        let portmap: JSON = #"""
            {"type": "portmap", "runtimeConfig": {"portMappings":
                [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                 {"hostPort": 8081, "containerPort": 81, "protocol": "udp"},
                 {"hostPort": 8082, "containerPort": 82, "protocol": "sctp"},
                 {"hostPort": 8083, "containerPort": 83, "protocol": "tcp", "hostIP": "192.0.2.1"}]}}
            """#
        return Network(
            JSON([
                "name": "web", "cniVersion": "1.0.0",
                "plugins": [bridge.plugins[0].value, portmap.merging(backend).value],
            ]), in: world)
    }

    @Test(
        "the Go plugins' rules of iptables pass CHECK, whatever the backend is left to be",
        arguments: [#"{"backend": "iptables"}"#, "{}"])
    func checked(backend: String) throws {
        let network = iptables(JSON(text: backend))
        let container = try world.container()
        network.path = peer
        try network.add(container)
        network.path = nil
        let message = try network.check(container)
        #expect(message == nil, "\(message ?? "")")
        try world.onHost("iptables -t nat -F CNI-HOSTPORT-DNAT")
        #expect(try network.check(container)?.contains("CNI-HOSTPORT-DNAT in table ip nat") == true)
        try network.del(container)
        #expect(try world.onHost("nft list ruleset") == "")
    }

    @Test("the Go plugins detach what is mapped and masqueraded by iptables here")
    func rulesToPeer() throws {
        let network = iptables(#"{"backend": "iptables"}"#)
        let (neighbour, container) = (try world.container(), try world.container())
        try network.add(neighbour)
        let before = try world.onHost("iptables-save -t nat")
        try network.add(container)
        network.path = peer
        try network.del(container)
        let shown = { (text: String) in text.split(separator: "\n").filter { $0.first != "#" } }
        #expect(try shown(world.onHost("iptables-save -t nat")) == shown(before))
    }

    @Test("GC removes the Go plugins' rules of what is not in the list, and leaves the others")
    func collected() throws {
        let current = iptables(#"{"backend": "iptables"}"#)
        let network = Network(
            JSON(["name": "web", "cniVersion": "1.1.0", "plugins": current.plugins.map(\.value)]),
            in: world)
        let (kept, stale) = (try world.container(), try world.container())
        current.path = peer
        try current.add(kept)
        let before = try world.onHost("iptables -t nat -S")
        try current.add(stale)
        try network.gc(keeping: [(kept, "eth0")])
        #expect(try world.onHost("iptables -t nat -S") == before)
        try network.gc(keeping: [])
        #expect(try world.onHost("nft list ruleset") == "")
    }

    /// The tables that the Go plugins make since 1.6.0 where they are told to use nftables, with two
    /// containers of the network `web` and one of another network.
    private static let tables = """
        table inet cni_plugins_masquerade {
            comment "Masquerading for plugins from github.com/containernetworking/plugins"
            chain masq_checks {
                comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet"
                ip saddr 10.71.0.2 ip daddr != 10.71.0.0/16 masquerade comment "WEB-ONE, net: web, if: eth0, id: one"
                ip6 saddr fd00:71::2 ip6 daddr != fd00:71::/64 masquerade comment "WEB-ONE, net: web, if: eth0, id: one"
                ip saddr 10.71.0.3 ip daddr != 10.71.0.0/16 masquerade comment "WEB-TWO, net: web, if: eth0, id: two"
                ip saddr 10.72.0.2 ip daddr != 10.72.0.0/16 masquerade comment "DB-ONE, net: db, if: eth0, id: one"
            }
            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ip daddr 224.0.0.0/4 return
                ip6 daddr ff00::/8 return
                goto masq_checks
            }
        }
        table ip cni_hostport {
            comment "CNI portmap plugin"
            chain hostports {
                tcp dport 8080 dnat to 10.71.0.2:80 comment "one"
                udp dport 8081 dnat to 10.71.0.3:81 comment "two"
                tcp dport 9090 dnat to 10.72.0.2:80 comment "one"
            }
            chain hostip_hostports {
                ip daddr 192.0.2.1 tcp dport 8083 dnat to 10.71.0.2:83 comment "one"
            }
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                jump hostip_hostports
                jump hostports
            }
            chain output {
                type nat hook output priority -100; policy accept;
                jump hostip_hostports
                fib daddr type local jump hostports
            }
            chain masquerading {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr 10.71.0.2 ip daddr 10.71.0.2 masquerade comment "one"
                ip saddr 127.0.0.1 ip daddr 10.71.0.2 masquerade comment "one"
                ip saddr 10.71.0.3 ip daddr 10.71.0.3 masquerade comment "two"
                ip saddr 10.72.0.2 ip daddr 10.72.0.2 masquerade comment "one"
            }
        }
        table ip6 cni_hostport {
            chain hostports {
                tcp dport 8080 dnat to [fd00:71::2]:80 comment "one"
            }
            chain hostip_hostports {
            }
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                jump hostip_hostports
                jump hostports
            }
        }
        """

    /// Makes those tables, with the hashes that the comments begin with.
    private func makeTables() throws {
        let digits = { (text: String) in
            let ended = try Command(["sha512sum"], input: Array(text.utf8)).wait()
            return String(ended.output.prefix(16))
        }
        let text = try Self.tables
            .replacing("WEB-ONE", with: "\(digits("web"))-\(digits("eth0:one"))")
            .replacing("WEB-TWO", with: "\(digits("web"))-\(digits("eth0:two"))")
            .replacing("DB-ONE", with: "\(digits("db"))-\(digits("eth0:one"))")
        let ended = try Command(
            ["nft", "-f", "-"], input: Array((text + "\n").utf8), in: world.host
        ).wait()
        guard ended.succeeded else { throw Failure("nft: \(ended.errors)") }
    }

    @Test("DEL removes a container's rules from the Go plugins' own tables of nftables")
    func nativeTables() throws {
        try makeTables()
        let network = iptables()
        let one = try world.container("one")
        let previous: JSON = #"""
            {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x"}],
             "ips": [{"address": "10.71.0.2/16", "interface": 0},
                     {"address": "fd00:71::2/64", "interface": 0}]}
            """#
        for plugin in network.plugins.reversed() {
            let ended = try world.call(
                plugin["type"].string ?? "", "DEL",
                network.configuration(plugin, previous: previous), one)
            #expect(ended.succeeded, "\(ended.output)")
        }
        var left = try world.onHost("nft list ruleset")
        #expect(!left.contains("10.71.0.2") && !left.contains("fd00:71::2"))
        #expect(!left.contains("table ip6 cni_hostport"))
        #expect(left.contains("dnat to 10.71.0.3:81") && left.contains("ip saddr 10.71.0.3"))
        // The same container on another network keeps what it has there.
        #expect(left.contains("dnat to 10.72.0.2:80") && left.contains("net: db"))
        try network.del(World.Container(id: "two", path: "/run/netns/none"))
        left = try world.onHost("nft list ruleset")
        #expect(!left.contains("10.71.0.3"))
        #expect(left.contains("dnat to 10.72.0.2:80") && left.contains("net: db"))
    }

    @Test("GC removes from the Go plugins' table of masquerading what is not in the list")
    func collectedTables() throws {
        try makeTables()
        let network = Network(
            JSON(["name": "web", "cniVersion": "1.1.0", "plugins": [iptables().plugins[0].value]]),
            in: world)
        let container = try world.container("one")
        try network.gc(keeping: [(container, "eth0")])
        var left = try world.onHost("nft list table inet cni_plugins_masquerade")
        #expect(left.contains("10.71.0.2") && left.contains("net: db"))
        #expect(!left.contains("10.71.0.3"))
        try network.gc(keeping: [])
        left = try world.onHost("nft list table inet cni_plugins_masquerade")
        #expect(!left.contains("net: web") && left.contains("net: db"))
    }

    @Test("GC removes the Go plugins' port mappings with the masquerading of the same container")
    func collectedMappings() throws {
        try makeTables()
        let network = Network(
            JSON(["name": "web", "cniVersion": "1.1.0", "plugins": iptables().plugins.map(\.value)]
            ),
            in: world)
        let container = try world.container("one")
        try network.gc(keeping: [(container, "eth0")])
        var left = try world.onHost("nft list ruleset")
        #expect(left.contains("dnat to 10.71.0.2:80") && left.contains("dnat to 10.71.0.2:83"))
        #expect(left.contains("dnat to [fd00:71::2]:80") && !left.contains("10.71.0.3"))
        try network.gc(keeping: [])
        left = try world.onHost("nft list ruleset")
        #expect(!left.contains("10.71.0.2") && !left.contains("table ip6 cni_hostport"))
        // The same container's mapping on another network.
        #expect(left.contains("dnat to 10.72.0.2:80") && left.contains("net: db"))
    }
}
