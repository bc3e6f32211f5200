import Testing

/// What an operator or a runtime may do to a shaped container and its neighbours must not be lost on them.
@Suite("bandwidth: other configurations, other owners, odd numbers", .enabled(if: isRoot))
struct ShapingCareTests {
    let world: World

    init() throws { world = try World() }

    private func network(_ keys: JSON) -> Network { BandwidthTests.network(keys, in: world) }

    private static let both = BandwidthKeys.sends.merging(BandwidthKeys.receives)

    private func plain() throws -> (World.Container, JSON) {
        let container = try world.container()
        let bridge = Network(
            ipam: #"{"subnet": "10.71.0.0/16"}"#, version: "1.1.0", in: world)
        return (container, try bridge.add(container))
    }

    private func port(_ result: JSON) -> String { result["interfaces"][1]["name"].string ?? "" }

    private func there(_ words: String) throws -> String { try world.onHostIfThere(words) }

    /// What shaping has on the host.
    private func traces() throws -> String {
        try there("nft list ruleset")
            + ["shp-e", "shp-i", "shp-e-g2", "shp-i-g2"].map {
                try there("tc class show dev \($0)")
            }
            .joined()
    }

    @Test("frames of 9,000 bytes pass a class that splits packets, both ways")
    func jumbo() throws {
        var network = network(
            #"{"ingressRate": 10000000, "ingressBurst": 900000, "egressRate": 10000000, "egressBurst": 900000}"#
        )
        var list = JSON(#"{"name": "web", "cniVersion": "1.1.0"}"#)
        var bridge = network.plugins[0]
        bridge["mtu"] = "9000"
        list["plugins"] = JSON([bridge.value, network.plugins[1].value])
        network = Network(list, in: world)
        let container = try world.container()
        let result = try network.add(container)
        for shaped in [
            Self.both,
            BandwidthKeys.shaping(
                #"{"linkRate": 400000000, "egress": {"rate": 9000000}, "ingress": {"rate": 9000000}}"#
            ),
        ] {
            #expect(try world.bandwidth("ADD", shaped, container, after: result).succeeded)
            let address = result["ips"][0]["address"].string?.split(separator: "/")[0] ?? ""
            try world.onHost("ping -q -c 2 -i 0.2 -M do -s 8900 \(address)")
            try container.output(of: "ping -q -c 2 -i 0.2 -M do -s 8900 10.71.0.1")
            #expect(try world.bandwidth("CHECK", shaped, container, after: result).succeeded)
        }
        try network.del(container)
    }

    @Test("an ADD that fails gives the link and the tenant of others their numbers back")
    func sharedNumbers() throws {
        let (one, first) = try plain()
        let (two, second) = try plain()
        let owned = BandwidthKeys.shaping(
            #"{"linkRate": 1000000000, "classId": "1:20", "egress": {"rate": 10000000}, "tenant": {"name": "t", "egress": {"rate": 50000000, "ceil": 90000000}}}"#
        )
        #expect(try world.bandwidth("ADD", owned, one, after: first).succeeded)
        let before = try there("tc class show dev shp-e")
        let taken = BandwidthKeys.shaping(
            #"{"linkRate": 300000000, "classId": "1:20", "egress": {"rate": 10000000}, "tenant": {"name": "t", "egress": {"rate": 20000000, "ceil": 30000000}}}"#
        )
        #expect(try !world.bandwidth("ADD", taken, two, after: second).succeeded)
        #expect(try there("tc class show dev shp-e") == before)
        try world.onHost("tc qdisc add dev \(port(second)) ingress")
        let hindered = BandwidthKeys.shaping(
            #"{"linkRate": 300000000, "egress": {"rate": 10000000}, "ingress": {"rate": 10000000}, "tenant": {"name": "t", "egress": {"rate": 20000000, "ceil": 30000000}, "ingress": {"rate": 20000000}}}"#
        )
        let ended = try world.bandwidth("ADD", hindered, two, after: second)
        #expect(!ended.succeeded)
        #expect(try there("tc class show dev shp-e") == before)
        #expect(try !there("tc class show dev shp-i").contains("1:f"))
        #expect(try world.bandwidth("CHECK", owned, one, after: first).succeeded)
    }

    @Test("of a container that has moved to another group nothing stays in the first")
    func otherGroup() throws {
        let (container, result) = try plain()
        let elsewhere = BandwidthKeys.sends.merging(#"{"shaping": {"group": "g2"}}"#)
        #expect(try world.bandwidth("ADD", BandwidthKeys.sends, container, after: result).succeeded)
        #expect(try world.bandwidth("ADD", elsewhere, container, after: result).succeeded)
        #expect(try there("tc class show dev shp-e") == "")
        #expect(try world.bandwidth("CHECK", elsewhere, container, after: result).succeeded)
        // The file says another one by now, or something that no ADD would take.
        let files: [JSON] = [
            BandwidthKeys.sends,
            BandwidthKeys.shaping(#"{"group": "g2", "egress": {"priority": 9}}"#),
        ]
        for file in files {
            #expect(try world.bandwidth("ADD", elsewhere, container, after: result).succeeded)
            #expect(try world.bandwidth("DEL", file, container, after: result).succeeded)
            #expect(try traces() == "")
        }
    }

    @Test("a late DEL by a path that leads to another container takes nothing of its limits")
    func reusedPath() throws {
        let (container, result) = try plain()
        #expect(
            try world.bandwidth("ADD", BandwidthKeys.receives, container, after: result).succeeded)
        var old: JSON = #"{"cniVersion": "1.1.0", "name": "web", "type": "bandwidth"}"#
        old = old.merging(BandwidthKeys.receives)
        let ended = try world.call(
            "bandwidth", "DEL", old, World.Container(id: "old", path: container.path))
        #expect(ended.succeeded)
        #expect(
            try world.bandwidth("CHECK", BandwidthKeys.receives, container, after: result).succeeded
        )
    }

    @Test("rates beyond all numbers are sums like others, and no reason to die")
    func largest() throws {
        let largest: JSON = #"{"egressRate": 9223372036854775000, "egressBurst": 2147483647}"#
        for _ in 0..<2 {
            let (container, result) = try plain()
            #expect(try world.bandwidth("ADD", largest, container, after: result).succeeded)
        }
        try world.onHost("tc class add dev shp-e parent 1:1 classid 1:5 htb rate 4000000tbps")
        let (container, result) = try plain()
        let ended = try world.bandwidth(
            "ADD", BandwidthKeys.shaping(#"{"linkRate": 50000000, "egress": {"rate": 1000000}}"#),
            container,
            after: result)
        #expect(ended.json["code"].number == 7, "\(ended.output)")
        #expect(ended.json["msg"].string?.contains("more than linkRate") == true)
        #expect(try world.bandwidth("DEL", BandwidthKeys.sends, container, after: result).succeeded)
    }

    @Test(
        "a second ADD may want another class, or classes inside it",
        arguments: [
            (
                #"{"classId": "1:20", "ingress": {"rate": 9000000}}"#,
                #"{"classId": "1:30", "ingress": {"rate": 8000000}}"#
            ),
            (
                #"{"linkRate": 50000000, "classId": "1:20", "egress": {"rate": 30000000}}"#,
                #"{"linkRate": 50000000, "classId": "1:30", "egress": {"rate": 40000000}}"#
            ),
            (
                #"{"linkRate": 50000000, "egress": {"rate": 30000000}}"#,
                #"{"linkRate": 50000000, "egress": {"rate": 30000000}, "tenant": {"name": "t", "egress": {"rate": 30000000}}}"#
            ),
        ])
    func changed(from: String, to: String) throws {
        let (container, result) = try plain()
        try world.unchanged {
            for keys in [from, to, from, to] {
                let ended = try world.bandwidth(
                    "ADD", BandwidthKeys.shaping(keys), container, after: result)
                #expect(ended.succeeded, "\(ended.output)")
                let checked = try world.bandwidth(
                    "CHECK", BandwidthKeys.shaping(keys), container, after: result)
                #expect(checked.succeeded, "\(checked.output)")
            }
            #expect(
                try world.bandwidth("DEL", BandwidthKeys.shaping(to), container, after: result)
                    .succeeded)
        }
    }

    @Test("an ADD that fails gives the leaf of the container's class back")
    func leafBack() throws {
        let (container, result) = try plain()
        #expect(try world.bandwidth("ADD", BandwidthKeys.sends, container, after: result).succeeded)
        try world.onHost("tc qdisc add dev \(port(result)) ingress")
        let more = BandwidthKeys.shaping(
            #"{"linkRate": 1000000000, "egress": {"rate": 100000000, "ceil": 100000000}, "ingress": {"rate": 1000000}, "classes": [{"name": "a", "protocol": "tcp", "egress": {}}]}"#
        )
        let ended = try world.bandwidth("ADD", more, container, after: result)
        #expect(!ended.succeeded && !ended.output.contains("left behind"), "\(ended.output)")
        let checked = try world.bandwidth("CHECK", BandwidthKeys.sends, container, after: result)
        #expect(checked.succeeded, "\(checked.output)")
    }

    @Test("a class whose name went with the whole table goes with its container")
    func lostTable() throws {
        let (container, result) = try plain()
        #expect(try world.bandwidth("ADD", BandwidthKeys.sends, container, after: result).succeeded)
        try world.onHost("nft delete table netdev shaper")
        #expect(try world.bandwidth("DEL", BandwidthKeys.sends, container, after: result).succeeded)
        #expect(try traces() == "")
    }

    @Test("names that a killed ADD has left go with the next DEL")
    func namesOfTheDead() throws {
        let (container, result) = try plain()
        let classes = BandwidthKeys.sends.merging(
            #"{"shaping": {"classes": [{"name": "db", "protocol": "tcp", "egress": {}}]}}"#)
        #expect(try world.bandwidth("ADD", classes, container, after: result).succeeded)
        // As when the second of two ADDs has named classes and got no further.
        let own =
            try there("tc class show dev shp-e parent 1:1").split(separator: "\n")
            .map { $0.split(separator: " ")[2] }.first { $0 != "1:fffe" } ?? ""
        let element = "\"\(port(result))\""
        try world.onHost("nft delete element netdev shaper egress_class { \(element) }")
        try world.onHost(
            "nft add element netdev shaper egress_class { \(element) comment "
                + "\"web \(container.id) eth0\" : \(own) }")
        #expect(try world.bandwidth("DEL", BandwidthKeys.sends, container, after: result).succeeded)
        #expect(try traces() == "")
    }

    @Test("a guarantee counts for all of a tree, whoever says what its link has")
    func room() throws {
        let (one, first) = try plain()
        let (two, second) = try plain()
        let most = BandwidthKeys.shaping(#"{"linkRate": 100000000, "egress": {"rate": 60000000}}"#)
        #expect(try world.bandwidth("ADD", most, one, after: first).succeeded)
        let refused = try world.bandwidth("ADD", BandwidthKeys.sends, two, after: second)
        #expect(refused.json["code"].number == 7, "\(refused.output)")
        // What was promised before stays, and CHECK is about what there is.
        try world.onHost("tc class add dev shp-e parent 1:1 classid 1:9 htb rate 90mbit")
        #expect(try world.bandwidth("CHECK", most, one, after: first).succeeded)
        #expect(try world.bandwidth("ADD", most, one, after: first).succeeded)
        let less = BandwidthKeys.shaping(#"{"linkRate": 100000000, "egress": {"rate": 50000000}}"#)
        #expect(try world.bandwidth("ADD", less, one, after: first).succeeded)
        #expect(try !world.bandwidth("ADD", most, one, after: first).succeeded)
    }

    @Test("what a link has counts for all in its tree, however much it is")
    func vast() throws {
        let (one, first) = try plain()
        let (two, second) = try plain()
        let most = BandwidthKeys.shaping(
            #"{"linkRate": 200000000000, "egress": {"rate": 150000000000}}"#)
        #expect(try world.bandwidth("ADD", most, one, after: first).succeeded)
        let others = BandwidthKeys.shaping(#"{"egress": {"rate": 100000000000}}"#)
        let refused = try world.bandwidth("ADD", others, two, after: second)
        #expect(refused.json["code"].number == 7, "\(refused.output)")
    }

    @Test(
        "CHECK agrees with ADD on the largest bursts and the smallest rates",
        arguments: [
            #"{"ingressRate": 1000000, "ingressBurst": 2000000000}"#,
            #"{"ingressRate": 40, "ingressBurst": 4000}"#,
            #"{"egressRate": 40, "egressBurst": 2000000000}"#,
        ])
    func rounded(keys: String) throws {
        let (container, result) = try plain()
        #expect(try world.bandwidth("ADD", JSON(text: keys), container, after: result).succeeded)
        let checked = try world.bandwidth("CHECK", JSON(text: keys), container, after: result)
        #expect(checked.succeeded, "\(checked.output)")
    }

    @Test("a port's new name and its old one lead to no limit after DEL")
    func renamed() throws {
        let (container, result) = try plain()
        let keys = Self.both.merging(#"{"shaping": {"linkRate": 1000000000}}"#)
        #expect(try world.bandwidth("ADD", keys, container, after: result).succeeded)
        let end = port(result)
        for words in ["\(end) down", "\(end) name ren0", "ren0 up"] {
            try world.onHost("ip link set \(words)")
        }
        var moved = result
        var interfaces = result["interfaces"].array.map(\.value)
        var other = result["interfaces"][1]
        other["name"] = #""ren0""#
        interfaces[1] = other.value
        moved["interfaces"] = JSON(interfaces)
        let ended = try world.bandwidth("ADD", keys, container, after: moved)
        #expect(ended.succeeded, "\(ended.output)")
        #expect(try world.bandwidth("DEL", keys, container, after: moved).succeeded)
        #expect(try traces() == "")
    }

    @Test("what a container that went without a DEL had on a port is not the next one's")
    func deadOwner() throws {
        let (container, result) = try plain()
        let keys = Self.both.merging(#"{"shaping": {"linkRate": 1000000000}}"#)
        var dead: JSON = #"{"cniVersion": "1.1.0", "name": "web", "type": "bandwidth"}"#
        dead["prevResult"] = result
        #expect(
            try world.call(
                "bandwidth", "ADD", dead.merging(keys),
                World.Container(id: "dead", path: container.path)
            ).succeeded)
        #expect(
            try world.bandwidth("ADD", BandwidthKeys.receives, container, after: result).succeeded)
        #expect(try !there("nft list ruleset").contains("web dead eth0\" : 1:"))
        #expect(try !there("nft list ruleset").contains("chain e-"))
    }

    @Test("a tree that somebody has made at the host's end is left alone, and said")
    func foreignTree() throws {
        let (container, result) = try plain()
        let end = port(result)
        for words in [
            "qdisc add dev \(end) root handle 7: htb default 20",
            "class add dev \(end) parent 7: classid 7:20 htb rate 9mbit",
        ] {
            try world.onHost("tc " + words)
        }
        let before = try there("tc class show dev \(end)")
        #expect(try world.bandwidth("ADD", BandwidthKeys.sends, container, after: result).succeeded)
        #expect(try there("tc class show dev \(end)") == before)
        let refused = try world.bandwidth("ADD", BandwidthKeys.receives, container, after: result)
        #expect(
            refused.json["msg"].string?.contains("somebody else's") == true, "\(refused.output)")
        #expect(try world.bandwidth("DEL", BandwidthKeys.sends, container, after: result).succeeded)
        #expect(try there("tc class show dev \(end)") == before)
    }

    @Test("a class that somebody has made at a new tenant's number stays his")
    func tenantNumber() throws {
        let (container, result) = try plain()
        let keys = BandwidthKeys.shaping(
            #"{"egress": {"rate": 1000000}, "tenant": {"name": "t", "egress": {"rate": 9000000}}}"#)
        #expect(try world.bandwidth("ADD", keys, container, after: result).succeeded)
        let id = try there("nft list set netdev shaper tenants").split(separator: " ")
            .first { $0.hasPrefix("1:f") }
        let (other, second) = try plain()
        #expect(try world.bandwidth("ADD", BandwidthKeys.sends, other, after: second).succeeded)
        #expect(try world.bandwidth("DEL", keys, container, after: result).succeeded)
        try world.onHost("tc class add dev shp-e parent 1:1 classid \(id ?? "") htb rate 7mbit")
        #expect(try world.bandwidth("ADD", keys, container, after: result).succeeded)
        #expect(try there("tc class show dev shp-e classid \(id ?? "")").contains("rate 7Mbit"))
        #expect(try world.bandwidth("CHECK", keys, container, after: result).succeeded)
    }

    @Test("forty classes find numbers beside six thousand")
    func crowded() throws {
        let (first, before) = try plain()
        #expect(try world.bandwidth("ADD", BandwidthKeys.sends, first, after: before).succeeded)
        let taken = (0..<6000).map { "1:" + String(0x10 + $0 * 9, radix: 16) }
        for part in stride(from: 0, to: taken.count, by: 1000) {
            let list = taken[part..<min(part + 1000, taken.count)].joined(separator: ", ")
            try world.onHost("nft add element netdev shaper classes { \(list) }")
        }
        let classes = (0..<40).map {
            "{\"name\": \"c\($0)\", \"ports\": [\(1000 + $0)], \"protocol\": \"tcp\", \"egress\": {}}"
        }
        let (container, result) = try plain()
        let ended = try world.bandwidth(
            "ADD",
            BandwidthKeys.sends.merging(
                BandwidthKeys.shaping("{\"classes\": [\(classes.joined(separator: ", "))]}")),
            container, after: result)
        #expect(ended.succeeded, "\(ended.output)")
    }

    @Test("of two that come at once for the same guarantee, one gets it")
    func atOnce() throws {
        let keys = BandwidthKeys.shaping(
            #"{"linkRate": 1000000000, "egress": {"rate": 600000000}}"#)
        let both = try [plain(), plain()]
        for _ in 0..<10 {
            let started = try both.map { container, result in
                var given: JSON = #"{"cniVersion": "1.1.0", "name": "web", "type": "bandwidth"}"#
                given["prevResult"] = result
                return try world.start(
                    "bandwidth", "ADD", given.merging(keys).description, container: container.id,
                    namespace: container.path)
            }
            let ended = started.map { (one: Command) in one.wait() }
            #expect(ended.filter { $0.succeeded }.count == 1, "\(ended.map { $0.output })")
            for (container, result) in both {
                #expect(try world.bandwidth("DEL", keys, container, after: result).succeeded)
            }
        }
    }
}
