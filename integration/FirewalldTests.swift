import Glibc
import Testing

@Suite("firewall by firewalld", .enabled(if: isRoot))
struct FirewalldTests {
    let world: World
    let outside: Outside
    let firewalld: Firewalld

    init() throws {
        world = try World()
        outside = try Outside(world)
        try outside.addRoutes()
        firewalld = try Firewalld(world)
    }

    private func network(
        _ keys: JSON = "{}", name: String = "web", subnet: Int = 71, bridge: String = "cni0"
    ) -> Network {
        let firewall: JSON = #"{"type": "firewall"}"#
        return Network(
            dualStack: #"{"bridge": "\#(bridge)"}"#, subnet: subnet, then: firewall.merging(keys),
            name: name, in: world)
    }

    private func ruleset() throws -> String { try world.onHost("nft list ruleset") }

    @Test("where it runs, the addresses are sources of its zone, and the container is answered")
    func admitted() throws {
        let network = network()
        let (container, other) = (try world.container(), try world.container())
        try network.add(other)
        let bare = Network(
            dualStack: #"{"bridge": "cni1"}"#, subnet: 72, name: "bare", in: world)
        let refused = try world.container()
        try bare.add(refused)
        try world.unchanged {
            try network.add(container)
            #expect(
                try firewalld.sources()
                    == ["10.71.0.2/32", "10.71.0.3/32", "fd00:71::2/128", "fd00:71::3/128"])
            #expect(try !ruleset().contains("CNI-FORWARD"))
            #expect(try container.reaches(Outside.address))
            #expect(try container.run("ping -c 1 -w 20 \(Outside.address6)").succeeded)
            #expect(try !refused.run("ping -c 1 -W 1 \(Outside.address)").succeeded)
            #expect(try network.check(container) == nil)
            try network.del(container)
        }
        #expect(try firewalld.sources() == ["10.71.0.2/32", "fd00:71::2/128"])
        try network.del(other, withResult: false)
        #expect(try firewalld.sources() == [])
        #expect(try !ruleset().contains("cni_firewalld"))
    }

    @Test("the zone is the one asked for, and whoever has moved the address, DEL takes it out")
    func zones() throws {
        let network = network(#"{"backend": "firewalld", "firewalldZone": "internal"}"#)
        let container = try world.container()
        try network.add(container)
        #expect(try firewalld.sources(of: "internal") == ["10.71.0.2/32", "fd00:71::2/128"])
        try firewalld.command("--zone=block --change-source=10.71.0.2/32")
        #expect(
            try network.check(container)?.contains("source 10.71.0.2 of zone internal") == true)
        try network.del(container)
        #expect(try firewalld.sources(of: "internal") + firewalld.sources(of: "block") == [])
    }

    @Test("a late DEL leaves the address with its next owner, and GC takes what is nobody's")
    func late() throws {
        let network = network()
        let new = try network.successor()
        #expect(try firewalld.sources() == ["10.71.0.50/32", "fd00:71::3/128"])
        #expect(try network.check(new) == nil)
        try network.gc(keeping: [(new, "eth0")])
        #expect(try firewalld.sources().count == 2)
        try network.gc(keeping: [])
        #expect(try firewalld.sources() == [])
    }

    @Test("an address of somebody else's zone fails ADD, and nothing of it stays")
    func conflict() throws {
        let network = network()
        let first = try world.container()
        try network.add(first)
        try firewalld.command("--zone=block --add-source=fd00:71::3/128")
        let container = try world.container()
        let result = try world.call(
            "bridge", "ADD", network.configuration(network.plugins[0]), container)
        let before = try ruleset()
        let ended = try world.call(
            "firewall", "ADD", network.configuration(network.plugins[1], previous: result.json),
            container)
        #expect(
            ended.json["msg"].string?.contains(
                "add fd00:71::3 to zone trusted of firewalld: ") == true, "\(ended.output)")
        #expect(ended.json["msg"].string?.contains("ZONE_CONFLICT") == true)
        #expect(try firewalld.sources() == ["10.71.0.2/32", "fd00:71::2/128"])
        #expect(try firewalld.sources(of: "block") == ["fd00:71::3/128"])
        #expect(try ruleset() == before)
    }

    @Test("its reload forgets the containers, CHECK says so, and a second ADD admits them anew")
    func reload() throws {
        let network = network()
        let container = try world.container()
        try network.add(container)
        #expect(try firewalld.command("--reload").succeeded)
        #expect(try network.check(container)?.contains("source 10.71.0.2 of zone trusted") == true)
        let again = try world.call(
            "firewall", "ADD",
            network.configuration(network.plugins[1], previous: network.result(of: container)),
            container)
        #expect(again.succeeded, "\(again.output)")
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try !ruleset().contains("cni_firewalld"))
    }

    @Test("isolation and the backend iptables are as without it; STATUS tells that it has ended")
    func besides() throws {
        let isolated = network(#"{"ingressPolicy": "same-bridge"}"#)
        let other = network(
            #"{"ingressPolicy": "same-bridge"}"#, name: "db", subnet: 72, bridge: "cni1")
        let told = network(
            #"{"backend": "iptables"}"#, name: "told", subnet: 73, bridge: "cni2")
        let containers = try (0..<3).map { _ in try world.container() }
        try isolated.add(containers[0])
        try other.add(containers[1])
        try told.add(containers[2])
        #expect(try !containers[0].run("ping -c 1 -W 1 10.72.0.2").succeeded)
        #expect(try containers[0].reaches(Outside.address))
        #expect(try world.onHost("iptables -S CNI-FORWARD").contains("10.73.0.2"))
        #expect(try firewalld.sources().count == 4)
        let status = { (network: Network) in
            try Command(
                [world.plugins + "/firewall"],
                environment: ["CNI_COMMAND": "STATUS", "CNI_PATH": world.plugins]
                    .merging(world.environment) { $1 },
                input: Array(network.configuration(network.plugins[1]).description.utf8),
                in: world.host
            ).wait()
        }
        let asked = network(#"{"backend": "firewalld"}"#)
        #expect(try status(asked).succeeded)
        try firewalld.end()
        #expect(try status(asked).json["code"].number == 50)
        #expect(try status(told).succeeded)
        #expect(try isolated.check(containers[0])?.contains("sources of zone trusted") == true)
        for (network, container) in zip([isolated, other, told], containers) {
            try network.del(container)
        }
        #expect(try !ruleset().contains("cni_firewall"))
    }

    @Test("a bus that lets nobody in is not waited for without an end")
    func silentBus() throws {
        let network = network(#"{"backend": "firewalld"}"#)
        let socket = world.directory + "/silent"
        let listener = try Command([
            "python3", "-c",
            "import socket, sys, time\n"
                + "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
                + "held = [s.accept() for _ in range(9)]", socket,
        ])
        defer { kill(listener.process, SIGKILL) }
        try waitFor("socket", pause: 5) { access(socket, F_OK) == 0 }
        world.environment["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=" + socket
        let container = try world.container()
        let result = try world.call(
            "bridge", "ADD", network.configuration(network.plugins[0]), container
        ).json
        let firewall = network.configuration(network.plugins[1], previous: result)
        try world.unchanged {
            for verb in ["ADD", "DEL"] {
                let start = ContinuousClock.now
                let ended = try world.call("firewall", verb, firewall, container)
                #expect(ContinuousClock.now - start < .seconds(30))
                #expect(ended.json["msg"].string?.contains("(110)") == true, "\(ended.output)")
            }
        }
    }

    @Test("what the Go plugin has put into the zone goes with its container")
    func takenOver() throws {
        let network = network()
        let container = try world.container()
        let result = try world.call(
            "bridge", "ADD", network.configuration(network.plugins[0]), container)
        let firewall = network.configuration(network.plugins[1], previous: result.json)
        let peer = try Peer.directory()
        let version: JSON = #""1.0.0""#
        var (old, previous) = (firewall, result.json)
        old["cniVersion"] = version
        previous["cniVersion"] = version
        old["prevResult"] = previous
        let ended = try world.call("firewall", "ADD", old, container, path: peer)
        #expect(ended.succeeded, "\(ended.output)\(ended.errors)")
        #expect(try firewalld.sources() == ["10.71.0.2/32", "fd00:71::2/128"])
        #expect(try world.call("firewall", "DEL", firewall, container).succeeded)
        #expect(try firewalld.sources() == [])
    }
}
