import Glibc
import Testing

/// DEL, CHECK and STATUS of the plugins of links and those chained to them beside Debian's Go plugins,
/// each of what its own ADD has made.
@Suite("the same DEL, CHECK and STATUS to the Go plugins", .enabled(if: isRoot))
struct DifferentialVerbTests {
    let peer: String

    init() throws { peer = try Peer.directory() }

    /// What happens between ADD and the call, or is different in the call.
    enum Event: Sendable {
        case nothing
        case neverAdded
        /// The same call before.
        case again
        case inContainer(String)
        case onHost(String)
        /// Keys over the configuration's.
        case keys(String)
        /// A text in place of the configuration.
        case text(String)
        case withoutResult
        case withoutNamespace
        /// CNI_NETNS is empty.
        case withoutPath
    }

    /// What is asked of both.
    struct Input: Sendable, CustomTestStringConvertible {
        let plugin: String
        let verb: String
        let event: Event
        let deviation: Deviation?
        var testDescription: String { "\(plugin) \(verb) \(event)" }
    }

    private static func inputs(
        _ plugin: String, _ verb: String, _ all: [(Event, Deviation?)]
    ) -> [Input] {
        all.map { Input(plugin: plugin, verb: verb, event: $0.0, deviation: $0.1) }
    }

    /// The keys of each plugin beside IPAM.
    private static let keys: [String: JSON] = [
        "macvlan": #"{"master": "up0"}"#, "ipvlan": #"{"master": "up0"}"#,
        "vlan": #"{"master": "up0", "vlanId": 5}"#, "host-device": #"{"device": "up0"}"#,
        "tuning": #"{"mtu": 1400, "sysctl": {"net.core.somaxconn": "300"}}"#,
        "vrf": #"{"vrfname": "red"}"#,
    ]
    private static let chained: Set = ["tuning", "sbr", "vrf"]

    // MARK: - Cases

    /// The text tells all that differs, and what was wanted and found.
    private static let differences = Deviation.text("every difference, wanted and found")
    private static let end = Deviation.text("how far the text was read")
    /// DEL does its work where the Go plugin fails or leaves something.
    private static func isDone(_ what: String) -> Deviation { .answer("\(what) goes all the same") }

    private static let ptp =
        inputs(
            "ptp", "DEL",
            [
                (.nothing, nil), (.again, nil), (.neverAdded, nil), (.withoutResult, nil),
                (.withoutPath, isDone("the host's end")),
                (.withoutNamespace, nil),
                (.inContainer("ip link del eth0"), nil), (.text("{"), end), (.text(""), end),
                (.keys(#"{"name": ""}"#), nil), (.keys(#"{"cniVersion": "9.9.9"}"#), nil),
                (.keys(#"{"ipam": null}"#), isDone("the link")),
                (.keys(#"{"ipam": {"type": "nobody"}}"#), isDone("the link")),
                (.keys(#"{"mtu": "big"}"#), isDone("all")), (.keys(#"{"mtu": -1}"#), nil),
                (.keys(#"{"prevResult": {"cniVersion": "0.3.1"}}"#), nil),
            ])
        + inputs(
            "ptp", "CHECK",
            [
                (.nothing, nil), (.text("{"), end), (.text(""), end),
                (.neverAdded, .text("the result is missing, whatever IPAM says")),
                (.withoutResult, .text("without the plugin's name")), (.withoutPath, nil),
                (.withoutNamespace, .cause), (.inContainer("ip link del eth0"), differences),
                (.inContainer("ip link set eth0 down"), differences),
                (.inContainer("ip addr del 10.71.0.2/16 dev eth0"), differences),
                (.inContainer("ip addr add 10.71.9.9/16 dev eth0"), nil),
                (.inContainer("ip route del default"), differences),
                (.inContainer("ip -6 route del default"), differences),
                (.inContainer("ip link set eth0 address 02:00:00:00:00:99"), differences),
                (.inContainer("ip link set eth0 mtu 1300"), nil),
                (
                    .keys(#"{"prevResult": {"cniVersion": "1.0.0", "interfaces": []}}"#),
                    .text("that the interface is missing")
                ),
                (
                    .keys(
                        #"{"prevResult": {"interfaces": [{"name": "eth0", "sandbox": "/run/x"}]}}"#),
                    .text("the namespace that the result has")
                ),
                (
                    .keys(#"{"prevResult": {"cniVersion": "0.3.1"}}"#),
                    .text("1.1.0 as well, which Debian's plugins are older than")
                ),
                (.keys(#"{"ipam": null}"#), .place),
            ])

    private static let macvlan =
        inputs(
            "macvlan", "DEL",
            [
                (.nothing, nil), (.again, nil), (.neverAdded, nil), (.withoutResult, nil),
                (.withoutPath, nil), (.withoutNamespace, nil), (.keys(#"{"ipam": null}"#), nil),
                (.keys(#"{"ipam": {"type": "nobody"}}"#), isDone("the link")),
                (.keys(#"{"mode": "none"}"#), nil), (.keys(#"{"mtu": -1}"#), isDone("all")),
                (.keys(#"{"master": "none0"}"#), isDone("all")),
                (.keys(#"{"master": ""}"#), isDone("all")),
            ])
        + inputs(
            "macvlan", "CHECK",
            [
                (.nothing, nil), (.withoutResult, nil), (.withoutNamespace, .cause),
                (.inContainer("ip link set eth0 type macvlan mode private"), differences),
                (.inContainer("ip link set eth0 address 02:00:00:00:00:99"), differences),
                (.inContainer("ip addr del 10.71.0.2/16 dev eth0"), differences),
                (.keys(#"{"ipam": null}"#), nil),
            ])
        + inputs(
            "macvlan", "STATUS",
            [(.nothing, .answer("Debian's plugins are older than STATUS, which comes with 1.1.0"))])

    private static let hostDevice =
        inputs(
            "host-device", "DEL",
            [
                (.nothing, nil), (.again, .answer("it succeeds as often as it is called")),
                (.neverAdded, .answer("there is nothing to give back")), (.withoutResult, nil),
                (.withoutPath, isDone("the lease")), (.withoutNamespace, isDone("the lease")),
                (.keys(#"{"device": ""}"#), .answer("the link says whose it is")),
                (.keys(#"{"device": "other0"}"#), nil),
                (.keys(#"{"ipam": {"type": "nobody"}}"#), .answer("the link comes back")),
                (
                    .onHost("ip link add up0 type veth peer name other"),
                    .answer("the lease is given back, and the link stays up")
                ),
            ])
        + inputs(
            "host-device", "CHECK",
            [
                (.nothing, nil), (.inContainer("ip link del eth0"), differences),
                (.inContainer("ip link set eth0 address 02:00:00:00:00:99"), differences),
            ])

    private static let tuning =
        inputs(
            "tuning", "DEL",
            [
                (.nothing, nil), (.again, nil), (.neverAdded, nil), (.withoutResult, nil),
                (.withoutPath, isDone("the note")), (.withoutNamespace, isDone("the note")),
                (.inContainer("ip link del eth0"), isDone("the note")),
                (.keys(#"{"mtu": "big"}"#), isDone("all")), (.keys(#"{"mtu": -1}"#), nil),
                (.keys(#"{"mac": "x"}"#), nil), (.keys(#"{"sysctl": {"kernel.x": "1"}}"#), nil),
            ])
        + inputs(
            "tuning", "CHECK",
            [
                (.nothing, nil), (.neverAdded, differences), (.withoutResult, nil),
                (.withoutNamespace, .cause), (.inContainer("ip link del eth0"), .cause),
                (.inContainer("ip link set eth0 mtu 1300"), differences),
                (.inContainer("ip link set eth0 promisc on"), differences),
                (.inContainer("sysctl -qw net.core.somaxconn=5"), differences),
            ])

    private static let sbr =
        inputs(
            "sbr", "DEL",
            [
                (.nothing, nil), (.again, nil), (.neverAdded, nil), (.withoutResult, nil),
                (.withoutPath, .answer("there is nothing left to remove")),
                (.withoutNamespace, .answer("no file takes the place of the namespace")),
                (.inContainer("ip link del eth0"), isDone("the rule")),
                (.keys(#"{"prevResult": {"cniVersion": "0.3.1"}}"#), isDone("the rule")),
            ])
        + inputs(
            "sbr", "CHECK",
            [
                (.nothing, nil), (.withoutResult, compared), (.withoutNamespace, compared),
                (.neverAdded, compared), (.inContainer("ip rule del from 10.71.0.9"), compared),
            ])
    private static let compared = Deviation.answer("the Go plugin compares nothing")

    /// The guest is an emulated machine, which takes seconds for each: it has only what others may lack.
    static let all = isGuest ? elsewhere : ptp + macvlan + hostDevice + tuning + sbr + elsewhere

    /// What not every kernel has the links for.
    private static let elsewhere =
        (KernelFeature.ipvlan.isPresent ? ipvlan : [])
        + (KernelFeature.vlan.isPresent ? vlan : []) + (KernelFeature.vrf.isPresent ? vrf : [])

    private static let ipvlan =
        inputs(
            "ipvlan", "DEL",
            [
                (.nothing, nil), (.again, nil), (.withoutResult, nil), (.withoutNamespace, nil),
                (.keys(#"{"mode": "none"}"#), nil),
                // With the result of ADD the Go plugin takes eth0 for the master.
                (.keys(#"{"master": ""}"#), nil),
            ])
        + inputs(
            "ipvlan", "CHECK",
            [
                (.nothing, nil),
                (.inContainer("ip link set eth0 type ipvlan mode l3"), differences),
                (.inContainer("ip route del default"), differences),
            ])

    private static let vlan =
        inputs(
            "vlan", "DEL",
            [
                (.nothing, nil), (.again, nil), (.withoutResult, nil), (.withoutNamespace, nil),
                (.keys(#"{"vlanId": 4095}"#), isDone("the link")),
                (.keys(#"{"master": ""}"#), isDone("the link")),
            ])
        + inputs(
            "vlan", "CHECK",
            [
                (.nothing, nil), (.keys(#"{"vlanId": 6}"#), differences),
                (.inContainer("ip link set eth0 mtu 1300"), nil),
            ])

    private static let vrf =
        inputs(
            "vrf", "DEL",
            [
                (.nothing, nil), (.again, nil), (.neverAdded, nil), (.withoutResult, nil),
                (.withoutNamespace, nil), (.keys(#"{"table": 5}"#), nil),
                (.keys(#"{"vrfname": ""}"#), .answer("ADD has refused it, and left nothing")),
                (.inContainer("ip link del eth0"), isDone("the VRF")),
            ])
        + inputs(
            "vrf", "CHECK",
            [
                (.nothing, nil), (.withoutResult, .text("as every plugin has it")),
                (
                    .inContainer("ip link set eth0 nomaster"),
                    .answer("the Go plugin finds members of a VRF that has none")
                ),
            ])

    // MARK: - Calls

    /// What a plugin answers to the call, in a world of its own.
    private func answer(_ input: Input, byPeer isPeer: Bool) throws -> Answer {
        let world = try World()
        try Uplink(world)
        var container = try world.trustingContainer()
        let isChained = Self.chained.contains(input.plugin)
        var keys = Self.keys[input.plugin] ?? "{}"
        if input.plugin == "tuning" { keys["dataDir"] = JSON(world.directory + "/web") }
        let network = Network(
            plugin: input.plugin, keys, ipam: isChained ? nil : BridgeTests.dualStack, in: world)
        if isPeer { network.path = peer }
        let plugin = network.plugins[0]
        let call = { (verb: String, text: String) in
            try world.start(
                input.plugin, verb, text, container: container.id, namespace: container.path,
                path: network.path
            ).wait()
        }
        var previous = isChained ? try container.attachedByHand(version: "1.0.0") : nil
        if case .neverAdded = input.event {
        } else {
            let added = try call(
                "ADD", network.configuration(plugin, previous: previous).description)
            guard added.succeeded else { throw Failure("ADD: \(added.output)") }
            previous = added.json
        }

        var configuration = network.configuration(plugin, previous: previous)
        var text: String?
        switch input.event {
        case .nothing, .neverAdded, .again: break
        case .inContainer(let words): try container.output(of: words)
        case .onHost(let words): try world.onHost(words)
        case .keys(let keys): configuration = configuration.merging(JSON(text: keys))
        case .text(let other): text = other
        case .withoutResult: configuration = network.configuration(plugin)
        case .withoutNamespace:
            try world.remove(container)
            // The kernel takes its links away a little later.
            try waitFor("end of the links") {
                try !world.onHost("ip -br link show type veth").contains("veth")
            }
        case .withoutPath: container = World.Container(id: container.id, path: "")
        }
        let input = (input, text ?? configuration.description)
        if case .again = input.0.event { _ = try call(input.0.verb, input.1) }
        let ended = try call(input.0.verb, input.1)
        var answer = Answer(ended, world, container, peer)
        answer.seen = try left(world, container)
        return answer
    }

    /// What is left of an attachment: reservations and notes, and the interface.
    private func left(_ world: World, _ container: World.Container) throws -> [String] {
        let files = world.files("web").filter { $0 != "lock" && !$0.hasPrefix("last_") }
            .map { $0.hasSuffix(".json") ? "note" : $0 }
        let links = try world.ip("link show").array.compactMap { $0["ifname"].string }
        var left = files + links.map { $0.hasPrefix("veth") ? "veth" : $0 }.sorted()
        guard !container.path.isEmpty, try run("test -e \(container.path)").succeeded else {
            return left
        }
        guard (try? container.run("true").succeeded) == true else { return left + ["no namespace"] }
        let link = try container.link("eth0")
        if !link.isNull {
            left += ["mtu", "master"].map { "eth0 \($0) \(link[$0])" }
            left.append("eth0 flags \(link["flags"].lastingFlags)")
        }
        return left + (try container.output(of: "ip rule")).split(separator: "\n").map(String.init)
    }

    @Test("the answers and what is left are the same, or differ for a reason", arguments: all)
    func same(input: Input) throws {
        let (ours, theirs) = (try answer(input, byPeer: false), try answer(input, byPeer: true))
        ours.compare(with: theirs, input.deviation)
    }
}
