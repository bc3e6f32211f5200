import Foundation
import Testing

@Suite("portmap: conditions", .enabled(if: isRoot))
struct PortConditionTests {
    let world: World
    let outside: Outside

    init() throws {
        world = try World()
        outside = try Outside(world)
        try outside.addRoutes()
    }

    private func network(
        _ keys: JSON = "{}", name: String = "web", subnet: Int = 71, bridge: String = "cni0"
    ) -> Network {
        let portmap: JSON = #"{"type": "portmap"}"#
        return Network(
            dualStack: #"{"bridge": "\#(bridge)"}"#, subnet: subnet, then: portmap.merging(keys),
            name: name, in: world)
    }

    private func mapping(_ port: Int, _ kind: String = "tcp") -> JSON {
        JSON(
            text: #"{"runtimeConfig": {"portMappings": [{"hostPort": \#(port), "#
                + #""containerPort": 80, "protocol": "\#(kind)"}]}}"#)
    }

    private func reaches(
        _ server: Socket, from namespace: String, _ address: String, _ port: Int = 8080,
        within seconds: Int = 10
    ) throws -> Bool {
        let client = try Socket.client(
            .tcp, to: address, port: port, in: namespace, within: seconds)
        return client != nil && server.peer(within: seconds) != nil
    }

    private func ruleset() throws -> String { try world.onHost("nft list ruleset") }

    @Test(
        "a port leads to the container only for those who meet its network's conditions",
        arguments: [
            #"["!", "-s", "192.0.2.0/24"]"#, #"["ip saddr != 192.0.2.0/24"]"#,
            #"["ip", "saddr", "{ 127.0.0.0/8, 192.0.2.1 }"]"#, #"["!", "-i", "up+"]"#,
            #"["-m", "mark", "--mark", "0x0/0xff", "-s", "127.0.0.1,192.0.2.1"]"#,
            #"["-m", "conntrack", "--ctstate", "NEW", "!", "-s", "192.0.2.2"]"#,
        ])
    func kept(conditions: String) throws {
        let web = network(JSON(text: #"{"conditionsV4": \#(conditions)}"#))
        let db = network(name: "db", subnet: 72, bridge: "cni1")
        let (one, two) = (try world.container(), try world.container())
        try web.add(one, with: mapping(8080))
        try db.add(two, with: mapping(9090))
        let (first, second) = (
            try Socket.server(.tcp, port: 80, in: one.path),
            try Socket.server(.tcp, port: 80, in: two.path)
        )
        #expect(try !reaches(first, from: outside.machine.path, "192.0.2.1", within: 2))
        #expect(try reaches(first, from: world.host, "127.0.0.1"))
        #expect(try one.reaches("fd00:71::1"))
        #expect(try reaches(first, from: outside.machine.path, "2001:db8::1"))
        #expect(try reaches(second, from: outside.machine.path, "192.0.2.1", 9090))
        #expect(try web.check(one) == nil)
        try web.del(one)
        #expect(try reaches(second, from: outside.machine.path, "192.0.2.1", 9090))
        #expect(try !ruleset().contains("if-"))
        try db.del(two)
        #expect(try ruleset() == "")
    }

    @Test("who has waited for a port gets it with the conditions of its own network")
    func inherited() throws {
        let open = network()
        let closed = network(
            #"{"conditionsV4": ["ip saddr != 192.0.2.2"]}"#, name: "db", subnet: 72, bridge: "cni1")
        let (holder, waiting) = (try world.container(), try world.container())
        try open.add(holder, with: mapping(8080))
        let before = try ruleset()
        try closed.add(waiting, with: mapping(8080))
        let (first, second) = (
            try Socket.server(.tcp, port: 80, in: holder.path),
            try Socket.server(.tcp, port: 80, in: waiting.path)
        )
        #expect(try reaches(first, from: outside.machine.path, "192.0.2.1"))
        try open.del(holder)
        #expect(try !reaches(second, from: outside.machine.path, "192.0.2.1", within: 2))
        #expect(try reaches(second, from: world.host, "192.0.2.1"))
        #expect(try closed.check(waiting) == nil)
        try open.add(holder, with: mapping(8080))
        try closed.del(waiting)
        #expect(try reaches(first, from: outside.machine.path, "192.0.2.1"))
        #expect(!before.contains("if-"))
        try open.del(holder)
        #expect(try ruleset() == "")
    }

    @Test("one port leads to two networks' containers, each for those who meet its conditions")
    func split() throws {
        let port = mapping(8080)
        let inside = network(port.merging(#"{"conditionsV4": ["ip saddr 127.0.0.0/8"]}"#))
        let remote = network(
            port.merging(#"{"conditionsV4": ["ip saddr 192.0.2.2"]}"#), name: "db", subnet: 72,
            bridge: "cni1")
        let (one, two) = (try world.container(), try world.container())
        try inside.add(one)
        try remote.add(two)
        let (first, second) = (
            try Socket.server(.tcp, port: 80, in: one.path),
            try Socket.server(.tcp, port: 80, in: two.path)
        )
        #expect(try reaches(first, from: world.host, "127.0.0.1"))
        #expect(try reaches(second, from: outside.machine.path, "192.0.2.1"))
        // Nobody's conditions are those of the host's own address.
        #expect(try !reaches(first, from: world.host, "192.0.2.1", within: 2))
        #expect(try inside.check(one) == nil)
        #expect(try remote.check(two) == nil)
        // A second ADD doubles nothing.
        let before = try ruleset()
        let again = try world.call(
            "portmap", "ADD",
            remote.configuration(remote.plugins[1], previous: remote.result(of: two)), two)
        #expect(again.succeeded, "\(again.output)")
        #expect(
            try ruleset().split(separator: "\n").count == before.split(separator: "\n").count)
        let queue = try #require(before.firstMatch(of: /chain (queue-[0-9a-f]+)/)).1
        try world.onHost("nft flush chain inet cni_portmap \(queue)")
        #expect(try remote.check(two) != nil)
        try inside.del(one)
        #expect(try !reaches(second, from: world.host, "127.0.0.1", within: 2))
        #expect(try reaches(second, from: outside.machine.path, "192.0.2.1"))
        #expect(try !ruleset().contains("queue-"))
        try remote.del(two)
        #expect(try ruleset() == "")
    }

    @Test("of those who wait for a port the one who came first gets it, and keeps what he had")
    func order() throws {
        let port = mapping(8080)
        let networks = [
            network(port.merging(#"{"conditionsV4": ["ip saddr 127.0.0.0/8"]}"#)),
            network(
                port.merging(#"{"conditionsV4": ["ip saddr 192.0.2.2"]}"#), name: "db", subnet: 72,
                bridge: "cni1"),
            network(port, name: "all", subnet: 73, bridge: "cni2"),
        ]
        let containers = try networks.map { network in
            let container = try world.container()
            try network.add(container)
            return container
        }
        let servers = try containers.map { try Socket.server(.tcp, port: 80, in: $0.path) }
        for hasFirst in [true, false] {
            #expect(try reaches(servers[1], from: outside.machine.path, "192.0.2.1"))
            #expect(try reaches(servers[2], from: world.host, "192.0.2.1"))
            #expect(try reaches(servers[hasFirst ? 0 : 2], from: world.host, "127.0.0.1"))
            if hasFirst { try networks[0].del(containers[0]) }
        }
        #expect(try networks[1].check(containers[1]) == nil)
        #expect(try networks[2].check(containers[2]) == nil)
        try networks[1].del(containers[1])
        #expect(try reaches(servers[2], from: outside.machine.path, "192.0.2.1"))
        try networks[2].del(containers[2])
        #expect(try ruleset() == "")
    }

    @Test("a container of the network that waits for a port reaches it over the host's address")
    func splitHairpin() throws {
        let inside = network(#"{"conditionsV4": ["ip saddr 127.0.0.0/8"]}"#)
        let own = network(
            #"{"conditionsV4": ["ip saddr 10.72.0.0/16"]}"#, name: "db", subnet: 72, bridge: "cni1")
        let (one, two, client) = (
            try world.container(), try world.container(), try world.container()
        )
        try inside.add(one, with: mapping(8080))
        try own.add(two, with: mapping(8080))
        try own.add(client, with: mapping(9090))
        let second = try Socket.server(.tcp, port: 80, in: two.path)
        #expect(try reaches(second, from: client.path, "192.0.2.1"))
        try own.del(two)
        #expect(try own.check(client) == nil)
        #expect(try !ruleset().contains("queue-"))
        try own.del(client)
        try inside.del(one)
        #expect(try ruleset() == "")
    }

    @Test("a mapping of a protocol that the conditions shut out is not made")
    func otherProtocol() throws {
        let network = network(#"{"conditionsV4": ["-p", "udp"], "conditionsV6": ["-p", "udp"]}"#)
        let container = try world.container()
        try network.add(container, with: mapping(8080))
        #expect(try !ruleset().contains("8080"))
        #expect(try network.check(container) == nil)
        try network.add(try world.container(), with: mapping(8081, "udp"))
        #expect(try ruleset().contains("8081"))
    }

    @Test("CHECK tells conditions that somebody has changed")
    func damage() throws {
        let keys: JSON = #"{"conditionsV4": ["ip saddr != 192.0.2.2"]}"#
        let network = network(keys.merging(mapping(8080)))
        let container = try world.container()
        try network.add(container)
        #expect(try network.check(container) == nil)
        let chain = try #require(ruleset().firstMatch(of: /chain (if-[0-9a-f]+)/)).1
        try world.onHost("nft flush chain inet cni_portmap \(chain)")
        #expect(try network.check(container) != nil)
        try world.onHost("nft flush map inet cni_portmap any4_condition")
        #expect(try network.check(container) != nil)
        try network.gc(keeping: [])
        #expect(try ruleset() == "")
    }

    @Test(
        "what cannot be expressed is refused by its place, before anything is made",
        arguments: [
            (#"{"conditionsV4": ["-m", "geoip"]}"#, "conditionsV4[1]: the match \"geoip\""),
            (#"{"conditionsV4": ["-s", "10.0.0.0/33"]}"#, "conditionsV4[1]: not an address"),
            (#"{"conditionsV6": ["ip6 saddr 10.0.0.0/8"]}"#, "conditionsV6[0]: an address of"),
            (#"{"conditionsV4": ["ip", "saddr"]}"#, "conditionsV4[1]: a value is missing"),
            (#"{"conditionsV4": ["limit rate 1/second"]}"#, "conditionsV4[0]: \"limit\" cannot"),
            (
                #"{"backend": "nftables", "conditionsV4": ["-i", "eth0"]}"#,
                "conditionsV4: nftables backend was requested but configuration contains "
                    + "iptables-specific options [conditionsV4]"
            ),
            (
                #"{"backend": "iptables", "conditionsV6": ["iifname eth0"]}"#,
                "conditionsV6: iptables backend was requested but configuration contains "
                    + "nftables-specific options [conditionsV6]"
            ),
            (
                #"{"backend": "nftables", "externalSetMarkChain": "X"}"#,
                "externalSetMarkChain: nftables backend was requested"
            ),
            (
                #"{"markMasqBit": 3, "externalSetMarkChain": "X"}"#,
                "Cannot specify externalSetMarkChain and markMasqBit"
            ),
        ])
    func refused(keys: String, message: String) throws {
        let network = network(JSON(text: keys))
        let container = try world.container()
        let ended = try network.tryAdd(container, with: mapping(8080))
        #expect(ended.json["code"].number == 7)
        #expect(ended.json["msg"].string?.contains(message) == true, "\(ended.output)")
        #expect(try ruleset() == "")
        try network.del(container)
    }

    @Test("who does not meet the conditions of a port of one address gets the one of all addresses")
    func oneAddress() throws {
        let all = network(mapping(8080), name: "db", subnet: 72, bridge: "cni1")
        let one = network(
            #"""
            {"conditionsV4": ["ip saddr 127.0.0.0/8"], "runtimeConfig": {"portMappings":
                [{"hostPort": 8080, "containerPort": 80, "hostIP": "192.0.2.1"}]}}
            """#)
        let (first, second) = (try world.container(), try world.container())
        try all.add(second)
        try one.add(first)
        let server = try Socket.server(.tcp, port: 80, in: second.path)
        #expect(try reaches(server, from: outside.machine.path, "192.0.2.1"))
        #expect(try one.check(first) == nil)
        #expect(try all.check(second) == nil)
        try all.del(second)
        #expect(
            try Socket.client(
                .tcp, to: "192.0.2.1", port: 8080, in: outside.machine.path, within: 1) == nil)
        try one.del(first)
        #expect(try ruleset() == "")
    }

    @Test(
        "the rules of one who waits may be saved and loaded by nft, and are his still",
        arguments: [
            #"["ip saddr { 10.0.0.0/8, 192.0.2.2 }"]"#, #"["tcp sport != { 1-10, 50 }"]"#,
            #"["tcp sport 1024-65535"]"#, #"["tcp sport != 1-1023"]"#,
        ])
    func saved(conditions: String) throws {
        let holds = network(
            mapping(8080).merging(
                #"{"conditionsV4": ["ip saddr { 127.0.0.0/8, 10.71.0.1 }", "tcp sport 1-65535"]}"#))
        let waits = network(
            mapping(8080).merging(JSON(text: #"{"conditionsV4": \#(conditions)}"#)), name: "db",
            subnet: 72, bridge: "cni1")
        let (one, two) = (try world.container(), try world.container())
        try holds.add(one)
        try waits.add(two)
        let before = try ruleset()
        try world.load(before)
        #expect(try ruleset() == before)
        let server = try Socket.server(.tcp, port: 80, in: two.path)
        #expect(try reaches(server, from: outside.machine.path, "192.0.2.1"))
        #expect(try holds.check(one) == nil)
        #expect(try waits.check(two) == nil)
        try holds.del(one)
        #expect(try reaches(server, from: outside.machine.path, "192.0.2.1"))
        try waits.del(two)
        #expect(try ruleset() == "")
    }

    @Test("more conditions than a rule holds are refused by their place, and change nothing")
    func tooMany() throws {
        for (count, isRefused) in [(12, false), (60, true), (2000, true)] {
            let words = (0..<count).flatMap {
                ["!", "-s", "10.\($0 / 250).\($0 % 250).0/24"]
            }
            let network = network(JSON(["conditionsV4": words]))
            let container = try world.container()
            try world.unchanged {
                let ended = try network.tryAdd(container, with: mapping(8080))
                #expect(ended.succeeded != isRefused, "\(ended.status) \(ended.output)")
                if isRefused {
                    #expect(ended.json["msg"].string?.contains("conditionsV4") == true)
                }
                try network.del(container)
                try world.onHost("ip link del cni0")
            }
        }
    }
}
