import Testing

@Suite("bandwidth: tenants, and classes inside a container", .enabled(if: isRoot))
struct TenantTests {
    let world: World

    init() throws { world = try World() }

    private func network(_ shaping: String) -> Network {
        BandwidthTests.network("{\"shaping\": {\"linkRate\": 50000000, \(shaping)}}", in: world)
    }

    private static func tenant(_ name: String) -> String {
        """
        "tenant": {"name": "\(name)", "egress": {"rate": 30000000, "ceil": 40000000},
            "ingress": {"rate": 10000000}},
        "egress": {"rate": 10000000, "ceil": 40000000}
        """
    }

    private static let classes = """
        "egress": {"rate": 10000000, "ceil": 40000000}, "ingress": {"ceil": 40000000},
        "classes": [
            {"name": "db", "cidrs": ["10.71.0.1/32", "fd00::/8"], "ports": [5001, "5010-5019"],
                "egress": {"rate": 4000000, "ceil": 20000000, "priority": 0}},
            {"name": "echo", "protocol": "icmp",
                "egress": {"priority": 1}, "ingress": {"priority": 1}},
            {"name": "web", "localPorts": [80], "ingress": {"ceil": 8000000}}]
        """

    /// A container's or a tenant's classes on a link, each with its parent.
    private func classes(on link: String) throws -> [String: String] {
        var found: [String: String] = [:]
        for line in try world.onHostIfThere("tc class show dev \(link)").split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            guard words.count > 4, words[1] == "htb", words[3] == "parent", words[2] != "1:fffe"
            else { continue }
            found[words[2]] = words[4]
        }
        return found
    }

    /// The names in a set of the table, each with its class.
    private func names(_ set: String) throws -> [String: String] {
        let text = try world.onHostIfThere("nft -j list set netdev shaper \(set)")
        var found: [String: String] = [:]
        for object in JSON(text: text)["nftables"].array {
            for element in object["set"]["elem"].array {
                let one = element["elem"]
                found[one["comment"].string ?? ""] = one["val"].string
            }
        }
        return found
    }

    /// The packets that a class has sent.
    private func packets(_ id: String, on link: String) throws -> Int {
        let text = try world.onHost("tc -s class show dev \(link) classid \(id)")
        let words = text.split(whereSeparator: { " \n".contains($0) })
        guard let sent = words.firstIndex(of: "Sent"), words.count > sent + 3 else { return -1 }
        return Int(words[sent + 3]) ?? -1
    }

    @Test("what comes from a shaped container of the host is in the class of its selection")
    func sameHost() throws {
        let network = { (keys: JSON) in
            BandwidthTests.network(
                keys,
                ipam: #"{"ranges": [[{"subnet": "10.71.0.0/16"}], [{"subnet": "fd00:71::/64"}]]}"#,
                in: world)
        }
        let sender = try world.container("sender")
        try network(#"{"shaping": {"egress": {"ceil": 40000000}}}"#).add(sender)
        let receiver = try world.container("receiver")
        let keys: JSON = """
            {"unshapedSubnets": ["fd00:71::2/128"], "shaping": {"ingress": {"ceil": 40000000},
                "classes": [
                    {"name": "far", "cidrs": ["10.71.0.128/25", "fd00:71::8000/113"],
                        "ingress": {"priority": 1}},
                    {"name": "near", "cidrs": ["10.71.0.2/31", "fd00:71::/113"],
                        "protocol": "icmp", "ingress": {"priority": 1}}]}}
            """
        let shaped = network(keys)
        try shaped.add(receiver)
        let classes = try names("classes")
        let seen = { (name: String) in
            let id = try #require(classes["web receiver eth0 \(name)"], "\(classes)")
            return try packets(id, on: "shp-i")
        }
        try sender.output(of: "ip addr add fd00:71::22/64 dev eth0 nodad")
        try sender.output(of: "ping -q -c 3 10.71.0.3")
        #expect(try seen("near") == 3)
        try sender.output(of: "ping -q -c 3 -I fd00:71::22 fd00:71::3")
        #expect(try seen("near") == 6)
        // This address is none of the limits'.
        try sender.output(of: "ping -q -c 3 -I fd00:71::2 fd00:71::3")
        #expect(try seen("near") == 6)
        try sender.output(of: "ip addr add fd00:71::8022/64 dev eth0 nodad")
        try sender.output(of: "ping -q -c 3 -I fd00:71::8022 fd00:71::3")
        #expect(try seen("far") == 3)
        #expect(try shaped.check(receiver) == nil)
    }

    @Test("a tenant is there from its first container to its last")
    func tenant() throws {
        let network = network(Self.tenant("gold"))
        let (one, other, third) = (
            try world.container("one"), try world.container("other"), try world.container("third")
        )
        try network.add(third)
        try network.del(third)
        try world.unchanged {
            try network.add(one)
            try network.add(other)
            let gold = try #require(try names("tenants")["gold"])
            let containers = try names("classes")
            for link in ["shp-e", "shp-i"] {
                let classes = try classes(on: link)
                #expect(classes[gold] == "1:1")
                for owner in ["web one eth0", "web other eth0"] {
                    #expect(classes[containers[owner] ?? ""] == gold, "\(link): \(classes)")
                }
            }
            let egress = try world.onHost("tc class show dev shp-e classid \(gold)")
            #expect(egress.contains("rate 30Mbit ceil 40Mbit"))
            #expect(try network.check(one) == nil)
            try network.del(one)
            #expect(try names("tenants") == ["gold": gold])
            #expect(try network.check(other) == nil)
            try network.del(other)
            #expect(try names("tenants").isEmpty)
        }
    }

    @Test("after a lost ruleset ADDs find their classes again, and make no second one")
    func lostNames() throws {
        let network = network(Self.tenant("gold"))
        let containers = try (0..<2).map { _ in try world.container() }
        let results = try containers.map { try network.add($0) }
        let before = (try classes(on: "shp-e"), try classes(on: "shp-i"), try names("tenants"))
        try world.onHost("nft flush ruleset")
        // A container that comes anew is put into the tenant that is there.
        let third = try world.container("third")
        try network.add(third)
        #expect(try names("tenants") == before.2)
        try network.del(third)
        #expect(try classes(on: "shp-e") == before.0)
        #expect(try classes(on: "shp-i") == before.1)
        // So are those that were there, with the classes that they had.
        for (container, result) in zip(containers, results) {
            let ended = try world.call(
                "bandwidth", "ADD",
                network.configuration(network.plugins[1], previous: result), container)
            #expect(ended.succeeded, "\(ended.output)")
            #expect(try network.check(container) == nil)
        }
        #expect(try classes(on: "shp-e") == before.0)
        #expect(try classes(on: "shp-i") == before.1)
        for container in containers { try network.del(container) }
        #expect(try world.onHostIfThere("ip link show shp-e").isEmpty)
    }

    @Test("guarantees that a tenant's cannot keep are refused with the numbers")
    func overcommitted() throws {
        let network = network(Self.tenant("gold"))
        for _ in 0..<3 { try network.add(try world.container()) }
        #expect(
            try network.tryAdd(try world.container()).json["msg"].string
                == "shaping.egress.rate: 10 Mbit/s and the 30 Mbit/s that others are guaranteed on "
                + "shp-e are more than the tenant's guarantee, 30 Mbit/s")
        let other = self.network(Self.tenant("silver"))
        #expect(
            try other.tryAdd(try world.container()).json["msg"].string
                == "shaping.tenant.egress.rate: 30 Mbit/s and the 30 Mbit/s that others are "
                + "guaranteed on shp-e are more than linkRate, 50 Mbit/s")
    }

    @Test("a second ADD moves a container to another tenant, and out of any")
    func moved() throws {
        let container = try world.container("abc")
        let network = { (keys: String) in
            BandwidthTests.network("{\"shaping\": {\(keys)}}", in: self.world)
        }
        let result = try network(Self.tenant("gold")).add(container)
        for (keys, tenant) in [
            (Self.tenant("silver"), "silver"), (#""egress": {"ceil": 1000000}"#, nil),
        ] as [(String, String?)] {
            let network = network(keys)
            let configuration = network.configuration(network.plugins[1], previous: result)
            let ended = try world.call("bandwidth", "ADD", configuration, container)
            #expect(ended.succeeded, "\(ended.output)")
            let checked = try world.call("bandwidth", "CHECK", configuration, container)
            #expect(checked.succeeded, "\(checked.output)")
            let tenants = try names("tenants")
            #expect(Array(tenants.keys) == [tenant].compactMap { $0 })
            let own = try names("classes")["web abc eth0"] ?? ""
            #expect(try classes(on: "shp-e")[own] == tenant.flatMap { tenants[$0] } ?? "1:1")
        }
    }

    @Test("twenty ADDs at once have one tenant, and as many DELs leave none")
    func storm() throws {
        let bridge = Network(version: "1.1.0", in: world)
        let network = BandwidthTests.network(
            """
            {"shaping": {"tenant": {"name": "gold", "egress": {"rate": 1000000000},
                "ingress": {"rate": 1000000000}}}}
            """, in: world)
        let all = try (0..<20).map { _ in
            let container = try world.container()
            return (container, try bridge.add(container))
        }
        func run(_ verb: String) throws {
            let running = try all.map { container, result in
                try world.start(
                    "bandwidth", verb,
                    network.configuration(network.plugins[1], previous: result).description,
                    container: container.id, namespace: container.path)
            }
            for command in running {
                let ended = command.wait()
                #expect(ended.succeeded, "\(ended.output)")
            }
        }
        try run("ADD")
        let tenants = try names("tenants")
        #expect(tenants.count == 1)
        for link in ["shp-e", "shp-i"] {
            let inside = try classes(on: link).filter { $0.value == tenants["gold"] }
            #expect(inside.count == 20)
        }
        try run("DEL")
        #expect(try classes(on: "shp-e").isEmpty && classes(on: "shp-i").isEmpty)
        #expect(try names("tenants").isEmpty && names("classes").isEmpty)
    }

    @Test("GC removes a tenant that an ADD which was killed has left")
    func orphan() throws {
        let network = network(Self.tenant("gold"))
        let container = try world.container()
        try network.add(container)
        try world.nft("add element netdev shaper tenants { 1:f123 comment \"late\" }")
        try world.onHost(
            "tc class add dev shp-e parent 1:1 classid 1:f123 htb rate 1mbit quantum 1514")
        try network.gc(keeping: [(container, "eth0")])
        #expect(Array(try names("tenants").keys) == ["gold"])
        #expect(try classes(on: "shp-e")["1:f123"] == nil)
        #expect(try network.check(container) == nil)
    }

    @Test("classes inside a container are in its own class, have names, and go with it")
    func parts() throws {
        let network = network(Self.classes)
        let first = try world.container()
        try network.add(first)
        try network.del(first)
        try world.unchanged {
            let container = try world.container("abc")
            let result = try network.add(container)
            let names = try names("classes")
            #expect(
                names.keys.sorted() == [
                    "web abc eth0", "web abc eth0 *", "web abc eth0 db", "web abc eth0 echo",
                    "web abc eth0 web",
                ])
            let own = names["web abc eth0"] ?? ""
            let egress = try classes(on: "shp-e")
            #expect(egress[own] == "1:1")
            for name in ["*", "db", "echo"] {
                #expect(egress[names["web abc eth0 \(name)"] ?? ""] == own)
            }
            #expect(egress.count == 4)
            #expect(try classes(on: "shp-i").count == 4)
            let port = result["interfaces"][1]["name"].string ?? ""
            let rest = names["web abc eth0 *"] ?? ""
            let element = "\"\(port)\" counter packets"
            let map = try world.onHost("nft list map netdev shaper egress_class")
            #expect(map.contains(element) && map.contains("comment \"web abc eth0\" : \(rest)"))
            #expect(try network.check(container) == nil)
            try network.del(container)
        }
    }

    @Test("each packet is in the first class that it matches, in both directions")
    func matching() throws {
        let network = network(Self.classes)
        let container = try world.container("abc")
        try network.add(container)
        let names = try names("classes")
        func count(_ name: String, _ link: String) throws -> Int {
            try packets(names["web abc eth0 \(name)"] ?? "", on: link)
        }
        for _ in 0..<3 { #expect(try container.reaches("10.71.0.1")) }
        // The kernel's own messages of ICMPv6 may come to it.
        #expect(try count("echo", "shp-e") >= 3 && count("echo", "shp-i") >= 3)
        let before = try count("*", "shp-e")
        _ = try Flow(
            from: container.path, to: world.host, address: "10.71.0.1", port: 5012, seconds: 0.5
        ).rate()
        #expect(try count("db", "shp-e") > 50)
        #expect(try count("*", "shp-e") == before)
        #expect(try count("web", "shp-i") == 0)
        _ = try Flow(
            from: world.host, to: container.path, address: "10.71.0.2", port: 80, seconds: 0.5
        ).rate()
        #expect(try count("web", "shp-i") > 50)
        // The answers to it are in no class.
        #expect(try count("*", "shp-e") > before)
    }

    @Test("a second ADD changes, adds and takes away classes")
    func changed() throws {
        let container = try world.container("abc")
        let result = try network(Self.classes).add(container)
        let other = Self.classes.replacing("5001", with: "7001").replacing("echo", with: "ping")
        let plain = #""egress": {"rate": 10000000, "ceil": 40000000}"#
        for (keys, count) in [(other, 5), (plain, 1), (Self.classes, 5), (plain, 1)] {
            let network = network(keys)
            let configuration = network.configuration(network.plugins[1], previous: result)
            if count == 5 {
                let before = try world.call("bandwidth", "CHECK", configuration, container)
                #expect(!before.succeeded)
            }
            let ended = try world.call("bandwidth", "ADD", configuration, container)
            #expect(ended.succeeded, "\(ended.output)")
            let checked = try world.call("bandwidth", "CHECK", configuration, container)
            #expect(checked.succeeded, "\(checked.output)")
            #expect(try names("classes").count == count)
            #expect(try container.reaches("10.71.0.1"))
        }
    }

    @Test(
        "a second ADD that fails leaves classes, leaves and rules as they were",
        arguments: ["plain", "none", "moved", "others"], ["shp-e", "shp-i"])
    func failed(way: String, link: String) throws {
        let container = try world.container("abc")
        let first = network(Self.classes)
        let result = try first.add(container)
        let received = #""ingress": {"ceil": 30000000}"#
        let other = [
            // The classes inside go, from a container that goes on being shaped in both directions.
            "plain": #""egress": {"rate": 9000000, "ceil": 30000000}, "# + received,
            // A direction goes as a whole, or both into another class.
            "none": #""egress": {"rate": 9000000, "ceil": 30000000}"#,
            "moved": Self.tenant("gold") + ", " + received,
            "others": Self.classes.replacing("db", with: "sql").replacing("web", with: "www"),
        ][way]
        // The kernel removes no class that a filter leads to.
        let part = link == "shp-e" ? "db" : "web"
        let id = try #require(try names("classes")["web abc eth0 \(part)"])
        try world.onHost(
            "tc filter add dev \(link) parent 1: protocol all prio 9 u32 match u32 0 0 flowid \(id)"
        )
        let second = network(try #require(other))
        let configuration = second.configuration(second.plugins[1], previous: result)
        try world.unchanged {
            let ended = try world.call("bandwidth", "ADD", configuration, container)
            #expect(!ended.succeeded && ended.output.contains(id), "\(ended.output)")
        }
        try world.onHost("tc filter del dev \(link) parent 1: prio 9")
        #expect(try first.check(container) == nil)
        let ended = try world.call("bandwidth", "ADD", configuration, container)
        #expect(ended.succeeded, "\(ended.output)")
    }

    @Test(
        "CHECK names what was changed of tenants and classes",
        arguments: [
            (
                "tc class change dev shp-e parent 1:1 classid TENANT htb rate 1mbit quantum 1514",
                "rate"
            ),
            ("nft delete element netdev shaper classes { ECHO }", "name of class"),
            (
                "tc class change dev shp-e parent OWN classid ECHO htb rate 1mbit quantum 1514",
                "rate"
            ),
            ("nft flush chain netdev shaper e-PORT", "rules of chain e-PORT"),
        ])
    func check(damage: String, named: String) throws {
        let keys = Self.classes.replacing(
            #""egress": {"rate": 10000000"#,
            with: #""tenant": {"name": "a", "egress": {"rate": 20000000, "ceil": 40000000}}, "#
                + #""egress": {"rate": 10000000"#)
        let network = network(keys)
        let container = try world.container("abc")
        let port = try network.add(container)["interfaces"][1]["name"].string ?? ""
        #expect(try network.check(container) == nil)
        let (names, tenants) = (try names("classes"), try names("tenants"))
        var words = damage
        for (word, name) in [
            ("TENANT", tenants["a"]), ("ECHO", names["web abc eth0 echo"]),
            ("OWN", names["web abc eth0"]), ("PORT", port),
        ] { words = words.replacing(word, with: name ?? "") }
        try world.onHost(words)
        let message = try network.check(container)
        #expect(
            message?.contains(named.replacing("PORT", with: port)) == true, "\(message ?? "")")
        try network.del(container)
    }
}

extension World {
    /// Changes the host's rules.
    func nft(_ line: String) throws {
        let ended = try Command(["nft", line], in: host).wait()
        guard ended.succeeded else { throw Failure("nft \(line): \(ended.errors)") }
    }
}
