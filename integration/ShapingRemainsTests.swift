import Testing

/// What shaping takes away is all that it has made, and nothing of anybody else's.
@Suite("bandwidth: whose things go, and whose stay", .enabled(if: isRoot))
struct ShapingRemainsTests {
    let world: World

    init() throws { world = try World() }

    /// The same, which must succeed.
    private func expect(
        _ verb: String, _ keys: JSON, _ container: World.Container, after result: JSON
    ) throws {
        let ended = try world.bandwidth(verb, keys, container, after: result)
        guard ended.succeeded else { throw Failure("\(verb): \(ended.output)\(ended.errors)") }
    }

    /// GC of the network with these containers valid, which must succeed.
    private func collect(_ keys: JSON, keeping valid: [World.Container]) throws {
        var list: JSON = #"{"name": "web", "cniVersion": "1.1.0"}"#
        list["plugins"] = JSON([(#"{"type": "bandwidth"}"# as JSON).merging(keys).value])
        try Network(list, in: world).gc(keeping: valid.map { ($0, "eth0") })
    }

    private func plain() throws -> (World.Container, JSON) {
        let container = try world.container()
        let bridge = Network(
            ipam: #"{"subnet": "10.71.0.0/16"}"#, version: "1.1.0", in: world)
        return (container, try bridge.add(container))
    }

    /// A container with a link of macvlan.
    private func withoutHostEnd() throws -> (World.Container, JSON) {
        if try world.link("up0").isNull { try Uplink(world) }
        var plugin: JSON = #"{"type": "macvlan", "master": "up0"}"#
        var allocation: JSON = #"{"type": "host-local", "subnet": "10.72.0.0/16"}"#
        allocation["dataDir"] = JSON(world.directory)
        plugin["ipam"] = allocation
        var list: JSON = #"{"name": "web", "cniVersion": "1.1.0"}"#
        list["plugins"] = JSON([plugin.value])
        let container = try world.container()
        return (container, try Network(list, in: world).add(container))
    }

    private func port(_ result: JSON) -> String { result["interfaces"][1]["name"].string ?? "" }

    private func there(_ words: String) throws -> String { try world.onHostIfThere(words) }

    /// The numbers of classes on a link, but for those of every tree.
    private func classes(on link: String, in container: World.Container? = nil) throws -> [String] {
        let words = "tc class show dev \(link)"
        let text = try container.map { try $0.run(words).output } ?? there(words)
        return text.split(separator: "\n").filter { $0.hasPrefix("class htb") }
            .map { String($0.split(separator: " ")[2]) }.filter { !["1:1", "1:fffe"].contains($0) }
    }

    @Test("an operator's tables of such names stay, whatever DEL and GC are of")
    func tables() throws {
        let own = [
            "add table netdev shaper-edge", "add table netdev shaper",
            "add chain netdev shaper mine { type filter hook ingress device \"lo\" priority 0; }",
            "add table netdev shaper-Lab_1", "add table netdev shaper-abcdefghijk",
            "add set netdev shaper-abcdefghijk classes { type mark; }", "add table inet shaper",
            "add table netdev shaper-e2", "add set netdev shaper-e2 classes { type classid; }",
        ]
        for words in own { try world.nft(words) }
        let (container, result) = try plain()
        let keys = BandwidthKeys.sends.merging(#"{"shaping": {"group": "g2"}}"#)
        try world.unchanged {
            try expect("ADD", keys, container, after: result)
            try expect("DEL", keys, container, after: result)
            try collect(keys, keeping: [])
            try collect(BandwidthKeys.sends, keeping: [])
        }
    }

    @Test("a chain that an operator has put into a group's table stays, and the table with it")
    func chain() throws {
        let (container, result) = try plain()
        try expect("ADD", BandwidthKeys.sends, container, after: result)
        try world.nft("add chain netdev shaper mine")
        try world.nft("add rule netdev shaper mine counter")
        try expect("DEL", BandwidthKeys.sends, container, after: result)
        try collect(BandwidthKeys.sends, keeping: [])
        #expect(try there("nft list chain netdev shaper mine").contains("counter"))
        #expect(try there("tc class show dev shp-e") == "")
    }

    @Test(
        "a stranger's queue with the handle that limits have stays where nothing is to be there",
        arguments: [
            ["qdisc add dev LINK root handle 1: tbf rate 9mbit burst 5000 latency 20ms"],
            [
                "qdisc add dev LINK root handle 1: htb default 20",
                "class add dev LINK parent 1: classid 1:20 htb rate 9mbit",
            ],
        ])
    func root(words: [String]) throws {
        let (container, result) = try plain()
        let end = port(result)
        for one in words { try world.onHost("tc " + one.replacing("LINK", with: end)) }
        let before = try there("tc qdisc show dev \(end) root") + there("tc class show dev \(end)")
        try expect("ADD", BandwidthKeys.sends, container, after: result)
        let after = try there("tc qdisc show dev \(end) root") + there("tc class show dev \(end)")
        #expect(after == before)
        let (inner, second) = try withoutHostEnd()
        for one in words { try inner.output(of: "tc " + one.replacing("LINK", with: "eth0")) }
        let shown = { try inner.output(of: "tc qdisc show dev eth0 root") }
        let own = try shown()
        try expect("ADD", BandwidthKeys.receives, inner, after: second)
        #expect(try shown() == own)
    }

    @Test(
        "after the ruleset was flushed DEL finds tenants, and classes inside, by their numbers",
        arguments: [
            #"{"egress": {"rate": 1000000}, "tenant": {"name": "t", "egress": {"rate": 9000000}}}"#,
            #"{"egress": {"rate": 8000000}, "classes": [{"name": "a", "protocol": "tcp", "egress": {}}]}"#,
            #"{"egress": {"rate": 8000000}, "ingress": {"rate": 1000000, "ceil": 5000000}, "tenant": {"name": "t", "egress": {"rate": 9000000}, "ingress": {"rate": 1000000}}, "classes": [{"name": "a", "protocol": "tcp", "egress": {}, "ingress": {}}, {"name": "b", "protocol": "udp", "ingress": {}}]}"#,
        ])
    func flushed(keys: String) throws {
        let (container, result) = try plain()
        // The place for filters at the host's end stays until that goes.
        try world.onHost("tc qdisc add dev \(port(result)) clsact")
        try world.unchanged {
            try expect("ADD", BandwidthKeys.shaping(keys), container, after: result)
            try world.onHost("nft flush ruleset")
            try expect("DEL", BandwidthKeys.shaping(keys), container, after: result)
        }
        #expect(try there("tc filter show dev \(port(result)) egress") == "")
    }

    @Test("of a tenant the class of a direction goes that no configuration has any more")
    func tenantDirection() throws {
        let both = BandwidthKeys.shaping(
            #"{"linkRate": 100000000, "tenant": {"name": "t", "egress": {"rate": 50000000}, "ingress": {"rate": 60000000}}}"#
        )
        let sent = BandwidthKeys.shaping(
            #"{"linkRate": 100000000, "tenant": {"name": "t", "egress": {"rate": 50000000}}}"#)
        let (one, first) = try plain()
        let (two, second) = try plain()
        try expect("ADD", both, one, after: first)
        try expect("ADD", both, two, after: second)
        try expect("ADD", sent, one, after: first)
        #expect(try classes(on: "shp-i").contains { $0.hasPrefix("1:f") })
        try expect("ADD", sent, two, after: second)
        #expect(try classes(on: "shp-i").isEmpty)
        #expect(try classes(on: "shp-e").contains { $0.hasPrefix("1:f") })
        // All of the link is there to be had.
        let (other, third) = try plain()
        try expect(
            "ADD",
            BandwidthKeys.shaping(#"{"linkRate": 100000000, "ingress": {"rate": 90000000}}"#),
            other,
            after: third)
    }

    @Test("GC finds what is in a group that the configuration does not name any more")
    func otherGroup() throws {
        let elsewhere = BandwidthKeys.sends.merging(
            #"{"shaping": {"group": "g2", "tenant": {"name": "t", "egress": {"rate": 300000000}}}}"#
        )
        let (gone, first) = try plain()
        let (valid, second) = try plain()
        let (others, third) = try plain()
        try expect("ADD", elsewhere, gone, after: first)
        try expect("ADD", elsewhere, valid, after: second)
        let other: JSON = #"{"name": "other", "shaping": {"group": "g3"}}"#
        try expect("ADD", BandwidthKeys.sends.merging(other), others, after: third)
        try collect(BandwidthKeys.sends, keeping: [valid])
        #expect(try !there("nft list ruleset").contains("web \(gone.id) eth0"))
        try expect("CHECK", elsewhere, valid, after: second)
        try expect("CHECK", BandwidthKeys.sends.merging(other), others, after: third)
        try collect(BandwidthKeys.sends, keeping: [])
        #expect(try there("tc class show dev shp-e-g2") == "")
        #expect(try !there("nft list tables").contains("shaper-g2"))
        try expect("CHECK", BandwidthKeys.sends.merging(other), others, after: third)
    }

    private static let inside = #""egress": {"rate": 9000000}, "ingress": {"rate": 8000000}"#

    @Test("of a container without a host's end nothing stays in a group that it has left")
    func groupInside() throws {
        let (container, result) = try withoutHostEnd()
        let first = BandwidthKeys.shaping("{\"group\": \"g1\", \(Self.inside)}")
        let second = BandwidthKeys.shaping("{\"group\": \"g2\", \(Self.inside)}")
        let traces = {
            try container.output(of: "nft list tables") + container.output(of: "ip -br link")
        }
        for keys in [first, second] {
            try expect("ADD", keys, container, after: result)
            try expect("CHECK", keys, container, after: result)
        }
        #expect(try !traces().contains("g1"))
        try expect("DEL", first, container, after: result)
        #expect(try !traces().contains("g2"))
        #expect(try classes(on: "eth0", in: container).isEmpty)
    }

    @Test(
        "a container without a host's end may have other classes, or others' numbers, each time")
    func classesInside() throws {
        let (container, result) = try withoutHostEnd()
        let configurations = [
            #"{"name": "a", "protocol": "tcp", "egress": {}, "ingress": {}}, {"name": "b", "protocol": "udp", "egress": {}, "ingress": {}}"#,
            #"{"name": "c", "protocol": "udp", "egress": {}, "ingress": {}}"#, "",
            #"{"name": "b", "protocol": "udp", "ingress": {}}"#,
        ].flatMap { classes in
            ["", #", "classId": "1:20""#, #", "classId": "1:30""#].map {
                BandwidthKeys.shaping("{\(Self.inside), \"classes\": [\(classes)]\($0)}")
            }
        }
        for keys in configurations + configurations.reversed() {
            try expect("ADD", keys, container, after: result)
            try expect("CHECK", keys, container, after: result)
            let count = (keys["shaping"]["classes"].array.count + 1)
            let there = try classes(on: "shp-i", in: container)
            #expect(there.count <= count + 1, "\(there)")
        }
        try expect("DEL", configurations[0], container, after: result)
        #expect(try classes(on: "eth0", in: container).isEmpty)
        #expect(try container.run("ip link show shp-i").output == "")
    }
}
