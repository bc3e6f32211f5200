import Testing

/// A path of a namespace that was given out anew, as a process's number is: DEL of the container that
/// had it comes late, when another one is there.
@Suite("a namespace's path that is another container's by now", .enabled(if: isRoot))
struct ReusedPathTests {
    let world: World

    init() throws {
        world = try World()
        try Uplink(world)
    }

    /// Another container at the path of one whose namespace has gone.
    private func successor(of container: World.Container) throws -> World.Container {
        let name = container.path.split(separator: "/").last ?? ""
        try world.remove(container)
        try output(of: "ip netns add \(name)")
        let other = World.Container(id: container.id + "x", path: container.path)
        try other.output(of: "sysctl -qw net.ipv6.conf.default.accept_dad=0")
        try other.output(of: "ip link set lo up")
        return other
    }

    private func leases(of container: World.Container) -> Int {
        world.files("web").filter {
            world.file("web/\($0)")?.split(whereSeparator: \.isNewline).first ?? "" == container.id
        }.count
    }

    private static let making: [(plugin: String, keys: JSON)] =
        [
            ("bridge", #"{"bridge": "cni0", "isGateway": true, "ipMasq": true}"#),
            ("ptp", #"{"ipMasq": true}"#), ("macvlan", #"{"master": "up0"}"#), ("tap", "{}"),
        ] + (KernelFeature.ipvlan.isPresent ? [("ipvlan", #"{"master": "up0"}"#)] : [])
        + (KernelFeature.dummy.isPresent ? [("dummy", "{}")] : [])

    @Test(
        "DEL takes nothing of the other's, and all that was the first one's", arguments: making)
    func attaching(plugin: String, keys: JSON) throws {
        let network = Network(plugin: plugin, keys, in: world)
        let first = try world.trustingContainer()
        try network.add(first)
        let second = try successor(of: first)
        try network.add(second)
        let inside = try Snapshot(of: second)
        for withResult in [true, false] {
            try network.del(first, withResult: withResult)
            #expect(leases(of: first) == 0)
            #expect(try Snapshot(of: second).difference(from: inside) == "")
        }
        let difference = try network.check(second)
        #expect(difference == nil, "\(difference ?? "")")
        try network.del(second)
        #expect(leases(of: second) == 0)
    }

    @Test(
        "the result of ADD tells it from a container that the Go plugin has made",
        arguments: [
            ("bridge", "{}"), ("ptp", "{}"), ("macvlan", #"{"master": "up0"}"#),
        ])
    func madeByPeer(plugin: String, keys: String) throws {
        let network = Network(plugin: plugin, JSON(text: keys), in: world)
        let first = try world.trustingContainer()
        for isOurs in [true, false] {
            network.path = isOurs ? nil : try Peer.directory()
            try network.add(first)
            let second = try successor(of: first)
            network.path = try Peer.directory()
            try network.add(second)
            let inside = try Snapshot(of: second)
            network.path = nil
            try network.del(first)
            #expect(try Snapshot(of: second).difference(from: inside) == "")
            try network.del(second)
            #expect(try second.link("eth0").isNull)
        }
    }

    private static let untaggedOnes: [JSON] =
        [#"{"type": "tuning", "mtu": 1400}"#, #"{"type": "sbr"}"#, #"{"type": "loopback"}"#]
        + (KernelFeature.vrf.isPresent ? [#"{"type": "vrf", "vrfname": "red"}"#] : [])

    @Test("DEL of what carries no tag in the container leaves the other's", arguments: untaggedOnes)
    func untagged(keys: JSON) throws {
        var keys = keys
        if keys["type"].string == "tuning" { keys["dataDir"] = JSON(world.directory + "/tuning") }
        let network = Network(dualStack: #"{"bridge": "cni0"}"#, then: keys, in: world)
        let first = try world.trustingContainer()
        try network.add(first)
        let second = try successor(of: first)
        try network.add(second)
        let inside = try Snapshot(of: second)
        for withResult in [true, false] { try network.del(first, withResult: withResult) }
        #expect(try Snapshot(of: second).difference(from: inside) == "")
        let kept = keys["type"].string == "tuning" ? ["\(second.id)_eth0.json"] : []
        #expect(world.files("tuning") == kept)
        let difference = try network.check(second)
        #expect(difference == nil, "\(difference ?? "")")
        try network.del(second)
        #expect(world.files("tuning").isEmpty)
    }
}
