import Testing

@Suite("firewall where iptables is the one before nftables", .enabled(if: isRoot))
struct LegacyFirewallTests {
    let world: World
    let outside: Outside

    init() throws {
        world = try World()
        outside = try Outside(world)
        try outside.addRoutes()
        for program in ["iptables-legacy", "ip6tables-legacy"] {
            try world.onHost("\(program) -P FORWARD DROP")
        }
    }

    private func network(_ keys: JSON = "{}") -> Network {
        let firewall: JSON = #"{"type": "firewall"}"#
        return Network(
            dualStack: #"{"bridge": "cni0"}"#, subnet: 71, then: firewall.merging(keys), in: world)
    }

    private func rules(_ program: String = "iptables") throws -> String {
        try world.onHost("\(program)-legacy -S")
    }

    @Test("its rules admit, are the reference's, and go with their owner; the chains stay")
    func admitted() throws {
        let network = network(#"{"iptablesAdminChainName": "OPERATOR"}"#)
        let (first, container) = (try world.container(), try world.container())
        try network.add(first)
        let before = try rules()
        try network.add(container)
        for rule in [
            #"-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD"#,
            #"-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j OPERATOR"#,
            "-A CNI-FORWARD -d 10.71.0.3/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A CNI-FORWARD -s 10.71.0.3/32 -j ACCEPT",
        ] { #expect(try rules().contains(rule), "\(rule)") }
        #expect(try rules("ip6tables").contains("-A CNI-FORWARD -s fd00:71::3/128 -j ACCEPT"))
        #expect(try !world.onHost("nft list ruleset").contains("CNI-FORWARD"))
        #expect(try container.reaches(Outside.address))
        #expect(try container.run("ping -c 1 -w 20 \(Outside.address6)").succeeded)
        #expect(try !outside.machine.run("ping -c 1 -W 1 10.71.0.3").succeeded)
        #expect(try network.check(container) == nil)
        try network.del(container, withResult: false)
        #expect(try rules() == before)
        try world.onHost("iptables-legacy -D CNI-FORWARD -s 10.71.0.2 -j ACCEPT")
        #expect(
            try network.check(first)?.contains("rules of iptables-legacy for 10.71.0.2") == true)
        try network.gc(keeping: [])
        #expect(try !rules().contains("10.71.0"))
        #expect(try world.onHost("nft list ruleset") == "")
    }

    @Test("a late DEL leaves the rules of the address's next owner; a second ADD doubles none")
    func late() throws {
        let network = network()
        let new = try network.successor()
        #expect(try network.check(new) == nil)
        let before = try rules()
        let again = try world.call(
            "firewall", "ADD",
            network.configuration(network.plugins[1], previous: network.result(of: new)), new)
        #expect(again.succeeded)
        #expect(try rules() == before)
        try network.del(new)
        #expect(try !rules().contains("10.71.0"))
    }

    @Test("eight ADDs at once on a host without the chains make each once")
    func atOnce() throws {
        let network = network()
        let bare = Network(dualStack: #"{"bridge": "cni0"}"#, subnet: 71, in: world)
        let containers = try (0..<8).map { _ in try world.container() }
        for container in containers { try bare.add(container) }
        for verb in ["ADD", "DEL"] {
            let calls = try containers.map {
                try world.start(
                    "firewall", verb,
                    network.configuration(network.plugins[1], previous: bare.result(of: $0))
                        .description, container: $0.id, namespace: $0.path)
            }
            for call in calls {
                let ended = call.wait()
                #expect(ended.succeeded, "\(verb): \(ended.output)")
            }
            let lines = try rules().split(separator: "\n")
            #expect(lines.filter { $0.hasSuffix("-j CNI-FORWARD") }.count == 1)
            #expect(lines.filter { $0.hasSuffix("-j ACCEPT") }.count == (verb == "ADD" ? 16 : 0))
        }
        for container in containers { try bare.del(container) }
    }

    @Test("where there are chains over nftables as well, the container is admitted by both")
    func both() throws {
        try world.onHost("iptables -P FORWARD DROP")
        let network = network()
        let container = try world.container()
        try network.add(container)
        #expect(try container.reaches(Outside.address))
        #expect(try world.onHost("iptables-nft -S").contains("-A CNI-FORWARD -s 10.71.0.2/32"))
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try !world.onHost("iptables-nft -S").contains("10.71.0.2"))
        #expect(try !rules().contains("10.71.0.2"))
    }
}
