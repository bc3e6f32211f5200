import Foundation
import Testing

@Suite("cnictl shows limits that no group shares", .enabled(if: isRoot))
struct CnictlOwnLimitTests {
    /// Numbers of a class or a qdisc as tc prints them: `10Mbit` behind `rate`.
    private func number(_ key: String, in text: String) -> String? {
        let words = text.split(separator: " ").map(String.init)
        return words.firstIndex(of: key).map { words[$0 + 1] }
    }

    @Test("the classes of a container without an end on the host are shown and changed")
    func inside() throws {
        let world = try World()
        let uplink = try Uplink(world, gateways: ["10.71.0.1/16"])
        let cnictl = try Cnictl(world)
        try cnictl.configure(
            JSON(
                text: """
                    {"cniVersion": "1.1.0", "name": "mac", "plugins": [
                      {"type": "macvlan", "master": "up0", "ipam": {"type": "host-local",
                       "subnet": "10.71.0.0/16", "dataDir": "\(world.directory)/networks"}},
                      {"type": "bandwidth", "shaping": {
                        "egress": {"rate": 20000000}, "ingress": {"rate": 30000000},
                        "classes": [{"name": "slow", "protocol": "icmp", "egress": {"rate": 4000000},
                          "ingress": {"rate": 4000000}}]}}]}
                    """), as: "mac.conflist")
        let containers = try ["one", "two"].map { id in
            let container = try world.container(id)
            try cnictl.output(of: "add mac \(container.path) --container-id \(id)")
            return container
        }
        let entries = try cnictl.json("ls").array
        #expect(entries.map { $0["container"].string } == containers.map(\.id))
        for (entry, container) in zip(entries, containers) {
            let classes = entry["classes"].array
            #expect(
                classes.map { $0["name"].string } == [nil, "slow", "*", nil, "slow", "*"])
            #expect(
                classes.map { $0["link"].string }
                    == Array(repeating: "eth0", count: 3) + Array(repeating: "shp-i", count: 3))
            #expect(classes.allSatisfy { $0["netns"].string == container.path })
            for one in classes {
                let shown = try container.output(
                    of: "tc class show dev \(one["link"].string ?? "") "
                        + "classid \(one["id"].string ?? "")")
                let rate = number("rate", in: shown)?.replacing("Mbit", with: "000000")
                #expect(one["rate"].number.map { "\($0)" } == rate, "\(one): \(shown)")
            }
        }
        #expect(try cnictl.output(of: "ls one").contains("(slow)"))
        let explained = try cnictl.output(of: "explain one")
        #expect(explained.contains(" slow on shp-i 4M..30M"), "\(explained)")
        let id = entries[0]["classes"][1]["id"].string ?? ""
        #expect(
            try cnictl.json("explain \(id)").array.map { $0["container"].string }.contains("one"))
        let trees = try cnictl.json("shape one").array
        #expect(trees.map { $0["direction"].string } == ["egress", "ingress"])
        #expect(trees.allSatisfy { $0["netns"].string == containers[0].path })
        let text = try cnictl.output(of: "shape one")
        for words in ["one eth0 on mac", "class slow of one", "the rest of one", "in /"] {
            #expect(text.contains(words), "\(text)")
        }
        #expect(!text.contains("without a name"))

        let ping = try Command(
            "ping -q -i 0.01 -w 60 10.71.0.1".split(separator: " ").map(String.init),
            in: containers[0].path)
        usleep(200_000)
        let rows = try cnictl.json("top --once --interval 1 --active").array
        kill(ping.process, SIGKILL)
        _ = ping.wait()
        for direction in ["egress", "ingress"] {
            let names = rows.filter {
                $0["container"].string == "one" && $0["direction"].string == direction
            }.map { $0["name"].string }
            #expect(Set(names) == [nil, "slow"], "\(direction)")
        }
        let metrics = try cnictl.output(of: "metrics").split(separator: "\n")
        #expect(
            metrics.contains {
                $0.hasPrefix("cni_part_ceil_bits{network=\"mac\",container=\"two\"")
                    && $0.contains("name=\"slow\"") && $0.hasSuffix(" 30000000")
            })

        try cnictl.output(of: "shape two --egress-ceil 10M --ingress-ceil 50M")
        #expect(
            try number(
                "ceil",
                in: containers[1].output(
                    of: "tc class show dev eth0 classid "
                        + (entries[1]["classes"][0]["id"].string ?? ""))) == "10Mbit")
        let received = try containers[1].output(
            of: "tc class show dev shp-i classid " + (entries[1]["classes"][3]["id"].string ?? ""))
        #expect(number("ceil", in: received) == "50Mbit", "\(received)")
        let others = try containers[0].output(of: "tc class show dev shp-i")
        #expect(!others.contains("50Mbit"))
        #expect(try cnictl.run("explain two").status == 2)
        try cnictl.output(of: "repair")
        #expect(try cnictl.run("explain two").status == 0)
        _ = uplink
    }

    @Test("what no class limits is counted at the interface where there is no end on the host")
    func unlimited() throws {
        let world = try World()
        let uplink = try Uplink(world, gateways: ["10.71.0.1/16"])
        let cnictl = try Cnictl(world)
        try cnictl.configure(
            JSON(
                text: """
                    {"cniVersion": "1.1.0", "name": "mac", "plugins": [
                      {"type": "macvlan", "master": "up0", "ipam": {"type": "host-local",
                       "subnet": "10.71.0.0/16", "dataDir": "\(world.directory)/networks"}}]}
                    """), as: "mac.conflist")
        let container = try world.container("one")
        try cnictl.output(of: "add mac \(container.path) --container-id one")
        let ping = try Command(
            "ping -q -i 0.01 -s 1000 -w 60 10.71.0.1".split(separator: " ").map(String.init),
            in: container.path)
        usleep(200_000)
        let rows = try cnictl.json("top --once --interval 1").array
        kill(ping.process, SIGKILL)
        _ = ping.wait()
        #expect(Set(rows.map { $0["direction"].string }) == ["egress", "ingress"])
        #expect(rows.allSatisfy { $0["bitsPerSecond"].double > 100_000 }, "\(rows)")
        _ = uplink
    }

    @Test("the Go plugins' containers are shown with their ends and their ceilings")
    func reference() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(
            JSON(
                text: """
                    {"cniVersion": "1.0.0", "name": "go", "plugins": [
                      {"type": "bridge", "bridge": "cni-go", "isGateway": true,
                       "ipam": {"type": "host-local", "subnet": "10.98.0.0/24",
                                "dataDir": "\(world.directory)/networks"}},
                      {"type": "bandwidth", "egressRate": 40000000, "egressBurst": 400000,
                       "ingressRate": 60000000, "ingressBurst": 600000}]}
                    """), as: "go.conflist")
        let container = try world.container("web")
        let peer = try Peer.directory()
        try cnictl.output(
            of: "add go \(container.path) --container-id web --bin-dir \(peer)")
        let entry = try cnictl.json("ls web")[0]
        let end = try world.ip("link show master cni-go")[0]["ifname"].string
        #expect(entry["hostInterface"].string == end)
        #expect(entry["bridge"].string == "cni-go")
        let classes = entry["classes"].array
        try #require(classes.map { $0["direction"].string } == ["egress", "ingress"])
        #expect(classes.map { $0["ceil"].number } == [40_000_000, 60_000_000])
        #expect(classes.allSatisfy { $0["id"].isNull })
        #expect(classes[1]["link"].string == end)
        let text = try cnictl.output(of: "ls web")
        #expect(text.contains("tbf") && text.contains("40M") && text.contains("60M"))
        #expect(try cnictl.output(of: "shape web").contains("ingress, a ceiling of its own"))
        let ping = try Command(
            "ping -q -i 0.01 -s 1000 -w 60 10.98.0.1".split(separator: " ").map(String.init),
            in: container.path)
        usleep(200_000)
        let rows = try cnictl.json("top web --once --interval 1").array
        kill(ping.process, SIGKILL)
        _ = ping.wait()
        #expect(rows.count == 2 && rows.allSatisfy { $0["bitsPerSecond"].double > 100_000 })
        #expect(rows.allSatisfy { ($0["ceil"].number ?? 0) >= 40_000_000 })
        #expect(
            try cnictl.output(of: "metrics").contains(
                #"interface="eth0",direction="ingress",class="tbf"} 60000000"#))
        try cnictl.output(of: "shape web --ingress-ceil 80M")
        let qdisc = try world.onHost("tc qdisc show dev \(end ?? "") root")
        #expect(number("rate", in: qdisc) == "80Mbit", "\(qdisc)")
        try cnictl.output(of: "del go \(container.path) --container-id web --bin-dir \(peer)")
    }
}
