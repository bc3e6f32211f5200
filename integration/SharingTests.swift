import Foundation
import Testing

@Suite("bandwidth: beside others", .serialized, .enabled(if: isRoot))
struct SharingTests {
    let world: World

    init() throws { world = try World() }

    private static let keys: JSON = """
        {"shaping": {"linkRate": 10000000000, "egress": {"rate": 1000000, "ceil": 10000000000},
            "ingress": {"rate": 1000000, "ceil": 10000000000}}}
        """

    private func port(_ result: JSON) -> String { result["interfaces"][1]["name"].string ?? "" }

    /// The group's rules, and the classes of both of its trees, in order.
    private func state() throws -> String {
        var lines = try world.onHost("nft -s list ruleset").split(separator: "\n")
        for link in ["shp-e", "shp-i"] {
            lines += try world.onHost("tc class show dev \(link)").split(separator: "\n")
        }
        return lines.sorted().joined(separator: "\n")
    }

    @Test("a hundred ADDs at once have a number each, and ADDs and DELs at once leave no trace")
    func storm() throws {
        let bridge = Network(version: "1.1.0", in: world)
        let network = BandwidthTests.network(Self.keys, in: world)
        let first = try world.container()
        try network.add(first)
        let start = try state()
        let all = try (0..<100).map { _ in
            let container = try world.container()
            return (container, try bridge.add(container))
        }
        func run(_ verbs: [(String, Int)]) throws {
            let running = try verbs.map { verb, index in
                let (container, result) = all[index]
                return try world.start(
                    "bandwidth", verb,
                    network.configuration(network.plugins[1], previous: result).description,
                    container: container.id, namespace: container.path)
            }
            for command in running {
                let ended = command.wait()
                #expect(ended.succeeded, "\(ended.output)")
            }
        }
        func numbers() throws -> Int {
            let text = try world.onHost("nft -j list set netdev shaper classes")
            let sets = JSON(text: text)["nftables"].array.map { $0["set"]["elem"].array.count }
            return sets.reduce(0, +)
        }
        try run((0..<100).map { ("ADD", $0) })
        #expect(try numbers() == 101)
        for link in ["shp-e", "shp-i"] {
            let classes = try world.onHost("tc class show dev \(link)").split(separator: "\n")
                .filter { $0.hasPrefix("class htb") }
            #expect(classes.count == 103)
        }
        try run((0..<100).map { ($0 % 2 == 0 ? "DEL" : "ADD", $0) })
        #expect(try numbers() == 51)
        try run((0..<100).map { ($0 % 2 == 0 ? "ADD" : "DEL", $0) })
        #expect(try numbers() == 51)
        try run((0..<100).map { ("DEL", $0) })
        #expect(try state() == start)
        #expect(try network.check(first) == nil)
    }

    @Test("what a group shares goes with its last container, whoever adds meanwhile")
    func last() throws {
        let bridge = Network(version: "1.1.0", in: world)
        let network = BandwidthTests.network(Self.keys, in: world)
        let all = try (0..<100).map { _ in
            let container = try world.container()
            return (container, try bridge.add(container))
        }
        func start(_ verb: String, _ index: Int) throws -> Command {
            let (container, result) = all[index]
            return try world.start(
                "bandwidth", verb,
                network.configuration(network.plugins[1], previous: result).description,
                container: container.id, namespace: container.path)
        }
        func run(_ verbs: [(String, Int)]) throws {
            let running = try verbs.map { try start($0, $1) }
            for command in running {
                let ended = command.wait()
                #expect(ended.succeeded, "\(ended.output)")
            }
        }
        // A port keeps its clsact for as long as it is there: others may have filters in it.
        try run((0..<100).map { ("ADD", $0) })
        try run((0..<100).map { ("DEL", $0) })
        try world.unchanged {
            try run([("ADD", 0)])
            // The last DEL beside the next ADD, which finds a whole tree or makes one.
            for index in 1..<20 {
                try run([("DEL", index - 1), ("ADD", index)])
                let ended = try start("CHECK", index).wait()
                #expect(ended.succeeded, "\(index): \(ended.output)")
            }
            try run([("DEL", 19)])
            #expect(try world.onHostIfThere("ip link show shp-e").isEmpty)
            // A hundred of both at once, several times over.
            for _ in 0..<2 {
                try run((0..<100).map { ("ADD", $0) })
                try run((0..<100).map { ($0 % 2 == 0 ? "DEL" : "ADD", $0) })
                for index in [1, 49, 99] {
                    let ended = try start("CHECK", index).wait()
                    #expect(ended.succeeded, "\(index): \(ended.output)")
                }
                try run((0..<100).map { ("DEL", $0) })
                for kind in ["link show shp-e", "link show shp-i"] {
                    #expect(try world.onHostIfThere("ip \(kind)").isEmpty)
                }
            }
        }
    }

    @Test("a class that was made by hand keeps the tree, and GC takes the tree away after it")
    func byHand() throws {
        let network = BandwidthTests.network(Self.keys, in: world)
        let container = try world.container()
        try network.add(container)
        try world.onHost(
            "tc class add dev shp-e parent 1:1 classid 1:77 htb rate 1mbit quantum 1514")
        try network.del(container)
        #expect(try world.onHost("tc class show dev shp-e").contains("class htb 1:77"))
        try world.onHost("tc class del dev shp-e classid 1:77")
        try network.gc(keeping: [])
        #expect(try world.onHostIfThere("ip link show shp-e").isEmpty)
        #expect(try !world.onHost("nft list tables").contains("shaper"))
    }

    @Test("another tool's programs on the veth see each packet once, and outlive DEL")
    func coexistence() throws {
        let bridge = Network(version: "1.1.0", in: world)
        let network = BandwidthTests.network(Self.keys, in: world)
        let container = try world.container()
        let result = try bridge.add(container)
        let port = port(result)
        try world.onHost("tc qdisc add dev \(port) clsact")
        let counter = try PacketCounter(on: port, in: world)
        defer { counter.end() }
        let configuration = network.configuration(network.plugins[1], previous: result)
        let filters = try world.onHost("tc filter show dev \(port) egress")
        func ping(_ when: Comment) throws {
            let expected = try counter.counts().map { $0 + 5 }
            for _ in 0..<5 { #expect(try container.reaches("10.71.0.1")) }
            let counted = try counter.counts()
            #expect(counted == expected, when)
        }
        try ping("before")
        let added = try world.call("bandwidth", "ADD", configuration, container)
        #expect(added.succeeded, "\(added.output)")
        try ping("shaped")
        let removed = try world.call("bandwidth", "DEL", configuration, container)
        #expect(removed.succeeded, "\(removed.output)")
        #expect(try world.onHost("tc filter show dev \(port) egress") == filters)
        try ping("after")
    }

    @Test("GC leaves what is valid in any group, other networks, and what was made by hand")
    func others() throws {
        let network = { (name: String, group: String) in
            BandwidthTests.network(
                """
                {"shaping": {"group": "\(group)",
                    "tenant": {"name": "t", "egress": {"rate": 1000000}}}}
                """, name: name, in: self.world)
        }
        let (mine, other, same) = (
            network("web", "red"), network("web", "blue"), network("db", "red")
        )
        let containers = try (0..<3).map { _ in try world.container() }
        try other.add(containers[1])
        try same.add(containers[2])
        // Taken by hand: numbers, elements and a tenant's place.
        for number in ["1:77", "1:f077"] {
            try world.onHost(
                "tc class add dev shp-e-red parent 1:1 classid \(number) htb rate 1mbit quantum 1514"
            )
        }
        try world.nft("add element netdev shaper-red egress_class { \"mine\" : 1:77 }")
        func state() throws -> [String] {
            let texts =
                try ["shp-e-red", "shp-e-blue"].map { try world.onHost("tc class show dev \($0)") }
                + [world.onHost("nft -s list ruleset")]
            return texts.flatMap { $0.split(separator: "\n").map(String.init) }.sorted()
        }
        let bridge = Network(version: "1.1.0", in: world)
        let result = try bridge.add(containers[0])
        let before = try state()
        let plugin = mine.plugins[1]
        let added = try world.call(
            "bandwidth", "ADD", mine.configuration(plugin, previous: result), containers[0])
        #expect(added.succeeded, "\(added.output)")
        #expect(try state() != before)
        // The network has one that is valid in another group, as an earlier configuration said.
        var valid: JSON = "{}"
        valid["cni.dev/valid-attachments"] = JSON([
            ["containerID": containers[1].id, "ifname": "eth0"]
        ])
        let ended = try world.call(
            "bandwidth", "GC", mine.configuration(plugin, with: valid), containers[0])
        #expect(ended.succeeded, "\(ended.output)")
        let after = try state()
        #expect(after == before, "\(after.difference(from: before))")
        #expect(try other.check(containers[1]) == nil)
        #expect(try same.check(containers[2]) == nil)
    }

    @Test("a second ADD with other rates changes a flow within a second, and loses few packets")
    func liveChange() throws {
        // Those of an emulated machine are ones that it can carry.
        let unit = isGuest ? 200_000 : 1_000_000
        let network = { (rate: Int) in
            BandwidthTests.network(
                "{\"egressRate\": \(rate * unit), \"egressBurst\": 2147483647}", in: self.world)
        }
        let container = try world.container()
        let result = try network(50).add(container)
        let flow = try Flow(
            from: container.path, to: world.host, address: "10.71.0.1", port: 5001, seconds: 9)
        let flows = "ss -Htn state established sport = :5001"
        for _ in 0..<200 {
            guard try world.onHost(flows).isEmpty else { break }
            usleep(50_000)
        }
        var changes: [(begin: Double, end: Double)] = []
        for rate in [200, 20] {
            usleep(2_200_000)
            let next = network(rate)
            let begin = Flow.now
            let ended = try world.call(
                "bandwidth", "ADD", next.configuration(next.plugins[1], previous: result), container
            )
            changes.append((begin, Flow.now))
            #expect(ended.succeeded, "\(ended.output)")
        }
        let course = try flow.course()
        let rates = course.steps.map { $0 * 1e6 / Double(unit) }
        let faster = try #require(rates.firstIndex { $0 > 120 }, "\(rates)")
        let slower = try #require(rates[faster...].firstIndex { $0 < 30 }, "\(rates)")
        for (step, change) in zip([faster, slower], changes) {
            let seen = course.time.lowerBound + Double(step) / 10
            #expect(change.begin - 0.1 < seen && seen < change.end + 1, "\(change): \(rates)")
        }
        // There is enough of each part.
        try #require(faster >= 8 && slower >= faster + 12 && slower + 20 < rates.count, "\(rates)")
        // A loaded machine makes steps of uneven length, and may keep a flow below its limit. An emulated one
        // reads nothing for some steps, and then all at once.
        let usual = { (part: ArraySlice<Double>) in
            isGuest ? part.reduce(0, +) / Double(part.count) : part.sorted()[part.count / 2]
        }
        #expect((30...52).contains(usual(rates[5..<(faster - 2)])), "\(rates)")
        #expect((110...205).contains(usual(rates[(faster + 5)..<(slower - 3)])), "\(rates)")
        #expect((8...23).contains(usual(rates.suffix(11))), "\(rates)")
        let segments = Int(course.steps.reduce(0, +) * 1e5 / 8 / 1448)
        #expect(course.again < segments / 10, "\(course.again) of \(segments) segments sent again")
    }

    @Test("the guide's database has its guarantee beside batch jobs, which share the rest")
    func guide() throws {
        let network = { (name: String) in
            let path = "\(ConflistTests.directory)/\(name).conflist"
            // A tenth of each rate, which any machine carries.
            var list = JSON(
                text: try String(contentsOfFile: path, encoding: .utf8)
                    .replacing(/([1-9][0-9]*)0{7}\b/) { "\($0.output.1)000000" })
            var plugin = list["plugins"][0]
            plugin["ipam"]["dataDir"] = JSON(self.world.directory)
            list["plugins"] = JSON([plugin.value, list["plugins"][1].value])
            return Network(list, in: self.world)
        }
        let (database, batch) = (try network("database"), try network("batch"))
        let (db, jobs) = (
            try world.container("db"), try (0..<2).map { try world.container("job\($0)") }
        )
        try database.add(db)
        for job in jobs { try batch.add(job) }
        #expect(try database.check(db) == nil)
        #expect(try batch.check(jobs[1]) == nil)
        let names = try world.onHost("nft list set netdev shaper classes")
        for name in ["database db eth0", "database db eth0 *", "database db eth0 clients"] {
            #expect(names.contains("comment \"\(name)\""), "\(names)")
        }
        #expect(try world.onHost("nft list set netdev shaper tenants").contains("\"batch\""))
        let flow = { (container: World.Container, address: String, port: Int) in
            try Flow(
                from: container.path, to: self.world.host, address: address, port: port,
                seconds: 3)
        }
        let flows =
            try [flow(db, "10.94.0.1", 5001)]
            + jobs.enumerated().map { try flow($1, "10.95.0.1", 5002 + $0) }
        let rates = try Flow.rates(of: flows)
        // 80 and 20 Mbit/s.
        #expect(rates[1] + rates[2] < 30, "\(rates)")
        // An emulated machine does not come near them, and so has nothing to share.
        #expect(isGuest || rates[0] > 1.5 * (rates[1] + rates[2]), "\(rates)")
        for job in jobs { try batch.del(job) }
        try database.del(db)
        #expect(try !world.onHost("nft list tables").contains("shaper"))
    }
}
