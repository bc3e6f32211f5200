import Foundation
import Testing

@Suite("portmap", .enabled(if: isRoot))
struct PortmapTests {
    let world: World
    let outside: Outside

    init() throws {
        world = try World()
        outside = try Outside(world)
        try outside.addRoutes()
    }

    /// A bridge network with portmap after it.
    private func network(_ keys: JSON = "{}", name: String = "web") -> Network {
        let portmap: JSON = #"{"type": "portmap"}"#
        return Network(
            dualStack: #"{"hairpinMode": true}"#, then: portmap.merging(keys), name: name, in: world
        )
    }

    private func mapping(_ entries: String) -> JSON {
        JSON(text: #"{"runtimeConfig": {"portMappings": [\#(entries)]}}"#)
    }

    /// Lets the host hear of the container's IPv6 address: a new bridge asks for none until its
    /// link-local address has passed duplicate address detection.
    private func heard(_ container: World.Container) throws {
        #expect(try container.reaches("fd00:71::1"))
    }

    private let web = #"{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}"#
    private func ruleset() throws -> String { try world.onHost("nft list ruleset") }

    /// Whom the container's server sees when somebody connects to a port; nil when nobody comes.
    private func peer(
        of server: Socket, from namespace: String, to address: String, port: Int = 8080,
        _ kind: Socket.Kind = .tcp
    ) throws -> String? {
        let client = try Socket.client(kind, to: address, port: port, in: namespace)
        return client == nil ? nil : server.peer()
    }

    @Test(
        "ports are those of the interface in the container, not of one of the host that has its name"
    )
    func namesake() throws {
        let bridge = Network(in: world)
        let container = try world.container()
        var result = try bridge.add(container)
        let portmap = { (result: JSON) in
            let plugin = JSON(text: #"{"type": "portmap"}"#).merging(self.mapping(self.web))
            let ended = try self.world.call(
                "portmap", "ADD", bridge.configuration(plugin, previous: result), container)
            #expect(ended.succeeded, "\(ended.output)")
        }
        var (interfaces, addresses) = (result["interfaces"].array, result["ips"].array)
        interfaces.append(#"{"name": "eth0"}"#)
        addresses.insert(#"{"interface": 3, "address": "10.71.9.9/16"}"#, at: 0)
        result["interfaces"] = JSON(interfaces.map(\.value))
        result["ips"] = JSON(Array(addresses.prefix(1)).map(\.value))
        try portmap(result)
        #expect(try !ruleset().contains("10.71.9.9"))
        result["ips"] = JSON(addresses.map(\.value))
        try portmap(result)
        #expect(try ruleset().contains("10.71.0.2") && !ruleset().contains("10.71.9.9"))
    }

    @Test("no netlink socket outlives the calls that opened it")
    func leavesNoSocket() throws {
        let sockets = {
            try world.onHost("cat /proc/net/netlink").split(separator: "\n").count
        }
        let before = try sockets()
        let network = network()
        let container = try world.container()
        for _ in 1...5 {
            try network.add(container, with: mapping(web))
            try network.del(container)
        }
        // The kernel closes them when it comes to it.
        // Of those that were there before, one may have been closing.
        try waitFor("end of the sockets") { try sockets() <= before }
    }

    @Test("a port of the host leads to the container from outside, in both families")
    func fromOutside() throws {
        let network = network()
        let container = try world.container()
        try network.add(container, with: mapping(web))
        let server = try Socket.server(.tcp, port: 80, in: container.path)
        let from = outside.machine.path
        #expect(try peer(of: server, from: from, to: "192.0.2.1") == Outside.address)
        try heard(container)
        #expect(try peer(of: server, from: from, to: "2001:db8::1") == Outside.address6)
        try network.del(container)
        #expect(try ruleset() == "")
    }

    @Test("the host reaches it by its own addresses and by 127.0.0.1")
    func fromHost() throws {
        let network = network()
        let container = try world.container()
        try network.add(container, with: mapping(web))
        let server = try Socket.server(.tcp, port: 80, in: container.path)
        #expect(try peer(of: server, from: world.host, to: "192.0.2.1") != nil)
        #expect(try peer(of: server, from: world.host, to: "127.0.0.1") == "10.71.0.1")
        try heard(container)
        #expect(try peer(of: server, from: world.host, to: "2001:db8::1") != nil)
    }

    @Test("the container itself and its neighbours reach it by the host's address")
    func hairpin() throws {
        let network = network()
        let (container, neighbour) = (try world.container(), try world.container())
        try network.add(container, with: mapping(web))
        try network.add(neighbour)
        let server = try Socket.server(.tcp, port: 80, in: container.path)
        #expect(try peer(of: server, from: container.path, to: "192.0.2.1") == "10.71.0.1")
        #expect(try peer(of: server, from: neighbour.path, to: "192.0.2.1") == "10.71.0.1")
    }

    @Test("snat false leaves sources alone, masqAll hides every one")
    func sources() throws {
        for (keys, seen) in [
            (#"{"snat": false}"#, Outside.address), (#"{"masqAll": true}"#, "10.71.0.1"),
        ] {
            let network = network(JSON(text: keys))
            let container = try world.container()
            let address = try network.add(container, with: mapping(web))["ips"][0]["gateway"].string
            #expect(address == "10.71.0.1")
            let server = try Socket.server(.tcp, port: 80, in: container.path)
            #expect(try peer(of: server, from: outside.machine.path, to: "192.0.2.1") == seen)
            try network.del(container)
        }
        #expect(try ruleset() == "")
    }

    @Test("hostIP restricts a mapping to one address, and two may share a port that way")
    func hostAddress() throws {
        try world.onHost("ip addr add 192.0.2.9/24 dev up0")
        let network = network()
        let (one, two) = (try world.container(), try world.container())
        let at = { (address: String) in
            mapping(
                #"{"HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP", "HostIP": "\#(address)"}"#
            )
        }
        try network.add(one, with: at("192.0.2.1"))
        try network.add(two, with: at("192.0.2.9"))
        let (first, second) = (
            try Socket.server(.tcp, port: 80, in: one.path),
            try Socket.server(.tcp, port: 80, in: two.path)
        )
        let from = outside.machine.path
        #expect(try peer(of: first, from: from, to: "192.0.2.1") != nil)
        #expect(try peer(of: second, from: from, to: "192.0.2.9") != nil)
        #expect(try Socket.client(.tcp, to: "2001:db8::1", port: 8080, in: from, within: 1) == nil)
        try network.del(one)
        #expect(try peer(of: second, from: from, to: "192.0.2.9") != nil)
    }

    @Test("UDP that flows goes to the next container once the first has gone")
    func udp() throws {
        let network = network()
        let dns = mapping(#"{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}"#)
        let (one, two) = (try world.container(), try world.container())
        try network.add(one, with: dns)
        let first = try Socket.server(.udp, port: 53, in: one.path)
        let client = try #require(
            try Socket.client(.udp, to: "192.0.2.1", port: 5353, in: outside.machine.path))
        #expect(first.peer() == Outside.address)
        let keys = dns
        for plugin in network.plugins.reversed() {
            let ended = try world.call(
                plugin["type"].string ?? "", "DEL", network.configuration(plugin, with: keys), one)
            #expect(ended.succeeded)
        }
        try network.add(two, with: dns)
        let second = try Socket.server(.udp, port: 53, in: two.path)
        client.say()
        #expect(second.peer() == Outside.address)
    }

    @Test("a port that another container has stays that one's, and is the next one's after it")
    func taken() throws {
        let network = network()
        let (holder, late) = (try world.container(), try world.container())
        try network.add(holder, with: mapping(web))
        let before = try ruleset()
        try network.add(late, with: mapping(web))
        let first = try Socket.server(.tcp, port: 80, in: holder.path)
        let second = try Socket.server(.tcp, port: 80, in: late.path)
        let from = outside.machine.path
        #expect(try peer(of: first, from: from, to: "192.0.2.1") == Outside.address)
        #expect(try network.check(late) == nil)
        try network.del(late)
        #expect(try ruleset() == before)
        try network.add(late, with: mapping(web))
        try network.del(holder)
        #expect(try peer(of: second, from: from, to: "192.0.2.1") == Outside.address)
        #expect(try network.check(late) == nil)
        try network.del(late)
        #expect(try ruleset() == "")
    }

    @Test("the rules are as many for twenty mappings as for one, and DEL takes only its own")
    func constantRules() throws {
        let network = network()
        let containers = try (0..<4).map { _ in try world.container() }
        let count = {
            JSON(text: try world.onHost("nft -j list ruleset"))["nftables"].array
                .filter { !$0["rule"].isNull }.count
        }
        try network.add(containers[0], with: mapping(web))
        let few = try count()
        for (index, container) in containers.enumerated().dropFirst() {
            let entries = (0..<5).map {
                #"{"hostPort": \#(9000 + index * 10 + $0), "containerPort": 80, "protocol": "sctp"}"#
            }
            try network.add(container, with: mapping(entries.joined(separator: ",")))
        }
        #expect(try count() == few)
        for container in containers.dropFirst() { try network.del(container) }
        let rules = try ruleset()
        #expect(rules.contains("web \(containers[0].id) eth0"))
        #expect(!rules.contains(containers[1].id))
        try network.del(containers[0], withResult: false)
        #expect(try ruleset() == "")
    }

    @Test("a mapping of one family's address leaves nothing of the other's after it")
    func oneFamily() throws {
        let network = network()
        for address in ["192.0.2.1", "2001:db8::1"] {
            let container = try world.container()
            let entry = #"{"hostPort": 53, "containerPort": 53, "hostIP": "\#(address)"}"#
            try network.add(container, with: mapping(entry))
            #expect(try ruleset().contains(address))
            try network.del(container)
            #expect(try ruleset() == "")
        }
    }

    @Test("the rules may be saved and loaded by nft, and are then what they were")
    func saved() throws {
        let network = network(
            #"{"ipMasq": true, "masqAll": true, "conditionsV4": ["ip saddr != 10.0.0.0/8"]}"#)
        let other = Network(
            dualStack: #"{"hairpinMode": true, "bridge": "cni1"}"#, subnet: 72,
            then: #"{"type": "portmap"}"#, name: "db", in: world)
        let (container, second) = (try world.container(), try world.container())
        try network.add(container, with: mapping(web))
        let entry =
            #"{"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.1"}"#
        try other.add(second, with: mapping(entry))
        let before = try ruleset()
        try world.load(before)
        #expect(try ruleset() == before)
        let server = try Socket.server(.tcp, port: 80, in: container.path)
        #expect(try peer(of: server, from: outside.machine.path, to: "192.0.2.1") == "10.71.0.1")
        for (network, container, keys) in [
            (network, container, mapping(web)), (other, second, mapping(entry)),
        ] {
            let ended = try world.call(
                "portmap", "CHECK",
                network.configuration(
                    network.plugins[1], previous: network.result(of: container), with: keys),
                container)
            #expect(ended.succeeded, "\(ended.output)")
            try network.del(container)
        }
        let left = try ruleset()
        #expect(left == "", "\(left)")
    }

    @Test("CHECK names a mapping that is gone; GC removes what is not in the list")
    func checkAndCollect() throws {
        let network = network(mapping(web))
        let container = try world.container()
        try network.add(container)
        #expect(try network.check(container) == nil)
        try world.onHost("nft flush map inet cni_portmap any4")
        #expect(try network.check(container)?.contains("port mapping 8080/tcp to 80") == true)
        try network.gc(keeping: [])
        #expect(try ruleset() == "")
    }

    @Test("without mappings nothing is made and the result goes through")
    func nothingToDo() throws {
        let network = network()
        let container = try world.container()
        let result = try network.add(container)
        #expect(result["ips"].array.count == 2)
        #expect(try ruleset() == "")
        try network.del(container)
    }

    @Test(
        "what makes no sense is refused by name",
        arguments: [
            (#"{"hostPort": 0, "containerPort": 80}"#, "Invalid host port number: 0"),
            (#"{"hostPort": 80, "containerPort": -1}"#, "Invalid container port number: -1"),
            (#"{"hostPort": 80, "containerPort": 80, "protocol": "x"}"#, "unknown protocol \"x\""),
            (#"{"hostPort": 80, "containerPort": 80, "hostIP": "x"}"#, "not an IP address: \"x\""),
        ])
    func refused(entry: String, message: String) throws {
        let network = network()
        let container = try world.container()
        let ended = try network.tryAdd(container, with: mapping(entry))
        #expect(ended.json["code"].number == 7)
        #expect(ended.json["msg"].string?.contains(message) == true)
    }

    @Test("an ADD fills chains again that somebody has emptied")
    func emptied() throws {
        let network = network()
        let (one, two) = (try world.container(), try world.container())
        try network.add(one, with: mapping(web))
        try world.onHost("nft flush table inet cni_portmap")
        let other = mapping(#"{"hostPort": 8081, "containerPort": 80}"#)
        try network.add(two, with: other)
        for (container, port) in [(one, 8080), (two, 8081)] {
            let server = try Socket.server(.tcp, port: 80, in: container.path)
            let from = outside.machine.path
            #expect(try peer(of: server, from: from, to: "192.0.2.1", port: port) != nil)
            #expect(try peer(of: server, from: world.host, to: "127.0.0.1", port: port) != nil)
            #expect(try network.check(container) == nil)
            try network.del(container)
        }
        #expect(try ruleset() == "")
    }

    @Test(
        "the host needs no way to the container",
        arguments: ["blackhole", "prohibit", "unreachable"])
    func noWay(kind: String) throws {
        let network = network()
        let container = try world.container()
        let portmap = network.plugins[1].merging(mapping(web))
        let previous: JSON = #"{"cniVersion": "1.1.0", "ips": [{"address": "10.99.0.2/16"}]}"#
        try world.onHost("ip route add \(kind) 10.99.0.0/16")
        let call = network.configuration(portmap, previous: previous)
        for verb in ["ADD", "CHECK", "DEL"] {
            let ended = try world.call("portmap", verb, call, container)
            #expect(ended.succeeded, "\(verb): \(ended.output)")
        }
        #expect(try ruleset() == "")
    }

    @Test("a second ADD with another address or other ports replaces the first one's")
    func replaced() throws {
        let network = network()
        let container = try world.container()
        var previous = try network.add(container, with: mapping(web))
        let portmap = network.plugins[1]
        let add = { (keys: JSON) in
            let call = network.configuration(portmap, previous: previous, with: keys)
            let ended = try world.call("portmap", "ADD", call, container)
            #expect(ended.succeeded, "\(ended.output)")
            #expect(try world.call("portmap", "CHECK", call, container).succeeded)
        }
        try add(mapping(web))
        try add(mapping(#"{"hostPort": 8081, "containerPort": 80}"#))
        let server = try Socket.server(.tcp, port: 80, in: container.path)
        let from = outside.machine.path
        #expect(try peer(of: server, from: from, to: "192.0.2.1", port: 8081) != nil)
        #expect(try Socket.client(.tcp, to: "192.0.2.1", port: 8080, in: from, within: 1) == nil)
        try container.output(of: "ip addr add 10.71.0.99/16 dev eth0")
        previous["ips"] = JSON([["address": "10.71.0.99/16", "interface": 2]])
        try add(mapping(web))
        #expect(try peer(of: server, from: from, to: "192.0.2.1") != nil)
        #expect(try ruleset().contains("10.71.0.99 . 80"))
        #expect(try !ruleset().contains("fd00:71::2"))
        try network.del(container)
        #expect(try ruleset() == "")
    }

    @Test("what flows to the same port elsewhere is not forgotten")
    func strangers() throws {
        let masquerading = Network(
            dualStack: #"{"ipMasq": true, "bridge": "cni1"}"#, subnet: 72, name: "db", in: world)
        let (stranger, container) = (try world.container(), try world.container())
        try masquerading.add(stranger)
        let server = try Socket.server(.udp, port: 5353, in: outside.machine.path)
        let client = try #require(
            try Socket.client(.udp, to: Outside.address, port: 5353, in: stranger.path))
        #expect(server.peer() == "192.0.2.1")
        let tracked = {
            try world.onHost("cat /proc/net/nf_conntrack").split(separator: "\n")
                .filter { $0.contains("src=10.72.0.2") && $0.contains("dport=5353") }.count
        }
        let network = network()
        let keys = mapping(#"{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}"#)
        try network.add(container, with: keys)
        #expect(try tracked() == 1)
        try network.del(container)
        #expect(try tracked() == 1)
        client.say()
    }

    @Test("snat false leaves sources alone with masqAll too")
    func unhidden() throws {
        let network = network(#"{"snat": false, "masqAll": true}"#)
        let container = try world.container()
        try network.add(container, with: mapping(web))
        let server = try Socket.server(.tcp, port: 80, in: container.path)
        #expect(
            try peer(of: server, from: outside.machine.path, to: "192.0.2.1") == Outside.address)
        #expect(try network.check(container) == nil)
    }
}
