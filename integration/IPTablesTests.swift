import Testing

@Suite("the iptables backends", .enabled(if: isRoot))
struct IPTablesTests {
    let world: World
    let outside: Outside

    init() throws {
        world = try World()
        outside = try Outside(world)
        try outside.addRoutes()
    }

    /// A bridge network that masquerades and maps ports by iptables.
    private func network(
        _ keys: JSON = "{}", masquerades: Bool = true, name: String = "web", subnet: Int = 71,
        bridge: String = "cni0"
    ) -> Network {
        let portmap: JSON = #"{"type": "portmap", "backend": "iptables"}"#
        return Network(
            dualStack: JSON(
                text: #"{"hairpinMode": true, "bridge": "\#(bridge)", "#
                    + #""ipMasq": \#(masquerades), "ipMasqBackend": "iptables"}"#),
            subnet: subnet, then: portmap.merging(keys), name: name, in: world)
    }

    private func mapping(_ entries: String) -> JSON {
        JSON(text: #"{"runtimeConfig": {"portMappings": [\#(entries)]}}"#)
    }

    private let web = #"{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}"#
    private func ruleset() throws -> String { try world.onHost("nft list ruleset") }
    private func rules(_ program: String = "iptables") throws -> String {
        try world.onHost("\(program) -t nat -S")
    }

    /// Whom the container's server sees when somebody connects to a port; nil when nobody comes.
    private func peer(
        of server: Socket, from namespace: String, to address: String, port: Int = 8080,
        _ kind: Socket.Kind = .tcp, within seconds: Int = 10
    ) throws -> String? {
        let client = try Socket.client(
            kind, to: address, port: port, in: namespace, within: seconds)
        return client == nil ? nil : server.peer(within: seconds)
    }

    @Test("ports lead to the container from outside, from the host and from itself")
    func traffic() throws {
        let network = network(mapping(web))
        let (container, neighbour) = (try world.container(), try world.container())
        try network.add(neighbour, with: mapping(#"{"hostPort": 9090, "containerPort": 80}"#))
        try world.unchanged {
            try network.add(container)
            let server = try Socket.server(.tcp, port: 80, in: container.path)
            let from = outside.machine.path
            #expect(try container.reaches("fd00:71::1"))
            #expect(try peer(of: server, from: from, to: "192.0.2.1") == Outside.address)
            #expect(try peer(of: server, from: from, to: "2001:db8::1") == Outside.address6)
            #expect(try peer(of: server, from: world.host, to: "127.0.0.1") == "10.71.0.1")
            #expect(try peer(of: server, from: world.host, to: "2001:db8::1") != nil)
            #expect(try peer(of: server, from: container.path, to: "192.0.2.1") == "10.71.0.1")
            #expect(try peer(of: server, from: neighbour.path, to: "192.0.2.1") == "10.71.0.1")
            #expect(try network.check(container) == nil)
            try network.del(container, withResult: false)
        }
        try network.del(neighbour)
        #expect(try ruleset() == "")
    }

    @Test("what leaves the network has the host's address, in both families")
    func masqueraded() throws {
        let network = network()
        let container = try world.container()
        try network.add(container)
        #expect(try container.reaches(Outside.address))
        #expect(try container.reaches(Outside.address6))
        #expect(try outside.seen() == ["192.0.2.1", "2001:db8::1"])
        try network.del(container)
        #expect(try ruleset() == "")
    }

    @Test("iptables shows the reference's rules, finds each, and takes out what it is told to")
    func shown() throws {
        let network = network(mapping(web))
        let container = try world.container("c1")
        try network.add(container)
        let shown = try rules()
        for rule in [
            "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
            "-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
            #"-A POSTROUTING -s 10.71.0.2/32 -m comment --comment "name: \"web\" id: \"c1\"" "#
                + "-j CNI-8258b412696a053f12fb2e81",
            #"-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"web\" id: \"c1\"" "#
                + "-m multiport --dports 8080 -j CNI-DN-8258b412696a053f12fb2",
            "-A CNI-DN-8258b412696a053f12fb2 -s 10.71.0.0/16 -p tcp -m tcp --dport 8080 "
                + "-j CNI-HOSTPORT-SETMARK",
            "-A CNI-DN-8258b412696a053f12fb2 -p tcp -m tcp --dport 8080 -j DNAT "
                + "--to-destination 10.71.0.2:80",
            "-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE",
        ] { #expect(shown.contains(rule + "\n"), "\(rule)") }
        let translate = "CNI-DN-8258b412696a053f12fb2 -p tcp -m tcp --dport 8080 -j DNAT"
        try world.onHost("iptables -t nat -C \(translate) --to-destination 10.71.0.2:80")
        try world.onHost("ip6tables -t nat -D \(translate) --to-destination [fd00:71::2]:80")
        #expect(
            try network.check(container)?
                .contains("rules of chain CNI-DN-8258b412696a053f12fb2 in table ip6 nat") == true)
        try world.onHost("iptables -t nat -F CNI-8258b412696a053f12fb2e81")
        #expect(try network.check(container)?.contains("CNI-8258b412696a053f12fb2e81") == true)
        try network.del(container)
        #expect(try ruleset() == "")
    }

    @Test("the rules of others stay, the bit and the chain of the mark are those asked for")
    func besideOthers() throws {
        try world.onHost("iptables -t nat -N KUBE-MARK-MASQ")
        try world.onHost("iptables -t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000")
        try world.onHost(
            "iptables -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE")
        try world.onHost("ip6tables -t nat -N KUBE-MARK-MASQ")
        let before = try rules()
        let external = network(
            #"{"externalSetMarkChain": "KUBE-MARK-MASQ"}"#, masquerades: false)
        let own = network(
            #"{"markMasqBit": 5}"#, masquerades: false, name: "db", subnet: 72, bridge: "cni1")
        let (one, two) = (try world.container(), try world.container())
        try external.add(one, with: mapping(web))
        #expect(try !rules().contains("CNI-HOSTPORT-SETMARK"))
        let server = try Socket.server(.tcp, port: 80, in: one.path)
        #expect(try peer(of: server, from: world.host, to: "127.0.0.1") == "10.71.0.1")
        try own.add(two, with: mapping(#"{"hostPort": 9090, "containerPort": 80}"#))
        #expect(try rules().contains("-A CNI-HOSTPORT-MASQ -m mark --mark 0x20/0x20 -j MASQUERADE"))
        let second = try Socket.server(.tcp, port: 80, in: two.path)
        #expect(try peer(of: second, from: world.host, to: "127.0.0.1", port: 9090) != nil)
        try own.del(two)
        try external.del(one)
        #expect(try rules() == before)
    }

    @Test("a chain that is to mark and is not there is an error, and the host stays as it was")
    func noMarkChain() throws {
        let network = network(#"{"externalSetMarkChain": "NOBODY"}"#)
        let container = try world.container()
        try network.add(container)
        let before = try ruleset()
        let ended = try network.tryAdd(container, interface: "eth1", with: mapping(web))
        #expect(
            ended.json["msg"].string?.contains("find chain NOBODY in table ip nat: No such file")
                == true, "\(ended.output)")
        try network.del(container, interface: "eth1")
        #expect(try ruleset() == before)
    }

    @Test("a container's two interfaces share a chain, and each DEL takes its own rules")
    func twoInterfaces() throws {
        let network = network()
        let container = try world.container()
        let (first, second) = (
            mapping(web), mapping(#"{"hostPort": 9090, "containerPort": 80}"#)
        )
        try network.add(container, with: first)
        let before = try rules()
        try network.add(container, interface: "eth1", with: second)
        for (interface, keys) in [("eth0", first), ("eth1", second)] {
            let ended = try world.call(
                "portmap", "CHECK",
                network.configuration(
                    network.plugins[1],
                    previous: network.result(of: container, interface: interface), with: keys),
                container, interface: interface)
            #expect(ended.succeeded, "\(ended.output)")
        }
        try network.del(container, interface: "eth1")
        #expect(try rules() == before)
        try network.del(container)
        #expect(try ruleset() == "")
    }

    @Test("forty ports take three rules to lead there, and a second ADD doubles none")
    func manyPorts() throws {
        let entries = (0..<40).map { #"{"hostPort": \#(9000 + $0), "containerPort": \#(80 + $0)}"# }
        let network = network(mapping(entries.joined(separator: ",")))
        let container = try world.container()
        try network.add(container)
        let before = try rules()
        #expect(before.split(separator: "\n").filter { $0.contains("multiport") }.count == 3)
        let server = try Socket.server(.tcp, port: 119, in: container.path)
        #expect(
            try peer(of: server, from: outside.machine.path, to: "192.0.2.1", port: 9039) != nil)
        let again = try world.call(
            "portmap", "ADD",
            network.configuration(network.plugins[1], previous: network.result(of: container)),
            container)
        #expect(again.succeeded)
        #expect(try rules() == before)
    }

    @Test("GC removes what is not in the list, and leaves other networks'")
    func collected() throws {
        let web = network(mapping(self.web))
        let db = network(name: "db", subnet: 72, bridge: "cni1")
        let (kept, stale, other) = (
            try world.container(), try world.container(), try world.container()
        )
        try db.add(other, with: mapping(#"{"hostPort": 9090, "containerPort": 80}"#))
        try web.add(kept)
        let before = try rules() + rules("ip6tables")
        try web.add(stale)
        try web.gc(keeping: [(kept, "eth0")])
        #expect(try rules() + rules("ip6tables") == before)
        try web.gc(keeping: [])
        #expect(try !rules().contains("web"))
        #expect(try rules().contains("id: \\\"\(other.id)\\\""))
        try db.gc(keeping: [])
        #expect(try ruleset() == "")
    }

    @Test("conditions of a network are in its own entry, one rule for each address")
    func conditions() throws {
        let network = network(
            #"{"conditionsV4": ["!", "-i", "up+", "-s", "127.0.0.1,10.71.0.0/16"]}"#)
        let container = try world.container("c1")
        try network.add(container, with: mapping(web))
        let entries = try rules().split(separator: "\n").filter { $0.contains("multiport") }
        #expect(entries.count == 2)
        #expect(entries[0].contains("-A CNI-HOSTPORT-DNAT -s 127.0.0.1/32 ! -i up+ -p tcp"))
        let server = try Socket.server(.tcp, port: 80, in: container.path)
        #expect(try peer(of: server, from: outside.machine.path, to: "192.0.2.1", within: 2) == nil)
        #expect(try peer(of: server, from: container.path, to: "192.0.2.1") != nil)
        #expect(try network.check(container) == nil)
    }

    @Test("nobody on a link reaches the host's 127.0.0.1 while ports are mapped")
    func guarded() throws {
        let network = network(mapping(web))
        let container = try world.container()
        try network.add(container)
        let server = try Socket.server(.tcp, port: 7001, in: world.host)
        try container.output(of: "sysctl -qw net.ipv4.conf.eth0.route_localnet=1")
        _ = try container.run("ip route del local 127.0.0.0/8 dev lo table local")
        try container.output(of: "ip route add 127.0.0.1 via 10.71.0.1 dev eth0")
        #expect(
            try peer(of: server, from: container.path, to: "127.0.0.1", port: 7001, within: 2)
                == nil)
        // It is the rules that keep it out.
        try world.onHost("iptables -t raw -F PREROUTING")
        #expect(try peer(of: server, from: container.path, to: "127.0.0.1", port: 7001) != nil)
        #expect(
            try network.check(container)?.contains("rules of chain PREROUTING in table ip raw")
                == true)
    }

    @Test("UDP that flows goes to the next container once the first has gone")
    func udp() throws {
        let network = network(
            mapping(#"{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}"#))
        let (one, two) = (try world.container(), try world.container())
        try network.add(one)
        let first = try Socket.server(.udp, port: 53, in: one.path)
        let client = try #require(
            try Socket.client(.udp, to: "192.0.2.1", port: 5353, in: outside.machine.path))
        #expect(first.peer() == Outside.address)
        try network.del(one)
        try network.add(two)
        let second = try Socket.server(.udp, port: 53, in: two.path)
        client.say()
        #expect(second.peer() == Outside.address)
    }

    @Test("twenty ADDs at once map and masquerade, and their DELs at once leave nothing")
    func atOnce() throws {
        let network = network()
        let containers = try (0..<20).map { _ in try world.container() }
        for container in containers { try network.add(container) }
        for verb in ["ADD", "DEL"] {
            let calls = try containers.enumerated().map { number, container in
                try world.start(
                    "portmap", verb,
                    network.configuration(
                        network.plugins[1], previous: network.result(of: container),
                        with: mapping(
                            #"{"hostPort": \#(9000 + number), "containerPort": 80}"#)
                    ).description, container: container.id, namespace: container.path)
            }
            for call in calls {
                let ended = call.wait()
                #expect(ended.succeeded, "\(verb): \(ended.output)")
            }
            let shown = try rules()
            if verb == "ADD" {
                #expect(shown.split(separator: "\n").filter { $0.contains("LOCAL") }.count == 2)
                for number in 0..<20 { #expect(shown.contains("--dports \(9000 + number) ")) }
            } else {
                #expect(!shown.contains("CNI-HOSTPORT"))
            }
        }
        for container in containers { try network.del(container) }
        #expect(try ruleset() == "")
    }
}
