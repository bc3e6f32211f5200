import Testing

/// What one container of a host sends to another waits twice: in its own queue, and in the other's.
@Suite("bandwidth: between containers of one host", .serialized, .enabled(if: isRoot))
struct NeighbourTests {
    let world: World

    init() throws { world = try World() }

    private static func keys(sent: Int, received: Int, _ more: String = "") -> JSON {
        """
        {"shaping": {"linkRate": 200000000, \(more)
            "egress": {"rate": 10000000, "ceil": \(sent)000000},
            "ingress": {"rate": 10000000, "ceil": \(received)000000}}}
        """
    }

    private func network(_ keys: JSON) -> Network { BandwidthTests.network(keys, in: world) }

    private func address(_ result: JSON) -> String {
        result["ips"][0]["address"].string?.split(separator: "/").first.map(String.init) ?? ""
    }

    /// The number of a container's class, by its name.
    private func id(of container: World.Container, _ part: String = "") throws -> String {
        let sets = try world.onHost("nft list set netdev shaper classes")
        let name = "web \(container.id) eth0" + (part.isEmpty ? "" : " " + part)
        let words = sets.split { " {},\n\t".contains($0) }
        for (index, word) in words.enumerated() where word == "comment" {
            let rest = words[(index + 1)...].prefix(4).joined(separator: " ")
            if rest.hasPrefix("\"\(name)\"") { return String(words[index - 1]) }
        }
        throw Failure("no class \(name): \(sets)")
    }

    /// What has passed a class, in megabytes.
    private func sent(_ id: String, on link: String) throws -> Double {
        let words = try world.onHost("tc -s class show dev \(link) classid \(id)").split(
            separator: " ")
        guard
            let at = words.firstIndex(of: "Sent")
                ?? words.firstIndex(where: { $0.hasSuffix("Sent") })
        else { return 0 }
        return (Double(words[at + 1]) ?? 0) / 1e6
    }

    private func flow(
        _ from: World.Container, _ to: World.Container, _ result: JSON, seconds: Double = 3
    ) throws -> Double {
        try Flow(
            from: from.path, to: to.path, address: address(result), port: 5001, seconds: seconds
        ).rate()
    }

    @Test(
        "the less of what one may send and the other receive holds, and both classes count it",
        arguments: [(40, 20), (20, 40)])
    func bothCount(sent: Int, received: Int) throws {
        let network = network(Self.keys(sent: sent, received: received))
        let (one, other) = (try world.container(), try world.container())
        try network.add(one)
        let result = try network.add(other)
        let course = try Flow(
            from: one.path, to: other.path, address: address(result), port: 5001, seconds: 3
        ).course()
        #expect(carried(16...21).contains(course.rate), "\(course.rate) Mbit/s of 20")
        let (out, into) = (
            try self.sent(id(of: one), on: "shp-e"), try self.sent(id(of: other), on: "shp-i")
        )
        #expect(out > atLeast(4) && into > atLeast(4), "\(out) MB sent, \(into) MB received")
        // What the receiver's class drops has passed the sender's, and is sent again.
        let lost = sent > received ? Double(course.again) * 1514 / 1e6 : 0
        #expect(
            abs(out - into - lost) < out / 20,
            "\(out) MB sent, \(into) MB received, \(lost) MB lost between")
        let differences = try [network.check(one), network.check(other)]
        #expect(differences == [nil, nil])
    }

    @Test("a class inside the receiver takes what is its own from a neighbour, too")
    func classes() throws {
        let network = network(
            Self.keys(
                sent: 100, received: 100,
                """
                "classes": [{"name": "slow", "protocol": "tcp", "localPorts": [5001],
                    "ingress": {"rate": 1000000, "ceil": 10000000}}],
                """))
        let (one, other) = (try world.container(), try world.container())
        try network.add(one)
        let result = try network.add(other)
        let rate = try flow(one, other, result)
        #expect(carried(7...10.5).contains(rate), "\(rate) Mbit/s of 10")
        let count = try sent(id(of: other, "slow"), on: "shp-i")
        #expect(count > atLeast(1.5), "\(count) MB")
        #expect(try sent(id(of: other, "*"), on: "shp-i") < 0.1)
    }

    @Test("neighbours of two groups are held back as well")
    func groups() throws {
        let one = try world.container()
        try network(Self.keys(sent: 50, received: 50)).add(one)
        let other = try world.container()
        let result = try network(
            Self.keys(sent: 50, received: 20, #""group": "b","#)
        ).add(other)
        let rate = try flow(one, other, result)
        #expect(carried(16...21).contains(rate), "\(rate) Mbit/s of 20")
    }

    @Test("what the receiver leaves unshaped passes once and without a limit")
    func unshaped() throws {
        var keys = Self.keys(sent: 50, received: 10)
        keys = keys.merging(#"{"unshapedSubnets": ["10.71.0.0/16"]}"#)
        let sender = network(Self.keys(sent: 50, received: 50))
        let (one, other) = (try world.container(), try world.container())
        try sender.add(one)
        let result = try network(keys).add(other)
        let rate = try flow(one, other, result)
        #expect(carried(40...52).contains(rate), "\(rate) Mbit/s of 50")
        #expect(try sent(id(of: other), on: "shp-i") < 0.1)
    }

    @Test("filters in the receiver see a packet once, and its class counts it once")
    func once() throws {
        let network = network(Self.keys(sent: 50, received: 50))
        let (one, other) = (try world.container(), try world.container())
        try network.add(one)
        let result = try network.add(other)
        for words in [
            "add table netdev t",
            "add chain netdev t c { type filter hook ingress device eth0 priority 0 ; }",
            "add rule netdev t c icmp type echo-request counter",
        ] {
            try other.output(of: "nft " + words)
        }
        try one.output(of: "ping -q -i 0.05 -c 20 -s 100 \(address(result))")
        let seen = try other.output(of: "nft list chain netdev t c")
        #expect(seen.contains("counter packets 20 "), "\(seen)")
        let tree = try sent(id(of: other), on: "shp-i")
        // And a few packets of the kernel's.
        #expect((0.0028...0.0045).contains(tree), "\(tree) MB, 20 packets of 142 bytes")
    }

    @Test("between two containers behind ptp")
    func routed() throws {
        let list: JSON = """
            {"name": "web", "cniVersion": "1.1.0", "plugins": [
                {"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.71.0.0/16",
                    "dataDir": "\(world.directory)/leases", "routes": [{"dst": "0.0.0.0/0"}]}},
                \(JSON(#"{"type": "bandwidth"}"#).merging(Self.keys(sent: 40, received: 20)))
            ]}
            """
        try world.onHost("sysctl -qw net.ipv4.ip_forward=1")
        let network = Network(list, in: world)
        let (one, other) = (try world.container(), try world.container())
        try network.add(one)
        let result = try network.add(other)
        let rate = try flow(one, other, result)
        #expect(carried(16...21).contains(rate), "\(rate) Mbit/s of 20")
        #expect(try sent(id(of: other), on: "shp-i") > atLeast(4))
        #expect(try network.check(other) == nil)
        try network.del(one)
        try network.del(other)
    }
}
