import Foundation
import Testing

@Suite("cnictl names tenants and the classes inside containers", .enabled(if: isRoot))
struct CnictlClassTests {
    /// A network whose containers belong to a tenant and have a class for their clients.
    private func list(_ world: World) -> JSON {
        JSON(
            text: """
                {"cniVersion": "1.1.0", "name": "data", "plugins": [
                  {"type": "bridge", "bridge": "cni-data", "isDefaultGateway": true,
                   "ipam": {"type": "host-local", "subnet": "10.97.0.0/24",
                            "dataDir": "\(world.directory)/networks"}},
                  {"type": "bandwidth", "shaping": {"linkRate": 1000000000,
                    "tenant": {"name": "acme", "egress": {"rate": 300000000, "ceil": 600000000}},
                    "egress": {"rate": 40000000, "ceil": 100000000},
                    "ingress": {"ceil": 200000000},
                    "classes": [{"name": "clients", "protocol": "icmp",
                      "egress": {"rate": 10000000, "priority": 0}}]}}]}
                """)
    }

    private func attached(_ world: World, _ ids: [String]) throws -> Cnictl {
        let cnictl = try Cnictl(world)
        try cnictl.configure(list(world), as: "data.conflist")
        for id in ids {
            try cnictl.output(of: "add data \(world.container(id).path) --container-id \(id)")
        }
        return cnictl
    }

    /// The class that a name in the set of the kernel's table belongs to, as tc prints it.
    private func id(of name: String, in set: String, _ world: World) throws -> String? {
        let text = try world.onHost("nft -j list set netdev shaper \(set)")
        return JSON(text: text)["nftables"].array.flatMap { $0["set"]["elem"].array }
            .first { $0["elem"]["comment"].string == name }.flatMap { $0["elem"]["val"].string }
    }

    /// `rate 10Mbit ceil 100Mbit` of a class.
    private func numbers(_ id: String?, on link: String, _ world: World) throws -> String {
        let text = try world.onHost("tc class show dev \(link) classid \(id ?? "none")")
        let words = text.split(separator: " ")
        guard let rate = words.firstIndex(of: "rate") else { return text }
        return words[rate...].prefix(4).joined(separator: " ")
    }

    @Test("ls and explain show a container's own numbers, its tenant and its classes by name")
    func names() throws {
        let world = try World()
        let cnictl = try attached(world, ["db", "web"])
        let entry = try cnictl.json("ls db")[0]
        let sent = entry["classes"].array.filter { $0["direction"].string == "egress" }
        #expect(sent.map { $0["name"].string } == [nil, "clients", "*"])
        #expect(sent.map { $0["tenant"].string } == ["acme", nil, nil])
        #expect(sent.map { $0["rate"].number } == [40_000_000, 10_000_000, 30_000_000])
        let own = try id(of: "data db eth0", in: "classes", world)
        #expect(sent.first?["id"].string == own)
        #expect(
            try sent[1]["id"].string == id(of: "data db eth0 clients", in: "classes", world))
        let text = try cnictl.output(of: "ls db")
        #expect(text.contains("TENANT") && text.contains("acme"))
        #expect(text.contains("\(own ?? "") (clients)") && text.contains("40M..100M"))
        #expect(try cnictl.json("ls acme").array.count == 2)
        let explained = try cnictl.output(of: "explain db")
        #expect(explained.contains("tenant:        acme"))
        #expect(explained.contains(" clients on shp-e 10M..100M"))
        let tenant = try id(of: "acme", in: "tenants", world) ?? ""
        for word in ["acme", tenant] {
            let both = try cnictl.json("explain \(word)").array
            #expect(both.map { $0["container"].string } == ["db", "web"], "\(word)")
        }
        #expect(try cnictl.output(of: "explain 1:1").contains("on shp-e: the whole link"))
        #expect(try cnictl.run("explain 1:9").status == 3)
    }

    @Test("the column of tenants is there where somebody has one")
    func column() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        try cnictl.output(of: "add shaped \(world.container("web").path) --container-id web")
        #expect(try !cnictl.output(of: "ls").contains("TENANT"))
        _ = try attached(world, ["db"])
        let lines = try cnictl.output(of: "ls").split(separator: "\n")
        #expect(lines.first?.contains("TENANT") == true)
        #expect(lines.filter { $0.contains("acme") }.count == 1)
    }

    @Test("shape and top show tenants and classes by name")
    func trees() throws {
        let world = try World()
        let cnictl = try attached(world, ["db"])
        let whole = try cnictl.json("shape")[0]["classes"][0]
        let tenant = whole["children"].array.first { $0["kind"].string == "tenant" }
        #expect(tenant?["name"].string == "acme")
        let container = tenant?["children"][0]
        #expect(container?["kind"].string == "container")
        #expect(container?["container"].string == "db")
        let inner = container?["children"].array ?? []
        #expect(Set(inner.map { $0["kind"].string }) == ["class"])
        #expect(Set(inner.compactMap { $0["name"].string }) == ["clients", "*"])
        #expect(inner.allSatisfy { $0["container"].string == "db" })
        let text = try cnictl.output(of: "shape --tenant acme")
        for words in ["tenant acme", "class clients of db", "the rest of db"] {
            #expect(text.contains(words), "\(text)")
        }
        #expect(try cnictl.output(of: "shape db").contains("class clients of db"))
        let ping = try Command(
            "ping -q -i 0.01 -w 60 10.97.0.1".split(separator: " ").map(String.init),
            in: cnictl.json("ls db")[0]["netns"].string)
        usleep(200_000)
        let rows = try cnictl.json("top --once --interval 1 --active").array
        kill(ping.process, SIGKILL)
        _ = ping.wait()
        let sent = rows.filter { $0["direction"].string == "egress" }
        // In the container's own, and in the class that the packets are of.
        #expect(Set(sent.map { $0["name"].string }) == [nil, "clients"])
        #expect(sent.contains { $0["tenant"].string == "acme" })
        let metrics = try cnictl.output(of: "metrics")
        #expect(metrics.contains("cni_part_bytes_total{") && metrics.contains(#"name="clients""#))
        #expect(metrics.contains(#"tenant="acme""#))
    }

    @Test("shape changes a container with all that had its ceiling, a class, or a tenant")
    func change() throws {
        let world = try World()
        let cnictl = try attached(world, ["db", "web"])
        let own = try id(of: "data db eth0", in: "classes", world)
        let clients = try id(of: "data db eth0 clients", in: "classes", world)
        let rest = try id(of: "data db eth0 *", in: "classes", world)
        try cnictl.output(of: "shape db --egress-rate 60M --egress-ceil 300M")
        #expect(try numbers(own, on: "shp-e", world) == "rate 60Mbit ceil 300Mbit")
        #expect(try numbers(clients, on: "shp-e", world) == "rate 10Mbit ceil 300Mbit")
        #expect(try numbers(rest, on: "shp-e", world) == "rate 50Mbit ceil 300Mbit")
        try cnictl.output(of: "shape db --class clients --egress-rate 20M --egress-ceil 30M")
        #expect(try numbers(own, on: "shp-e", world) == "rate 60Mbit ceil 300Mbit")
        #expect(try numbers(clients, on: "shp-e", world) == "rate 20Mbit ceil 30Mbit")
        let tenant = try id(of: "acme", in: "tenants", world)
        try cnictl.output(of: "shape --tenant acme --egress-ceil 900M")
        #expect(try numbers(tenant, on: "shp-e", world) == "rate 300Mbit ceil 900Mbit")
        #expect(try cnictl.run("shape db --class nothing --egress-rate 1M").status == 3)
        #expect(try cnictl.run("shape --tenant nobody --egress-rate 1M").status == 3)
        #expect(try cnictl.run("shape --tenant acme --ingress-rate 1M").status == 3)
        #expect(try cnictl.run("shape db --tenant acme").status == 64)
        try cnictl.output(of: "repair")
        #expect(try numbers(own, on: "shp-e", world) == "rate 40Mbit ceil 100Mbit")
        #expect(try numbers(tenant, on: "shp-e", world) == "rate 300Mbit ceil 600Mbit")
    }

    @Test("repair gives flushed tenants and classes their names again")
    func flushed() throws {
        let world = try World()
        let cnictl = try attached(world, ["db", "web"])
        let names = {
            try ["classes", "tenants"].map { set in
                try world.onHost("nft -s list set netdev shaper \(set)").split(separator: "\n")
                    .sorted()
            }
        }
        let before = try names()
        try world.onHost("nft flush ruleset")
        let told = try cnictl.run("shape")
        #expect(told.output.contains("without a name") && told.errors.contains("repair"))
        try cnictl.output(of: "repair")
        #expect(try names() == before)
        #expect(try cnictl.run("repair --dry-run").status == 0)
    }

    @Test("a name that a killed ADD has left is an orphan, and gc removes it")
    func nameAlone() throws {
        let world = try World()
        let cnictl = try attached(world, ["db"])
        try world.onHost(
            "nft add element netdev shaper classes { 1:77 comment \"data lost eth0\" }")
        let orphans = try cnictl.json("ls --orphans").array
        #expect(orphans.map { $0["container"].string } == ["lost"])
        try cnictl.output(of: "gc --interval 0.05")
        #expect(try cnictl.json("ls --orphans").array.isEmpty)
        #expect(try id(of: "data lost eth0", in: "classes", world) == nil)
        #expect(try cnictl.run("explain db").status == 0)
    }
}
