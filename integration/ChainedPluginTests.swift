import Testing

/// What every plugin owes that adds something to an interface another one has made.
@Suite("every chained plugin", .enabled(if: isRoot))
struct ChainedPluginTests {
    /// A plugin, keys of its by which there is something to remove, and some with a value that makes no
    /// sense.
    struct Case: Sendable, CustomTestStringConvertible {
        let plugin: String
        let keys: JSON
        let senseless: JSON
        var feature: KernelFeature?
        var testDescription: String { "\(plugin) with \(senseless)" }
    }

    private static let web = #"{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}"#
    private static let ports = JSON(text: #"{"runtimeConfig": {"portMappings": [\#(web)]}}"#)
    private static let rate: JSON = #"{"ingressRate": 20000000, "ingressBurst": 800000}"#

    /// Those that this machine's kernel has the links for.
    static let all = cases.filter { $0.feature?.isPresent ?? true }

    private static let cases = [
        Case(
            plugin: "portmap", keys: ports,
            senseless:
                #"{"runtimeConfig": {"portMappings": [{"hostPort": 0, "containerPort": 80}]}}"#
        ),
        Case(plugin: "portmap", keys: ports, senseless: #"{"backend": "odd"}"#),
        Case(
            plugin: "portmap", keys: ports.merging(#"{"backend": "iptables"}"#),
            senseless: #"{"backend": "odd"}"#),
        Case(plugin: "firewall", keys: "{}", senseless: #"{"ingressPolicy": "odd"}"#),
        Case(
            plugin: "firewall", keys: #"{"ingressPolicy": "same-bridge"}"#,
            senseless: #"{"iptablesAdminChainName": "LONGER-THAN-THE-KERNEL-EVER-TAKES"}"#),
        Case(plugin: "bandwidth", keys: rate, senseless: #"{"ingressRate": 20000000}"#),
        Case(plugin: "bandwidth", keys: rate, senseless: #"{"egressBurst": 800000}"#),
        Case(plugin: "bandwidth", keys: rate, senseless: #"{"egressRate": 1, "egressBurst": 0}"#),
        Case(
            plugin: "bandwidth", keys: rate,
            senseless: #"{"shapedSubnets": ["10.0.0.0/8"], "unshapedSubnets": ["10.1.0.0/16"]}"#),
        Case(
            plugin: "bandwidth", keys: BandwidthTests.shares,
            senseless: #"{"shaping": {"egress": {"rate": -1}}}"#),
        Case(
            plugin: "bandwidth", keys: rate,
            senseless: #"{"runtimeConfig": {"bandwidth": {"ingressRate": -1}}}"#),
        Case(
            plugin: "tuning", keys: #"{"mtu": 1400, "promisc": true}"#, senseless: #"{"mtu": -1}"#),
        Case(
            plugin: "tuning", keys: #"{"mtu": 1400, "promisc": true}"#,
            senseless: #"{"mtu": "1450"}"#),
        Case(plugin: "sbr", keys: #"{"addSourceHints": true}"#, senseless: #"{"table": -1}"#),
        Case(
            plugin: "vrf", keys: #"{"vrfname": "red"}"#,
            senseless: #"{"vrfname": "red", "table": -1}"#, feature: .vrf),
    ]

    let world: World

    init() throws { world = try World() }

    /// A plugin that makes an interface, its keys, and what a tuning after it makes otherwise.
    static let tuned: [(plugin: String, keys: JSON, tuning: JSON)] =
        ["bridge", "ptp", "macvlan"].map { plugin in
            (plugin, JSON(text: #"{"master": "up0", "mtu": 1500}"#), #"{"mtu": 1400}"#)
        } + [
            (
                "bridge", #"{"runtimeConfig": {"mac": "02:00:00:00:00:01"}}"#,
                #"{"mac": "02:00:00:00:00:77"}"#
            ),
            ("macvlan", #"{"master": "up0"}"#, #"{"mac": "02:00:00:00:00:77"}"#),
            (
                "bridge", "{}",
                """
                {"sysctl": {"net.ipv4.conf.eth0.arp_notify": "0", "net.ipv6.conf.eth0.accept_dad": "1",
                            "net.ipv6.conf.eth0.keep_addr_on_down": "0",
                            "net.ipv6.conf.eth0.ndisc_notify": "0"}}
                """
            ),
            (
                "macvlan", #"{"master": "up0"}"#,
                """
                {"sysctl": {"net.ipv4.conf.eth0.arp_notify": "0",
                            "net.ipv6.conf.eth0.keep_addr_on_down": "0"}}
                """
            ),
        ]

    @Test("CHECK passes where a later plugin has changed what is its to change", arguments: tuned)
    func tunedLater(plugin: String, keys: JSON, tuning: JSON) throws {
        try Uplink(world)
        let first = Network(plugin: plugin, keys, version: "1.1.0", in: world).plugins[0]
        var second = tuning.merging(#"{"type": "tuning"}"#)
        second["dataDir"] = JSON(world.directory + "/tuning")
        let network = Network(
            JSON(["name": "web", "cniVersion": "1.1.0", "plugins": [first.value, second.value]]),
            in: world)
        let container = try world.trustingContainer()
        try network.add(container)
        #expect(try network.check(container) == nil)
        try network.del(container)
    }

    @Test(
        "a verb that finds no result of the plugins before says so in the reference's words",
        arguments: [
            ("firewall", "ADD", "missing prevResult from earlier plugin"),
            ("firewall", "CHECK", "missing prevResult from earlier plugin"),
            ("bandwidth", "ADD", "must be called as chained plugin"),
            ("bandwidth", "CHECK", "must be called as a chained plugin"),
            ("portmap", "ADD", "must be called as chained plugin"),
            ("portmap", "CHECK", "Required prevResult missing"),
        ])
    func withoutResult(plugin: String, verb: String, message: String) throws {
        var configuration: JSON = #"{"name": "web", "cniVersion": "1.1.0"}"#
        configuration["type"] = JSON(plugin)
        let ended = try world.call(plugin, verb, configuration, try world.container())
        #expect(ended.json["code"].number == 7 && ended.json["msg"].string == message)
    }

    @Test("DEL with a value that ADD refuses removes what an earlier ADD made", arguments: all)
    func senseless(item: Case) throws {
        let bridge = Network(version: "1.1.0", in: world)
        let container = try world.container()
        let result = try bridge.add(container)
        var plugin: JSON = "{}"
        plugin["type"] = JSON(item.plugin)
        if item.plugin == "tuning" { plugin["dataDir"] = JSON(world.directory + "/tuning") }
        let call = { (verb: String, keys: JSON) in
            try world.call(
                item.plugin, verb, bridge.configuration(plugin, previous: result, with: keys),
                container)
        }
        // What the first DEL leaves, such as an empty table, is there for good.
        #expect(try call("ADD", item.keys).succeeded && call("DEL", item.keys).succeeded)
        let before = try (host: Snapshot(of: world), inside: inside(container))
        let added = try call("ADD", item.keys)
        #expect(added.succeeded, "\(added.output)")
        let difference = try Snapshot(of: world).difference(from: before.host)
        #expect(try difference != "" || inside(container) != before.inside)

        #expect(try [6, 7].contains(call("ADD", item.senseless).json["code"].number))
        let ended = try call("DEL", item.senseless)
        #expect(ended.succeeded, "\(ended.output)")
        #expect(try world.settledDifference(from: before.host) == "")
        #expect(try inside(container) == before.inside)
    }

    /// What chained plugins set in a container and give back: settings of the interface, and rules.
    private func inside(_ container: World.Container) throws -> String {
        let link = try container.ip("link show eth0")[0]
        let settings = ["address", "mtu", "promiscuity", "allmulti", "master"].map { "\(link[$0])" }
        return try
            (settings + [container.output(of: "ip rule"), container.output(of: "ip -6 rule")])
            .joined(separator: "\n")
    }
}
