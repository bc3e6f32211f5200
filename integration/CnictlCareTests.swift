import Foundation
import Testing

@Suite("cnictl looks after what is on the host", .enabled(if: isRoot))
struct CnictlCareTests {
    @Test(
        "repair puts back a flushed ruleset, a route, an address and a class, and only tells before"
    )
    func repair() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        let rules = { try world.onHost("nft -s list ruleset") }
        let before = try rules()
        #expect(try cnictl.run("repair --dry-run").status == 0)
        let id = try cnictl.json("ls web")[0]["classes"][0]["id"].string ?? ""
        try world.onHost("nft flush ruleset")
        try containers[0].output(of: "ip route del default")
        try world.onHost("tc class change dev shp-e parent 1:1 classid \(id) htb rate 5mbit")
        let told = try cnictl.run("repair --dry-run -o json")
        #expect(told.status == 2)
        #expect(told.json.array.contains { $0["object"].string == "class \(id) on shp-e" })
        #expect(try rules() == "")
        try cnictl.output(of: "repair")
        let sorted = { (text: String) in text.split(separator: "\n").sorted() }
        #expect(try sorted(rules()).count == sorted(before).count)
        #expect(try containers[0].output(of: "ip route").contains("default via 10.99.0.1"))
        for id in ["web", "db"] { #expect(try cnictl.run("explain \(id)").status == 0) }
        #expect(try cnictl.run("repair --dry-run").status == 0)
    }

    @Test(
        "what cannot be repaired of one container keeps nothing from the next, and puts nothing in the first"
    )
    func brokenNeighbour() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["db", "web"])
        let end = try cnictl.json("ls db")[0]["hostInterface"].string ?? ""
        try world.onHost("ip link set \(end) down")
        try world.onHost("ip link set \(end) name elsewhere")
        try world.onHost("ip link set elsewhere up")
        try world.onHost("nft flush ruleset")
        let ended = try cnictl.run("repair")
        #expect(ended.status == 1)
        #expect(ended.output.contains("no host interface found"), "\(ended.output)")
        #expect(try world.onHost("nft list ruleset").contains("shaped web eth0"))
        for container in containers {
            #expect(try container.output(of: "nft list ruleset") == "")
        }
        #expect(try cnictl.run("explain web").status == 0)
    }

    @Test("what repair puts back for a container that goes meanwhile does not outlast it")
    func goneMeanwhile() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["db"])
        let container = try world.container("web")
        for round in 0..<20 {
            try cnictl.output(
                of: "add shaped \(container.path) --container-id web "
                    + "--cap portMappings=[{\"hostPort\":8081,\"containerPort\":80}]")
            let repair = try cnictl.start(["repair", "web"])
            // From before it looks until after.
            usleep(UInt32(round % 10) * 4_000)
            try cnictl.output(of: "del shaped \(container.path) --container-id web")
            let ended = repair.wait()
            let rules = try world.onHost("nft list ruleset")
            #expect(!rules.contains("shaped web eth0"), "\(ended.output)\(ended.errors)")
            #expect(try cnictl.json("ls").array.map { $0["container"].string } == ["db"])
        }
    }

    /// A list whose rules are those of iptables, with isolation and conditions.
    private func filteredList(_ world: World, backend: String, subnet: Int) -> JSON {
        JSON(
            text: """
                {"cniVersion": "1.1.0", "name": "shaped", "plugins": [
                  {"type": "bridge", "bridge": "cni-shaped", "isDefaultGateway": true,
                   "ipMasq": true, "ipMasqBackend": "\(backend)",
                   "ipam": {"type": "host-local", "subnet": "10.\(subnet).0.0/24",
                            "dataDir": "\(world.directory)/networks"}},
                  {"type": "portmap", "capabilities": {"portMappings": true},
                   "backend": "\(backend)",
                   "conditionsV4": \(backend == "iptables"
                       ? #"["!", "-s", "192.0.2.0/24"]"# : #"["ip saddr != 192.0.2.0/24"]"#)},
                  {"type": "firewall", "ingressPolicy": "isolated"}]}
                """)
    }

    /// The rule set without the numbers that the kernel gave to rules, which are others for what was made anew.
    private func linesOfRules(_ world: World) throws -> [Substring] {
        try world.onHost("nft -s list ruleset")
            .replacing(/\tmap rules[46] \{[\s\S]*?\n\t\}/, with: "")
            .split(separator: "\n").sorted()
    }

    @Test(
        "repair puts back rules of iptables, conditions and the firewall's; gc removes them",
        arguments: ["iptables", "nftables"], [true, false])
    func filtered(backend: String, isWhole: Bool) throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let subnet = (backend == "iptables" ? 111 : 113) + (isWhole ? 0 : 1)
        try cnictl.configure(
            filteredList(world, backend: backend, subnet: subnet), as: "shaped.conflist")
        var containers: [World.Container] = []
        for (number, id) in ["web", "db"].enumerated() {
            let container = try world.container(id)
            try cnictl.output(
                of: "add shaped \(container.path) --container-id \(id) "
                    + "--cap portMappings=[{\"hostPort\":\(8080 + number),\"containerPort\":80}]")
            containers.append(container)
        }
        let rules = { try linesOfRules(world) }
        let before = try rules()
        #expect(try cnictl.run("repair --dry-run").status == 0)
        if isWhole {
            try world.onHost("nft flush ruleset")
        } else {
            try world.onHost("iptables -F CNI-FORWARD")
            try world.onHost(
                backend == "iptables"
                    ? "nft delete table inet cni_firewall"
                    : "nft flush map bridge cni_firewall isolated")
            if backend == "iptables" {
                try world.onHost("iptables -t nat -F CNI-HOSTPORT-DNAT")
                try world.onHost("iptables -t nat -F POSTROUTING")
            } else {
                try world.onHost("nft flush map inet cni_portmap any4_condition")
                try world.onHost("nft flush map inet cni_masquerade sources4")
                for table in ["inet cni_portmap", "inet cni_masquerade", "bridge cni_firewall"] {
                    try world.onHost("nft flush table \(table)")
                }
            }
        }
        #expect(try cnictl.run("repair --dry-run").status == 2)
        let ended = try cnictl.run("repair")
        #expect(ended.status == 0, "\(ended.output)\(ended.errors)")
        let after = try rules()
        #expect(after == before, "\(after.filter { !before.contains($0) })")
        #expect(try cnictl.run("repair --dry-run").status == 0)
        if backend == "iptables" {
            #expect(try cnictl.json("ls web")[0]["ports"].array.count == 1)
        }
        for container in containers { try world.end(container) }
        try cnictl.output(of: "gc --interval 0.05")
        let left = try world.onHost("nft list ruleset")
        #expect(!left.contains("10.\(subnet).0") && !left.contains("shaped"), "\(left)")
    }

    @Test("repair makes an owner's elements anew where only some are left")
    func partly() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        let maps = ["cni_masquerade sources4", "cni_portmap any4_source"]
        let elements = {
            try maps.map { map in
                JSON(text: try world.onHost("nft -j list map inet \(map)"))["nftables"].array
                    .map { "\($0["map"]["elem"])" }.joined()
            }
        }
        let before = try elements()
        for map in maps { try world.onHost("nft flush map inet \(map)") }
        #expect(zip(try elements(), before).allSatisfy { $0 != $1 })
        #expect(try cnictl.run("explain web").status == 2)
        try cnictl.output(of: "repair")
        #expect(try cnictl.run("explain web").status == 0)
        #expect(try elements() == before)
    }

    @Test("what repair puts in the place of a half-lost admission is one transaction")
    func admission() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(
            filteredList(world, backend: "nftables", subnet: 117), as: "shaped.conflist")
        let container = try world.container("web")
        try cnictl.output(of: "add shaped \(container.path) --container-id web")
        let rules = { try linesOfRules(world) }
        let before = try rules()
        try world.onHost("iptables -D CNI-FORWARD -s 10.117.0.2 -j ACCEPT")
        let monitor = try Command(["nft", "monitor"], in: world.host)
        var told = ""
        do {
            defer {
                kill(monitor.process, SIGKILL)
                told = monitor.wait().output
            }
            // It hears from some moment on, and has told all when it has told of what came last.
            let hear = { (table: String) in
                for _ in 0..<1_000 where !monitor.outputSoFar.contains("table inet \(table)") {
                    try world.onHost("nft add table inet \(table)")
                    try world.onHost("nft delete table inet \(table)")
                    usleep(20_000)
                }
                try #require(monitor.outputSoFar.contains("table inet \(table)"))
            }
            try hear("first")
            try cnictl.output(of: "repair")
            #expect(try rules() == before)
            try hear("last")
        }
        // The kernel's numbers of the rules are noted when it has told them.
        let transactions = told.split(separator: /# new generation .*/).filter { transaction in
            transaction.split(separator: "\n").contains { line in
                !line.contains("inet cni_firewall rules")
                    && !line.contains(/table inet (first|last)/)
            }
        }
        #expect(transactions.count == 1, "\(told)")
        try world.end(container)
    }

    @Test("repair puts back what firewall, sbr and tuning have made")
    func chained() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let list = JSON(
            text: """
                {"cniVersion": "1.1.0", "name": "kept", "plugins": [
                  {"type": "bridge", "bridge": "cni-kept", "isGateway": true, "mtu": 1500,
                   "ipam": {"type": "host-local", "dataDir": "\(world.directory)/networks",
                            "ranges": [[{"subnet": "10.96.0.0/24"}], [{"subnet": "fd00:96::/64"}]]}},
                  {"type": "firewall", "ingressPolicy": "same-bridge"}, {"type": "sbr"},
                  {"type": "tuning", "mtu": 1400, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1",
                   "net.ipv6.conf.IFNAME.accept_dad": "1"}, "txQLen": 2000, "dataDir": "\(world.directory)/tuning"}]}
                """)
        try cnictl.configure(list, as: "kept.conflist")
        let container = try world.container("web")
        try cnictl.output(of: "add kept \(container.path) --container-id web")
        #expect(try cnictl.run("repair --dry-run").errors == "")
        #expect(try cnictl.output(of: "repair --dry-run").contains("as it should be"))
        let before = try Snapshot(of: container)
        let filter = try world.onHost("iptables -S")
        try container.output(of: "ip rule del from 10.96.0.2")
        try container.output(of: "ip -6 route flush table 101")
        try container.output(of: "ip link set eth0 txqueuelen 500")
        try container.output(of: "sysctl -qw net.ipv4.conf.eth0.arp_filter=0")
        try world.onHost("iptables -F CNI-FORWARD")
        try world.onHost("nft delete table inet cni_firewall")
        let hostEnd = try cnictl.json("ls web")[0]["hostInterface"].string ?? ""
        try world.onHost("ip link set \(hostEnd) mtu 1300")
        let told = try cnictl.json("repair --dry-run").array
        #expect(
            Set(told.compactMap { $0["plugin"].string }) == ["bridge", "firewall", "sbr", "tuning"])
        try cnictl.output(of: "repair")
        // The kernel writes its own name on a route that it made, and `repair` does not.
        let difference = try Snapshot(of: container).difference(from: before).split(separator: "\n")
            .filter { !$0.contains("table 101") && !$0.contains("table 100") }
        #expect(difference == [])
        let routes = try container.output(of: "ip -6 route show table 101")
        #expect(routes.contains("fd00:96::/64 dev eth0") && routes.contains("default via"))
        #expect(try container.output(of: "ip rule").contains("from 10.96.0.2 lookup 100"))
        #expect(try world.onHost("iptables -S") == filter)
        #expect(try world.ip("link show \(hostEnd)")[0]["mtu"].number == 1500)
        #expect(try cnictl.run("explain web").status == 0)
        try cnictl.output(of: "del kept \(container.path) --container-id web")
    }

    @Test("a container of another host with the same address keeps no orphan alive")
    func sameAddress() throws {
        let (world, other) = (try World(), try World())
        let (cnictl, containers) = try world.attached(["web"])
        try world.end(containers[0])
        // There its link has the number that a link has here.
        let index = try world.ip("link show shp-e")[0]["ifindex"].number ?? 0
        let stranger = try other.container()
        let netns = (stranger.path as NSString).lastPathComponent
        try other.onHost(
            "ip link add end index \(index) type veth peer name eth0 netns \(netns)")
        try stranger.output(of: "ip addr add 10.99.0.2/24 dev eth0")
        #expect(try cnictl.json("ls --orphans").array.map { $0["container"].string } == ["web"])
    }

    @Test("gc removes what is left of containers that have gone, and nothing of the others")
    func collect() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        try world.end(containers[1])
        let told = try cnictl.json("gc --dry-run").array
        #expect(told.map { $0["container"].string } == ["db"])
        #expect(world.files("cache/results").count == 2)
        try cnictl.output(of: "gc --interval 0.05")
        #expect(world.files("cache/results") == ["shaped-web-eth0"])
        let rules = try world.onHost("nft list ruleset")
        #expect(rules.contains("shaped web eth0") && !rules.contains("shaped db eth0"))
        #expect(world.files("networks/shaped").filter { $0.hasPrefix("10.") }.count == 1)
        #expect(try cnictl.run("explain web").status == 0)
    }

    @Test("gc takes nothing from anybody for a list that is none, or that has short IDs")
    func lists() throws {
        let world = try World()
        let id = "4f1c0a9be2d7" + String(repeating: "0", count: 52)
        let (cnictl, _) = try world.attached([id])
        for input in ["", "\n", "[\"\(id)\"]\n", "{}"] {
            let ended = try cnictl.run("gc --from - --interval 0.05", input: input)
            #expect(ended.status == 1, "\(input): \(ended.output)")
            #expect(ended.errors.contains("standard input"), "\(input): \(ended.errors)")
        }
        try cnictl.output(of: "gc --from - --interval 0.05", input: id.prefix(12) + "\n")
        #expect(try cnictl.json("ls")[0]["alive"].bool == true)
    }

    @Test("gc goes by the list of a runtime, and needs no configuration and no result")
    func list() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web", "db"])
        try run("rm -r \(world.directory)/cache \(cnictl.networks)/shaped.conflist")
        let options = "--data-dir \(world.directory)/networks"
        try cnictl.output(of: "gc --from - --interval 0.05 \(options)", input: "web\n")
        let links = try world.onHost("ip link show type veth")
        #expect(links.contains("alias shaped web eth0") && !links.contains("alias shaped db"))
        #expect(try !world.onHost("nft list ruleset").contains("shaped db eth0"))
        #expect(world.files("networks/shaped").filter { $0.hasPrefix("10.") }.count == 1)
        let failed = try cnictl.run("gc --from crictl --interval 0 \(options)")
        #expect(failed.status == 1)
        #expect(failed.errors.contains("crictl is not installed"))
        #expect(try world.onHost("ip link show type veth").contains("alias shaped web eth0"))
    }

    @Test(
        "gc frees the ports of a network that has been given another name, for the next container")
    func renamed() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["old"])
        try cnictl.configure(world.shapedList(name: "other"), as: "shaped.conflist")
        // The runtime's DEL is of the new name, and finds nothing that is called so.
        try cnictl.output(of: "del other \(containers[0].path) --container-id old")
        #expect(try world.onHost("nft list ruleset").contains("shaped old eth0"))
        try world.end(containers[0])
        // Without what the runtime has kept, too.
        try run("rm -r \(world.directory)/cache")
        try cnictl.output(of: "gc --interval 0.05 --data-dir \(world.directory)/networks")
        #expect(try !world.onHost("ip link").contains("shp-"))
        for command in ["nft list ruleset", "ip link"] {
            #expect(try !world.onHost(command).contains("shaped old eth0"))
        }
        #expect(try !world.onHost("nft list ruleset").contains("8080"))
        #expect(world.files("networks/shaped").filter { $0.hasPrefix("10.") } == [])
        let next = try world.container("next")
        try cnictl.output(
            of: "add other \(next.path) --container-id next "
                + #"--cap portMappings=[{"hostPort":8080,"containerPort":80}]"#)
        let server = try Socket.server(.tcp, port: 80, in: next.path)
        #expect(try Socket.client(.tcp, to: "10.99.0.1", port: 8080, in: world.host) != nil)
        #expect(server.peer() != nil)
    }

    @Test("repair puts back the settings of the host that sysctl(8) has loaded anew")
    func settings() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        let names = [
            "net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding",
            "net.ipv4.conf.cni-shaped.route_localnet",
        ]
        let values = { try names.map { try world.onHost("sysctl -n \($0)") } }
        let before = try values()
        #expect(before == ["1\n", "1\n", "1\n"])
        let file = "\(world.directory)/99-host.conf"
        try (names.map { "\($0) = 0" }.joined(separator: "\n") + "\n").write(
            toFile: file, atomically: true, encoding: .utf8)
        try world.onHost("sysctl -q -p \(file)")
        #expect(try values() == ["0\n", "0\n", "0\n"])
        #expect(try cnictl.run("repair --dry-run").status == 2)
        try cnictl.output(of: "repair")
        #expect(try values() == before)
        #expect(try cnictl.run("repair --dry-run").status == 0)
    }
}
