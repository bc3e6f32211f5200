import Testing

@Suite("what ports and the firewall must not let happen", .enabled(if: isRoot))
struct FilterSecurityTests {
    static let backends = ["nftables", "iptables"]
    let world: World
    let outside: Outside

    init() throws {
        world = try World()
        outside = try Outside(world)
        try outside.machine.output(of: "ip route add default via 192.0.2.1")
        try world.onHost("iptables -P FORWARD DROP")
    }

    /// A bridge with the port 8080 and the firewall after it.
    private func network(
        _ backend: String, policy: String = "open", port: Int = 8080, name: String = "web",
        subnet: Int = 71, bridge: String = "cni0"
    ) -> Network {
        let first = Network(
            bridge: #"{"isDefaultGateway": true, "bridge": "\#(bridge)"}"#,
            ipam: #"{"subnet": "10.\#(subnet).0.0/16"}"#, name: name, version: "1.1.0", in: world)
        let portmap: JSON = """
            {"type": "portmap", "backend": "\(backend)", "runtimeConfig": {"portMappings":
                [{"hostPort": \(port), "containerPort": 80}]}}
            """
        let firewall: JSON = #"{"type": "firewall", "ingressPolicy": "\#(policy)"}"#
        return Network(
            JSON([
                "name": name, "cniVersion": "1.1.0",
                "plugins": [first.plugins[0].value, portmap.value, firewall.value],
            ]), in: world)
    }

    private func reaches(
        _ server: Socket, from namespace: String, _ address: String, _ port: Int = 8080,
        within seconds: Int = 10
    ) throws -> Bool {
        let client = try Socket.client(
            .tcp, to: address, port: port, in: namespace, within: seconds)
        return client != nil && server.peer(within: seconds) != nil
    }

    /// A container of a network, and what listens in it.
    private struct Site {
        let network: Network
        let container: World.Container
        let server: Socket
    }

    /// The holder of port 8080, and one of another network with a server of its own at that port.
    private func pair(_ backend: String) throws -> (web: Site, db: Site) {
        func site(_ network: Network, port: Int) throws -> Site {
            let container = try world.container()
            try network.add(container)
            return Site(
                network: network, container: container,
                server: try Socket.server(.tcp, port: port, in: container.path))
        }
        return (
            try site(network(backend), port: 80),
            try site(
                network(backend, port: 9090, name: "db", subnet: 72, bridge: "cni1"), port: 8080)
        )
    }

    @Test("a host port takes nothing that is on its way to another container", arguments: backends)
    func transit(backend: String) throws {
        let (web, db) = try pair(backend)
        let (first, second) = (web.server, db.server)
        // What is for the other one's own port arrives there, from a container and by the host.
        #expect(try reaches(second, from: web.container.path, "10.72.0.2"))
        #expect(try reaches(second, from: world.host, "10.72.0.2"))
        #expect(first.peer(within: 0) == nil)
        #expect(
            try Socket.client(
                .tcp, to: "198.51.100.9", port: 8080, in: outside.machine.path, within: 1) == nil)
        #expect(first.peer(within: 0) == nil)
    }

    @Test("a service at an address of the host keeps its port", arguments: backends)
    func service(backend: String) throws {
        try world.onHost("ip addr add 10.96.0.1/32 dev lo")
        try world.onHost("iptables -t nat -N KUBE-SERVICES")
        for chain in ["PREROUTING", "OUTPUT"] {
            try world.onHost("iptables -t nat -A \(chain) -j KUBE-SERVICES")
        }
        try world.onHost(
            "iptables -t nat -A KUBE-SERVICES -d 10.96.0.1 -p tcp --dport 8080 "
                + "-j DNAT --to-destination 10.72.0.2:8080")
        let before = try world.onHost("iptables-save -t nat")
        let (web, db) = try pair(backend)
        let (first, second) = (web.server, db.server)
        #expect(try reaches(second, from: world.host, "10.96.0.1"))
        #expect(try reaches(second, from: web.container.path, "10.96.0.1"))
        #expect(first.peer(within: 0) == nil)
        #expect(try reaches(first, from: world.host, "192.0.2.1"))
        try web.network.del(web.container)
        try db.network.del(db.container)
        let shown = { (text: String) in text.split(separator: "\n").filter { $0.first == "-" } }
        #expect(try shown(world.onHost("iptables-save -t nat")) == shown(before))
    }

    @Test("a neighbour on the LAN does not reach what listens on 127.0.0.1", arguments: backends)
    func loopback(backend: String) throws {
        let network = network(backend)
        let container = try world.container()
        try network.add(container)
        let server = try Socket.server(.tcp, port: 7001, in: world.host)
        // Even where somebody has allowed it on that link too.
        try world.onHost("sysctl -qw net.ipv4.conf.up0.route_localnet=1")
        try outside.machine.output(of: "sysctl -qw net.ipv4.conf.wire0.route_localnet=1")
        _ = try outside.machine.run("ip route del local 127.0.0.0/8 dev lo table local")
        try outside.machine.output(of: "ip route add 127.0.0.1 via 192.0.2.1 dev wire0")
        #expect(try !reaches(server, from: outside.machine.path, "127.0.0.1", 7001, within: 2))
        #expect(try reaches(server, from: world.host, "127.0.0.1", 7001))
        // It is the rules that keep it out.
        if backend == "iptables" {
            try world.onHost("iptables -t raw -F PREROUTING")
        } else {
            try world.onHost("nft flush chain inet cni_portmap guard")
        }
        #expect(try reaches(server, from: outside.machine.path, "127.0.0.1", 7001))
    }

    @Test("isolation outlasts a reload of the rules of iptables")
    func isolation() throws {
        let network = network("nftables", policy: "isolated", port: 8080)
        let (one, two) = (try world.container(), try world.container())
        try network.add(one)
        try network.add(two)
        // As a reload of iptables' own rules does.
        for table in ["filter", "nat"] { try world.onHost("iptables -t \(table) -F") }
        try world.onHost("iptables -P FORWARD ACCEPT")
        #expect(try !one.run("ping -c 1 -W 1 10.71.0.3").succeeded)
        #expect(try !two.run("ping -c 1 -W 1 10.71.0.2").succeeded)
        #expect(try one.reaches(Outside.address))
    }

    @Test("DEL finds the rules of iptables where the plugin's own table has been deleted")
    func withoutTable() throws {
        let network = network("nftables")
        let (container, neighbour) = (try world.container(), try world.container())
        try network.add(neighbour)
        try network.add(container)
        try world.onHost("nft delete table inet cni_firewall")
        try network.del(container, withResult: false)
        let rules = try world.onHost("iptables -S")
        #expect(!rules.contains("10.71.0.3/32") && rules.contains("-s 10.71.0.2/32"))
    }

    @Test("a second ADD of the only isolated container leaves it isolated")
    func again() throws {
        let network = network("nftables", policy: "isolated")
        let container = try world.container()
        try network.add(container)
        let before = try world.onHost("nft list ruleset")
        let ended = try world.call(
            "firewall", "ADD",
            network.configuration(network.plugins[2], previous: network.result(of: container)),
            container)
        #expect(ended.succeeded, "\(ended.output)")
        let sorted = { (text: String) in text.split(separator: "\n").sorted() }
        #expect(try sorted(world.onHost("nft list ruleset")).count == sorted(before).count)
        #expect(try network.check(container) == nil)
    }

    /// `route_localnet` of the bridge.
    private func routesLoopback() throws -> String {
        try world.onHost("sysctl -n net.ipv4.conf.cni0.route_localnet")
    }

    @Test("with the last port the link to the containers routes 127.0.0.0/8 no more")
    func loopbackClosed() throws {
        let networks = [network("nftables"), network("iptables", port: 9090, name: "db")]
        for order in [[0, 1], [1, 0]] {
            let containers = try networks.map { network in
                let container = try world.container()
                try network.add(container)
                return container
            }
            #expect(try routesLoopback() == "1\n")
            try networks[order[0]].del(containers[order[0]])
            #expect(try routesLoopback() == "1\n")
            try networks[order[1]].del(containers[order[1]])
            #expect(try routesLoopback() == "0\n")
            #expect(try !world.onHost("nft list ruleset").contains("cni_route_localnet"))
        }
    }

    @Test(
        "it routes them no more also where the rules have been flushed meanwhile",
        arguments: backends)
    func loopbackAfterFlush(backend: String) throws {
        let network = network(backend)
        let (one, two) = (try world.container(), try world.container())
        try network.add(one)
        try world.onHost("nft flush ruleset")
        try network.add(two)
        for container in [one, two] { try network.del(container) }
        #expect(try routesLoopback() == "0\n")
    }

    @Test("an ADD that fails leaves 127.0.0.0/8 as it was")
    func loopbackAfterFailure() throws {
        let lan = Network(bridge: "{}", name: "lan", version: "1.1.0", in: world)
        let container = try world.container()
        let result = try lan.add(container)
        let network = network("iptables")
        let call = network.configuration(
            network.plugins[1], previous: result, with: #"{"externalSetMarkChain": "NOPE"}"#)
        #expect(try !world.call("portmap", "ADD", call, container).succeeded)
        #expect(try routesLoopback() == "0\n")
    }
}
