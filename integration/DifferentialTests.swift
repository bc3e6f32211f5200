import Testing

/// The plugins of links and those chained to them beside Debian's Go plugins, on the same inputs.
@Suite("the same inputs to the Go plugins", .enabled(if: isRoot))
struct DifferentialTests {
    let peer: String

    init() throws { peer = try Peer.directory() }

    /// What is asked of both.
    struct Input: Sendable, CustomTestStringConvertible {
        let plugin: String
        let keys: String
        var ipam: JSON? = BridgeTests.dualStack
        var arguments: String?
        var version = "1.0.0"
        /// Whether the plugin comes after one that has made eth0.
        var isChained = false
        /// In what and why this plugin answers otherwise on purpose; nil where it does not.
        var deviation: Deviation?
        var testDescription: String {
            "\(plugin) \(version) \(keys) \(ipam == nil ? "no IPAM" : "") \(arguments ?? "")"
        }
    }

    private static let place = Deviation.place
    private static let cause = Deviation.cause

    /// The text says up to what number there are VLANs.
    private static let reserved = Deviation.text("VLAN 4095 is reserved, and refused by both")

    private static func inputs(
        _ plugin: String, _ all: [(keys: String, deviation: Deviation?)], isChained: Bool = false
    ) -> [Input] {
        all.map {
            Input(
                plugin: plugin, keys: $0.keys, ipam: isChained ? nil : BridgeTests.dualStack,
                isChained: isChained, deviation: $0.deviation)
        }
    }

    static let ptp = inputs(
        "ptp",
        [
            ("{}", nil), (#"{"mtu": 1400}"#, nil),
            (#"{"mtu": -1}"#, .answer("a negative MTU is refused, not ignored")),
            (#"{"mtu": "big"}"#, place), (#"{"ipMasq": 1}"#, place),
            (#"{"dns": {"nameservers": ["10.71.0.53"], "search": ["a.b"]}}"#, nil),
            (#"{"dns": {"nameservers": []}}"#, nil), (#"{"DNS": {"domain": "a.b"}}"#, nil),
            (#"{"ipam": {"type": "nobody"}}"#, nil), (#"{"ipam": {"type": "a/b"}}"#, place),
            (#"{"ipam": {"type": "static", "addresses": []}}"#, nil),
            (#"{"cniVersion": "9.9.9"}"#, nil), (#"{"name": ""}"#, nil), (#"{"name": "a b"}"#, nil),
        ])

    static let macvlan =
        inputs(
            "macvlan",
            [
                (#"{"master": "up0"}"#, nil), (#"{"master": "none0"}"#, cause), ("{}", nil),
                (#"{"master": "up0", "mode": "private"}"#, nil),
                (#"{"master": "up0", "mode": "vepa"}"#, nil),
                (#"{"master": "up0", "mode": "passthru"}"#, nil),
                (#"{"master": "up0", "mode": "none"}"#, nil),
                (#"{"master": "up0", "mtu": 1501}"#, nil), (#"{"master": "up0", "mtu": -1}"#, nil),
                (#"{"master": "up0", "mtu": 1400}"#, nil),
                (#"{"master": "up0", "mac": "02:00:00:00:00:07"}"#, nil),
                (#"{"master": "up0", "mac": "nonsense"}"#, place),
                (#"{"master": "up0", "runtimeConfig": {"mac": "02:00:00:00:00:08"}}"#, nil),
                (#"{"master": "up0", "runtimeConfig": {"mac": "nonsense"}}"#, place),
                (#"{"master": 5}"#, place),
            ]) + [
            Input(plugin: "macvlan", keys: #"{"master": "up0"}"#, ipam: nil),
            Input(
                plugin: "macvlan", keys: #"{"master": "up0"}"#, arguments: "MAC=02:00:00:00:00:09",
                deviation: .answer("host-local ignores arguments that are for its siblings")),
            Input(
                plugin: "macvlan", keys: #"{"master": "up0"}"#, arguments: "MAC=nonsense",
                deviation: place),
            Input(plugin: "macvlan", keys: #"{"master": "up0"}"#, arguments: "FOO=bar"),
            Input(
                plugin: "macvlan", keys: #"{"master": "up0"}"#, arguments: "FOO=bar;IgnoreUnknown=1"
            ),
            Input(plugin: "macvlan", keys: #"{"master": "up0"}"#, arguments: "nonsense"),
        ]

    static let ipvlan =
        inputs(
            "ipvlan",
            [
                (#"{"master": "up0"}"#, nil), (#"{"master": "none0"}"#, cause), ("{}", nil),
                (#"{"master": "up0", "mode": "l3"}"#, nil),
                (#"{"master": "up0", "mode": "l3s"}"#, nil),
                (#"{"master": "up0", "mode": "none"}"#, nil),
                (#"{"master": "up0", "mtu": 1400}"#, nil),
                (#"{"master": "up0", "mtu": 1501}"#, nil),
            ]) + [
            Input(
                plugin: "ipvlan", keys: #"{"master": "up0"}"#, ipam: nil,
                deviation: .text("what it is that is missing, and from where it may come"))
        ]

    static let vlan =
        inputs(
            "vlan",
            [
                (#"{"master": "up0", "vlanId": 5}"#, nil),
                (#"{"master": "none0", "vlanId": 5}"#, cause),
                (#"{"vlanId": 5}"#, nil), (#"{"master": "up0", "vlanId": 4095}"#, reserved),
                (#"{"master": "up0", "vlanId": -1}"#, reserved),
                (#"{"master": "up0", "vlanId": "5"}"#, place),
                (#"{"master": "up0", "vlanId": 5, "mtu": 1400}"#, nil),
                (#"{"master": "up0", "vlanId": 5, "mtu": 1501}"#, nil),
            ]) + [
            Input(
                plugin: "vlan", keys: #"{"master": "up0", "vlanId": 5}"#, ipam: nil,
                deviation: .answer("a VLAN without addresses, as macvlan gives it"))
        ]

    static let hostDevice =
        inputs(
            "host-device",
            [
                (#"{"device": "up0"}"#, nil), (#"{"device": "none0"}"#, cause), ("{}", nil),
                (#"{"device": "lo"}"#, cause), (#"{"hwaddr": "nonsense"}"#, place),
                (#"{"hwaddr": "02:00:00:00:00:77"}"#, cause), (#"{"kernelpath": "/proc"}"#, place),
                (#"{"kernelpath": "/sys/devices/none"}"#, cause),
                (#"{"pciBusID": "ffff:ff:1f.7"}"#, cause),
                (#"{"runtimeConfig": {"deviceID": "ffff:ff:1f.7"}}"#, cause),
            ]) + [Input(plugin: "host-device", keys: #"{"device": "up0"}"#, ipam: nil)]

    static let tuning =
        inputs(
            "tuning",
            [
                ("{}", nil), (#"{"sysctl": {"net.core.somaxconn": "300"}}"#, nil),
                (#"{"sysctl": {"net.ipv4.conf.IFNAME.log_martians": "1"}}"#, nil),
                (#"{"sysctl": {"net/ipv4/conf/eth0/log_martians": "1"}}"#, nil),
                (#"{"sysctl": {"kernel.pid_max": "300"}}"#, nil),
                (#"{"sysctl": {"net/../kernel/pid_max": "300"}}"#, place),
                (#"{"sysctl": {"net.none": "1"}}"#, cause),
                (#"{"sysctl": {"net.core.somaxconn": 300}}"#, place),
                (#"{"sysctl": {"net.core.somaxconn": "x"}}"#, cause),
                (#"{"mac": "02:00:00:00:00:05"}"#, nil), (#"{"mac": "nonsense"}"#, place),
                (#"{"promisc": true}"#, nil), (#"{"mtu": 1400}"#, nil), (#"{"mtu": 9}"#, cause),
                (#"{"allmulti": true}"#, nil), (#"{"txQLen": 77}"#, nil),
                (#"{"args": {"cni": {"mtu": 1300}}}"#, nil),
            ], isChained: true) + [Input(plugin: "tuning", keys: #"{"mtu": 1400}"#, ipam: nil)]

    static let sbr =
        inputs("sbr", [("{}", nil)], isChained: true)
        + [Input(plugin: "sbr", keys: "{}", ipam: nil)]

    static let vrf =
        inputs(
            "vrf",
            [
                (#"{"vrfname": "red"}"#, nil), ("{}", nil), (#"{"vrfname": ""}"#, nil),
                (#"{"vrfname": "red", "table": 77}"#, nil), (#"{"vrfname": "lo"}"#, cause),
                (#"{"vrfname": 5}"#, place),
            ], isChained: true) + [Input(plugin: "vrf", keys: #"{"vrfname": "red"}"#, ipam: nil)]

    static let versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0"].flatMap { version in
        [
            Input(plugin: "ptp", keys: "{}", version: version),
            Input(plugin: "macvlan", keys: #"{"master": "up0"}"#, version: version),
            Input(plugin: "macvlan", keys: #"{"master": "up0"}"#, ipam: nil, version: version),
            Input(plugin: "host-device", keys: #"{"device": "up0"}"#, version: version),
        ]
    }

    static let all =
        ptp + macvlan + hostDevice + tuning + sbr + versions
        + (KernelFeature.ipvlan.isPresent ? ipvlan : [])
        + (KernelFeature.vlan.isPresent ? vlan : []) + (KernelFeature.vrf.isPresent ? vrf : [])

    /// What a plugin answers to an input, in a world of its own, without what differs from run to
    /// run.
    private func answer(_ input: Input, byPeer isPeer: Bool) throws -> Answer {
        let world = try World()
        try Uplink(world)
        let container = try world.trustingContainer()
        let network = Network(
            plugin: input.plugin, JSON(text: input.keys), ipam: input.ipam, version: input.version,
            in: world)
        if isPeer { network.path = peer }
        let previous =
            input.isChained ? try container.attachedByHand(version: input.version) : nil
        let plugin = network.plugins[0]
        let configuration = network.configuration(plugin, previous: previous)
            .merging(JSON(text: input.keys))
        let ended = try world.call(
            input.plugin, "ADD", configuration, container, arguments: input.arguments,
            path: network.path)
        var answer = Answer(ended, world, container, peer)
        if ended.succeeded {
            let inside = try container.link("eth0")
            answer.seen = ["mtu", "promiscuity", "master"].map { "\($0) \(inside[$0])" }
        }
        _ = try world.call(
            input.plugin, "DEL", configuration, container, arguments: input.arguments,
            path: network.path)
        return answer
    }

    @Test("the answers are the same, or differ for a reason", arguments: all)
    func same(input: Input) throws {
        let (ours, theirs) = (try answer(input, byPeer: false), try answer(input, byPeer: true))
        ours.compare(with: theirs, input.deviation)
    }
}
