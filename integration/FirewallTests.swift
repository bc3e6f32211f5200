import Testing

@Suite("firewall", .enabled(if: isRoot))
struct FirewallTests {
    let world: World
    let outside: Outside

    init() throws {
        world = try World()
        outside = try Outside(world)
        try outside.addRoutes()
    }

    private func network(
        _ keys: JSON = "{}", name: String = "web", subnet: Int = 71, bridge: String = "cni0",
        version: String = "1.1.0"
    ) -> Network {
        let firewall: JSON = #"{"type": "firewall"}"#
        return Network(
            dualStack: #"{"bridge": "\#(bridge)"}"#, subnet: subnet, then: firewall.merging(keys),
            name: name, version: version, in: world)
    }

    private func ruleset() throws -> String { try world.onHost("nft list ruleset") }
    private func rules(_ program: String = "iptables") throws -> String {
        try world.onHost("\(program) -S")
    }

    @Test("old versions of the specification are spoken", arguments: ["0.3.0", "0.3.1", "0.4.0"])
    func oldVersions(version: String) throws {
        let network = network(version: version)
        let first = try world.container()
        try network.add(first)
        try network.del(first)
        try world.unchanged {
            let container = try world.container()
            let result = try network.add(container)
            #expect(result["cniVersion"].string == version)
            #expect(try world.onHost("iptables -S CNI-FORWARD").contains("10.71.0.3"))
            try network.del(container)
        }
    }

    @Test("where the host drops what it forwards, containers send and are answered")
    func admitted() throws {
        try world.onHost("iptables -P FORWARD DROP")
        try world.onHost("ip6tables -P FORWARD DROP")
        let network = network()
        let container = try world.container()
        try network.add(container)
        #expect(try container.reaches(Outside.address))
        // On new links the first packet of IPv6 may be lost on its way, with or without a firewall.
        #expect(try container.run("ping -c 1 -w 20 \(Outside.address6)").succeeded)
        #expect(try !outside.machine.run("ping -c 1 -W 1 10.71.0.2").succeeded)
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try rules().contains("-P FORWARD DROP"))
    }

    @Test("iptables shows the reference's rules, the admin chain decides first, DEL leaves chains")
    func shown() throws {
        let network = network(#"{"iptablesAdminChainName": "OPERATOR"}"#)
        let container = try world.container()
        try network.add(container)
        let shown = try rules()
        for rule in [
            #"-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD"#,
            #"-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j OPERATOR"#,
            "-A CNI-FORWARD -d 10.71.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A CNI-FORWARD -s 10.71.0.2/32 -j ACCEPT",
        ] { #expect(shown.contains(rule + "\n"), "\(rule)") }
        try world.onHost("iptables -C CNI-FORWARD -s 10.71.0.2/32 -j ACCEPT")
        #expect(try rules("ip6tables").contains("-A CNI-FORWARD -s fd00:71::2/128 -j ACCEPT"))
        try world.onHost("iptables -A OPERATOR -s 10.71.0.2 -j DROP")
        #expect(try !container.run("ping -c 1 -W 1 \(Outside.address)").succeeded)
        try network.del(container, withResult: false)
        let left = try rules()
        #expect(left.contains("-N CNI-FORWARD") && left.contains("-A OPERATOR -s 10.71.0.2/32"))
        #expect(!left.contains("-A CNI-FORWARD -s"))
        #expect(try !ruleset().contains("cni_firewall"))
    }

    @Test("another bridge's containers are kept out, the same bridge's are not")
    func sameBridge() throws {
        let keys: JSON = #"{"ingressPolicy": "same-bridge"}"#
        let web = network(keys)
        let db = network(keys, name: "db", subnet: 72, bridge: "cni1")
        let containers = try (0..<3).map { _ in try world.container() }
        try web.add(containers[0])
        try web.add(containers[1])
        try db.add(containers[2])
        #expect(try containers[0].reaches("10.71.0.3"))
        #expect(try !containers[0].run("ping -c 1 -W 1 10.72.0.2").succeeded)
        #expect(try !containers[2].run("ping -c 1 -W 1 10.71.0.2").succeeded)
        #expect(try containers[0].reaches(Outside.address))
        #expect(try web.check(containers[0]) == nil)
        try db.del(containers[2], withResult: false)
        #expect(try web.check(containers[0]) == nil)
        try web.del(containers[0])
        try web.del(containers[1])
        #expect(try !ruleset().contains("cni_firewall"))
    }

    @Test("isolated containers of one bridge do not reach each other, in either family")
    func isolated() throws {
        let network = network(#"{"ingressPolicy": "isolated"}"#)
        let (one, two) = (try world.container(), try world.container())
        try network.add(one)
        try network.add(two)
        for address in ["10.71.0.3", "fd00:71::3"] {
            #expect(try !one.run("ping -c 1 -W 1 \(address)").succeeded)
        }
        #expect(try one.reaches(Outside.address))
        #expect(try network.check(one) == nil)
        try world.onHost("nft flush map bridge cni_firewall isolated")
        #expect(try network.check(one)?.contains("ingress policy of eth0") == true)
        try network.gc(keeping: [])
        #expect(try !ruleset().contains("cni_firewall"))
    }

    @Test(
        "nothing passes between an isolated container and one of its bridge that is not, either way",
        arguments: [true, false])
    func isolatedFromOpen(isSender: Bool) throws {
        // With br_netfilter the rules of routed packets would see these, too.
        _ = try run("sysctl -qw net.bridge.bridge-nf-call-iptables=0", in: world.host)
        let (isolated, open) = (try world.container(), try world.container())
        let result = try network(#"{"ingressPolicy": "isolated"}"#).add(isolated)
        let other = try network().add(open)
        // One datagram, whose sender asks for no hardware address: what is tried is one direction.
        let ends = try [(isolated, result), (open, other)].map { container, result in
            (
                container: container,
                address: result["ips"][0]["address"].string?.split(separator: "/")[0] ?? "",
                mac: try container.ip("link show eth0")[0]["address"].string ?? ""
            )
        }
        let (sender, receiver) = isSender ? (ends[0], ends[1]) : (ends[1], ends[0])
        try sender.container.output(
            of: "ip neigh replace \(receiver.address) lladdr \(receiver.mac) dev eth0")
        let server = try Socket.server(.udp, port: 5000, in: receiver.container.path)
        let send = {
            _ = try Socket.client(
                .udp, to: String(receiver.address), port: 5000, in: sender.container.path)
        }
        try send()
        #expect(server.peer(within: 1) == nil)
        // It is the one rule of that direction that keeps it away.
        let direction = isSender ? "iifname" : "oifname"
        let rule = try #require(
            try world.onHost("nft -a list chain bridge cni_firewall forward")
                .split(separator: "\n").first { $0.contains(direction) }?
                .split(separator: " ").last)
        try world.onHost("nft delete rule bridge cni_firewall forward handle \(rule)")
        try send()
        #expect(server.peer() != nil)
    }

    @Test("a late DEL leaves the rules of the address's next owner; a second ADD doubles none")
    func late() throws {
        let network = network()
        let new = try network.successor()
        #expect(try network.check(new) == nil)
        #expect(network.result(of: new)?["ips"].array.count == 2)
        let before = try rules()
        let again = try world.call(
            "firewall", "ADD",
            network.configuration(network.plugins[1], previous: network.result(of: new)), new)
        #expect(again.succeeded)
        #expect(try rules() == before)
    }

    @Test("DEL removes rules that somebody has loaded anew from a listing of iptables")
    func loadedAnew() throws {
        let network = network()
        let (one, two) = (try world.container(), try world.container())
        try network.add(one)
        try network.add(two)
        // The rules get other handles, and lose whose they are.
        for program in ["iptables", "ip6tables"] {
            let listing = try world.onHost("\(program)-save") + "\n"
            let loaded = try Command(
                ["\(program)-restore"], input: Array(listing.utf8), in: world.host
            ).wait()
            #expect(loaded.succeeded, "\(loaded.errors)")
        }
        try network.del(one)
        #expect(try !rules().contains("10.71.0.2/32"))
        #expect(try !rules("ip6tables").contains("fd00:71::2/128"))
        #expect(try rules().contains("-A CNI-FORWARD -s 10.71.0.3/32 -j ACCEPT"))
        #expect(try rules("ip6tables").contains("-A CNI-FORWARD -s fd00:71::3/128 -j ACCEPT"))
        try network.del(two)
        #expect(try !rules().contains("-A CNI-FORWARD -s"))
    }

    @Test("DEL removes no rule of another owner that has got the handle of one of its own")
    func reusedHandles() throws {
        let network = network()
        let (one, two) = (try world.container(), try world.container())
        try network.add(one)
        try network.add(two)
        // A new table counts its handles from the start.
        for family in ["ip", "ip6"] { try world.onHost("nft delete table \(family) filter") }
        let again = try world.call(
            "firewall", "ADD",
            network.configuration(network.plugins[1], previous: network.result(of: two)), two)
        #expect(again.succeeded, "\(again.output)")
        let before = try rules()
        #expect(before.contains("-A CNI-FORWARD -s 10.71.0.3/32 -j ACCEPT"))
        try network.del(one)
        #expect(try rules() == before)
        #expect(try network.check(two) == nil)
    }

    @Test(
        "the admin chain decides also where another chain leads to it",
        arguments: ["FORWARD", "INPUT"])
    func sharedAdminChain(chain: String) throws {
        for rule in ["-N CNI-FORWARD", "-N OPERATOR", "-A \(chain) -j OPERATOR"] {
            try world.onHost("iptables \(rule)")
        }
        let network = network(#"{"iptablesAdminChainName": "OPERATOR"}"#)
        let (one, two) = (try world.container(), try world.container())
        for container in [one, two] {
            try network.add(container)
            let jumps = try world.onHost("iptables -S CNI-FORWARD").split(separator: "\n")
                .filter { $0.hasSuffix("-j OPERATOR") }
            #expect(jumps.count == 1)
            #expect(try network.check(container) == nil)
        }
        try network.del(one)
        try network.del(two)
    }

    @Test(
        "an ADD isolates where somebody has emptied chains",
        arguments: [
            "flush table bridge cni_firewall", "flush chain bridge cni_firewall alone",
            "flush table inet cni_firewall",
        ])
    func emptied(command: String) throws {
        let network = network(#"{"ingressPolicy": "isolated"}"#)
        let (one, two) = (try world.container(), try world.container())
        try network.add(one)
        try world.onHost("nft \(command)")
        try network.add(two)
        for container in [one, two] { #expect(try network.check(container) == nil) }
        // Each of them is there to be reached, by the host.
        for address in ["10.71.0.2", "10.71.0.3"] { try world.onHost("ping -c 1 -W 10 \(address)") }
        #expect(try !one.run("ping -c 1 -W 1 10.71.0.3").succeeded)
        try network.del(one)
        try network.del(two)
        #expect(try !ruleset().contains("cni_firewall"))
    }

    @Test("hundreds of addresses are admitted, whatever interface the result says they are of")
    func many() throws {
        let network = network()
        let container = try world.container()
        var previous = try network.add(container)
        let addresses: [[String: Any]] = (0..<400).map {
            ["address": "10.73.\($0 / 200).\($0 % 200 + 1)/16", "interface": $0 % 9 - 1]
        }
        previous["ips"] = JSON(addresses)
        let configuration = network.configuration(network.plugins[1], previous: previous)
        let ended = try world.call("firewall", "ADD", configuration, container)
        #expect(ended.succeeded, "\(ended.output)")
        let admitted = try rules().split(separator: "\n").filter { $0.contains("-s 10.73.") }
        #expect(admitted.count == 400)
        #expect(try world.call("firewall", "CHECK", configuration, container).succeeded)
        try network.del(container)
        #expect(try !rules().contains("10.73."))
    }

    @Test("a container without a veth is isolated as far as it is routed")
    func isolatedWithoutPort() throws {
        let container = try world.container()
        let previous: JSON = #"""
            {"cniVersion": "1.1.0", "interfaces": [{"name": "up0"}],
                "ips": [{"address": "10.71.0.2/16"}]}
            """#
        let configuration = network(#"{"ingressPolicy": "isolated"}"#)
            .configuration(
                #"{"type": "firewall", "ingressPolicy": "isolated"}"#, previous: previous)
        let ended = try world.call("firewall", "ADD", configuration, container)
        #expect(ended.succeeded, "\(ended.output)")
        #expect(try world.call("firewall", "DEL", configuration, container).succeeded)
    }

    @Test("a policy is refused where no interface is the host's, whatever link has the same name")
    func noHostInterface() throws {
        let container = try world.container()
        var previous: JSON = #"{"cniVersion": "1.1.0", "ips": [{"address": "10.71.0.2/16"}]}"#
        previous["interfaces"] = JSON([["name": "up0", "sandbox": container.path]])
        for policy in ["same-bridge", "isolated"] {
            let keys = JSON(text: #"{"type": "firewall", "ingressPolicy": "\#(policy)"}"#)
            let call = network().configuration(keys, previous: previous)
            try world.unchanged {
                let ended = try world.call("firewall", "ADD", call, container)
                #expect(ended.json["code"].number == 7)
                #expect(ended.json["msg"].string?.contains("no interface of the host") == true)
            }
            #expect(try world.call("firewall", "DEL", call, container).succeeded)
        }
    }
}
