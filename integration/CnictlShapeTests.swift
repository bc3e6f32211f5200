import Foundation
import Testing

@Suite("cnictl shape keeps what it does not change", .enabled(if: isRoot))
struct CnictlShapeTests {
    /// A network with keys for the bridge, and of shaping.
    private func list(
        _ world: World, name: String = "net", subnet: Int = 95, bridge: String = "",
        _ shaping: String
    ) -> JSON {
        JSON(
            text: """
                {"cniVersion": "1.1.0", "name": "\(name)", "plugins": [
                  {"type": "bridge", "bridge": "cni-\(name)", "isDefaultGateway": true, \(bridge)
                   "ipam": {"type": "host-local", "subnet": "10.\(subnet).0.0/24",
                            "dataDir": "\(world.directory)/networks"}},
                  {"type": "bandwidth", "shaping": \(shaping)}]}
                """)
    }

    /// What tc says of the classes and the leaves of a link.
    private func tree(_ link: String, _ world: World) throws -> String {
        try world.onHost("tc class show dev \(link)") + world.onHost("tc qdisc show dev \(link)")
    }

    @Test("large packets pass a class that has been changed, and the queue is as long as before")
    func leaf() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let shaping = #"{"egress": {"ceil": 900000000, "rate": 200000000, "queueMs": 50}}"#
        try cnictl.configure(
            list(world, bridge: #""mtu": 9000,"#, shaping), as: "net.conflist")
        let container = try world.container("db")
        try cnictl.output(of: "add net \(container.path) --container-id db")
        let before = try tree("shp-e", world)
        for (rate, limit) in [("100M", 625_000), ("50M", 312_500), ("200M", 1_250_000)] {
            try cnictl.output(of: "shape db --egress-ceil \(rate)")
            let ping = try container.run("ping -q -c 2 -i 0.2 -M do -s 8900 10.95.0.1")
            #expect(ping.output.contains(" 0% packet loss"), "\(rate): \(ping.output)")
            // The room as a time at 100 Gbit/s, in µs, without the burst.
            let leaf = try world.onHost("tc -j qdisc show dev shp-e")
            let times = JSON(text: leaf).array.compactMap { $0["options"]["lat"].number }
            #expect(times == [limit / 12_500 - 1], "\(rate): \(leaf)")
        }
        try cnictl.output(of: "shape db --egress-rate 200M --egress-ceil 900M")
        #expect(try tree("shp-e", world) == before)
        #expect(try cnictl.run("check net \(container.path) --container-id db").status == 0)
        // A queue too small to tell how long it is.
        try cnictl.output(of: "shape db --egress-ceil 1M")
        try cnictl.output(of: "shape db --egress-rate 200M --egress-ceil 900M")
        #expect(try tree("shp-e", world) == before)
    }

    @Test("a guarantee that what it is part of cannot keep is refused, and nothing is changed")
    func room() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let shaping = #"""
            {"linkRate": 100000000, "egress": {"rate": 20000000, "ceil": 50000000},
             "ingress": {"rate": 20000000, "ceil": 50000000},
             "tenant": {"name": "t", "egress": {"rate": 60000000, "ceil": 90000000}},
             "classes": [{"name": "a", "protocol": "tcp", "egress": {"rate": 8000000}}]}
            """#
        try cnictl.configure(list(world, shaping), as: "net.conflist")
        for id in ["one", "two"] {
            let path = try world.container(id).path
            try cnictl.output(of: "add net \(path) --container-id \(id)")
        }
        let trees = { try tree("shp-e", world) + tree("shp-i", world) }
        let before = try trees()
        for (words, reason) in [
            ("one --egress-rate 41M", "the guarantee of tenant t, 60 Mbit/s"),
            ("one --egress-rate 5M", "less than the 8 Mbit/s that classes in it are guaranteed"),
            ("one --class a --egress-rate 21M", "the container's guarantee, 20 Mbit/s"),
            ("one --egress-ceil 30M --ingress-rate 90M", "linkRate, 100 Mbit/s"),
            ("--tenant t --egress-rate 101M", "linkRate, 100 Mbit/s"),
            ("--tenant t --egress-rate 39M", "less than the 40 Mbit/s that classes in it"),
            ("--tenant t --egress-ceil 80M --ingress-ceil 90M", "has no ingress class"),
        ] {
            let ended = try cnictl.run("shape \(words)")
            #expect(ended.status != 0 && ended.errors.contains(reason), "\(words): \(ended.errors)")
            #expect(try trees() == before, "\(words)")
        }
        try cnictl.output(of: "shape one --egress-rate 40M")
        try cnictl.output(of: "shape one --class a --egress-rate 10M")
        let rates = try cnictl.json("ls one")[0]["classes"].array
            .filter { $0["direction"].string == "egress" }.map { $0["rate"].number }
        #expect(rates == [40_000_000, 10_000_000, 30_000_000])
    }

    @Test("when the kernel refuses a part of a change, all is as it was")
    func refused() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let shaping = #"""
            {"linkRate": 900000000,
             "egress": {"rate": 20000000, "ceil": 50000000},
             "ingress": {"rate": 20000000, "ceil": 50000000},
             "classes": [{"name": "a", "protocol": "tcp", "egress": {"rate": 8000000}}]}
            """#
        try cnictl.configure(list(world, shaping), as: "net.conflist")
        try cnictl.output(of: "add net \(world.container("one").path) --container-id one")
        let trees = { try tree("shp-e", world) + tree("shp-i", world) }
        let before = try trees()
        // The leaf for what is received becomes another kind.
        let words = "shape one --egress-rate 9M --egress-ceil 600M --ingress-rate 700M"
        let interfere = "\(World.build)/interfere"
        // The places, among all calls, at which something is sent to the kernel.
        let sendings = { (words: String) in
            let log = "\(world.directory)/calls"
            let ended = try cnictl.run(words, through: [interfere, "-l", log])
            #expect(ended.succeeded, "\(ended.errors)")
            let calls = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
            return calls.indices.filter { calls[$0] == "sendto" }
        }
        let sent = try sendings(words)
        let after = try trees()
        let back =
            "shape one --egress-rate 20M --egress-ceil 50M --ingress-rate 20M --ingress-ceil 50M"
        try cnictl.output(of: back)
        #expect(try trees() == before && after != before)
        // It looks at everything before the change, and again to show it, each time with some more messages where
        // the kernel says that a list was not of one piece.
        let looking = try sendings("shape one").count * 19 / 20
        let changing = sent.dropFirst(looking).dropLast(looking)
        var refused = 0
        for index in changing {
            let fault = ["-c", "sendto", "-e", "\(index + 1)", "\(EPERM)"]
            let ended = try cnictl.run(words, through: [interfere] + fault)
            guard ended.succeeded else {
                refused += 1
                let isMade = ended.errors.contains("the change is made, but cannot be shown")
                #expect(
                    try trees() == (isMade ? after : before), "call \(index): \(ended.errors)")
                if isMade { try cnictl.output(of: back) }
                continue
            }
            // Not all that is looked at has to be found.
            #expect(try trees() == after, "call \(index)")
            try cnictl.output(of: back)
        }
        #expect(refused > 10, "\(refused) of \(changing.count) messages")
    }

    @Test("a queue that an operator has put in the place of a class's stays, whatever changes")
    func foreignLeaf() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let shaping = #"""
            {"linkRate": 900000000, "egress": {"rate": 20000000, "ceil": 50000000},
             "ingress": {"rate": 20000000, "ceil": 50000000}}
            """#
        try cnictl.configure(list(world, shaping), as: "net.conflist")
        try cnictl.output(of: "add net \(world.container("one").path) --container-id one")
        let id = try cnictl.json("ls one")[0]["classes"][0]["id"].string ?? ""
        try world.onHost("tc qdisc replace dev shp-e parent \(id) handle 7: pfifo limit 9")
        try cnictl.output(of: "shape one --egress-ceil 60M")
        #expect(try world.onHost("tc qdisc show dev shp-e").contains("pfifo 7:"))
        #expect(try world.onHost("tc class show dev shp-e").contains("ceil 60Mbit"))
    }

    @Test("of tenants of one name in two groups --group says which")
    func twoGroups() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        for (number, group) in ["red", "blue"].enumerated() {
            let shaping =
                "{\"group\": \"\(group)\", \"tenant\": {\"name\": \"t\", \"egress\": {\"rate\": 60000000}}}"
            try cnictl.configure(
                list(world, name: group, subnet: 95 + number, shaping), as: "\(group).conflist")
            let path = try world.container(group).path
            try cnictl.output(of: "add \(group) \(path) --container-id \(group)")
        }
        let before = try tree("shp-e-blue", world)
        let ended = try cnictl.run("shape --tenant t --egress-ceil 80M")
        #expect(ended.status == 1 && ended.errors.contains("several groups: blue, red"))
        #expect(try tree("shp-e-blue", world) == before)
        try cnictl.output(of: "shape --tenant t --group red --egress-ceil 80M")
        #expect(try tree("shp-e-blue", world) == before)
        #expect(try tree("shp-e-red", world).contains("ceil 80Mbit"))
        #expect(try cnictl.json("shape --group blue").array.map { $0["group"].string } == ["blue"])
    }

    @Test(
        "a rate is a decimal number of bit/s with its unit",
        arguments: ["60", "0x10M", "1e3M", "infM"])
    func rate(text: String) throws {
        let cnictl = try Cnictl(try World())
        #expect(try cnictl.run("shape none --egress-ceil \(text)").status == 64)
        #expect(try cnictl.run("shape none --egress-ceil 1T").status == 3)
    }
}
