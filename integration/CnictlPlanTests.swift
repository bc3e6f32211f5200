import Foundation
import Testing

@Suite("cnictl plan", .enabled(if: isRoot))
struct CnictlPlanTests {
    private let ports = #"--cap portMappings=[{"hostPort":8080,"containerPort":80}]"#

    /// A list of conf/ with its files in a world's directory.
    private func list(_ name: String, in world: World) throws -> JSON {
        let path = World.build + "/../conf/\(name).conflist"
        var list = JSON(text: try String(contentsOfFile: path, encoding: .utf8))
        let plugins = list["plugins"].array.map { plugin in
            var plugin = plugin
            if plugin["ipam"]["type"].string == "host-local" {
                plugin["ipam"]["dataDir"] = JSON(world.directory + "/networks")
            }
            if plugin["type"].string == "tuning" {
                // Where no snapshot looks.
                plugin["dataDir"] = JSON(world.directory + "/.tuning")
            }
            return plugin.value
        }
        list["plugins"] = JSON(plugins)
        return list
    }

    @Test(
        "the commands make what ADD makes",
        arguments: [
            "bridge", "dual-stack", "ptp", "bandwidth", "tuned", "source-routed",
            "isolated", "portmap",
        ])
    func commands(name: String) throws {
        let (added, made) = (try World(), try World())
        var containers: [World.Container] = []
        for world in [added, made] {
            let cnictl = try Cnictl(world)
            try cnictl.configure(list(name, in: world), as: "one.conflist")
            containers.append(try world.container("web"))
        }
        try Cnictl(added).output(
            of: "add \(name) \(containers[0].path) --container-id web \(ports)")
        let script = try Cnictl(made).output(
            of: "plan \(name) --commands --container-id web \(ports)")
        let netns = (containers[1].path as NSString).lastPathComponent
        let ended = try Command(
            ["bash", "-euc", script], environment: ["NETNS": netns, "PATH": "/usr/sbin:/usr/bin"],
            in: made.host
        ).wait()
        #expect(ended.succeeded, "\(ended.errors)")
        // `tc` turns bytes into time a little differently.
        func rounded(_ lines: String) -> [String] {
            lines.split(separator: "\n").map { line in
                String(line).replacing(/burst (\d+)b/) { "burst \((Int($0.1) ?? 0) / 16)" }
            }
        }
        let outside = try made.settledDifference(from: Snapshot(of: added), rounds: 10)
        let inside = try Snapshot(of: containers[1]).difference(from: Snapshot(of: containers[0]))
        let lines = (rounded(outside) + rounded(inside)).filter { line in
            // Hardware addresses are made up, addresses are not reserved.
            !line.contains(/([0-9a-f]{2}:){5}[0-9a-f]{2}/) && !line.contains("file net.d/")
                && !line.contains("- file ")
        }
        // What both have but for the rounding is gone with its sign.
        let names = Dictionary(grouping: lines) { $0.dropFirst(2) }
        let differences = names.filter { $0.value.count == 1 }.values.joined().sorted()
        #expect(differences == [])
    }

    @Test("the commands make rules of iptables for IPv6 too, and no route twice")
    func bothFamilies() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        var network = try list("iptables", in: world)
        var plugins = network["plugins"].array
        // The default route is the bridge's to make, and IPAM's to ask for.
        plugins[0]["ipam"]["routes"] = JSON(text: #"[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]"#)
        network["plugins"] = JSON(plugins.map(\.value))
        try cnictl.configure(network, as: "one.conflist")
        let container = try world.container("web")
        let script = try cnictl.output(of: "plan iptables --commands \(ports)")
        let lines = script.split(separator: "\n").filter { $0.contains(" route add ") }
        #expect(lines.count == Set(lines).count && lines.count > 1, "\(lines)")
        let netns = (container.path as NSString).lastPathComponent
        let ended = try Command(
            ["bash", "-euc", script], environment: ["NETNS": netns, "PATH": "/usr/sbin:/usr/bin"],
            in: world.host
        ).wait()
        #expect(ended.succeeded, "\(ended.errors)")
        let rules = try ["ip", "ip6"].map { try world.onHost("nft -s list table \($0) nat") }
        #expect(rules[0].contains("dnat to 10.105.0.2:80"))
        #expect(rules[1].contains("dnat to [fd00:105::2]:80"), "\(rules[1])")
        let counts = rules.map { $0.components(separatedBy: "masquerade").count }
        #expect(counts[0] > 1 && counts[0] == counts[1])
    }

    @Test("it changes nothing, not even a time of a file")
    func nothing() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        try cnictl.output(of: "add shaped \(world.container("web").path) --container-id web")
        let files = {
            try output(of: "find \(world.directory) -printf %p:%T@:%C@:%s:%i:%m\\n")
        }
        let namespaces = { try output(of: "ip netns list-id", in: world.host) }
        let (before, filesBefore) = (try Snapshot(of: world), try files())
        let ids = try namespaces()
        let plan = try cnictl.json("plan shaped \(ports)")
        #expect(plan["problems"].array.isEmpty)
        #expect(plan["objects"].array.count > 20)
        #expect(try Snapshot(of: world).difference(from: before) == "")
        #expect(try files() == filesBefore)
        #expect(try namespaces() == ids)
    }

    @Test("it tells the address that ADD will give, and what is there already")
    func next() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        for number in 0..<3 {
            let plan = try cnictl.json("plan shaped")
            let bridge = plan["objects"].array.first { $0["name"].string == "link cni-shaped" }
            #expect(bridge?["exists"].bool == (number > 0))
            #expect(bridge?["kind"].string == "bridge")
            let result = JSON(
                text: try cnictl.output(of: "add shaped \(world.container("c\(number)").path)"))
            #expect(plan["addresses"][0].string == result["ips"][0]["address"].string)
            #expect(plan["result"]["ips"] == result["ips"])
        }
        try cnictl.output(of: "del shaped --container-id cnictl-nobody")
    }

    @Test("it tells what would go wrong, and what nobody knows before")
    func problems() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        var list = world.shapedList()
        try cnictl.configure(list, as: "shaped.conflist")
        try world.onHost("ip link add cni-shaped type bridge")
        try world.onHost("ip addr add 192.0.2.1/24 dev cni-shaped")
        let taken = try cnictl.run("plan shaped")
        #expect(taken.status == 2)
        #expect(taken.errors.contains("already has an IP address different from 10.99.0.1/24"))
        let plugins = list["plugins"].array
        list["plugins"] = JSON(
            [plugins[0].value, JSON(text: #"{"type": "strange"}"#).value, plugins[2].value])
        try cnictl.configure(list, as: "shaped.conflist")
        let strange = try cnictl.json("plan shaped")
        #expect(strange["problems"].array.contains { $0["plugin"].string == "strange" })
        #expect(strange["objects"].array.contains { $0["name"].string == "link eth0 up" })
        #expect(strange["result"].isNull)
        #expect(try cnictl.run("plan nowhere").status == 3)
    }

    @Test("a master of the host has somebody to stand in for it")
    func master() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try Uplink(world, gateways: [])
        let list = JSON(
            text: """
                {"cniVersion": "1.0.0", "name": "lan", "plugins": [
                  {"type": "macvlan", "master": "up0",
                   "ipam": {"type": "static", "addresses": [{"address": "10.5.0.9/24"}]}}]}
                """)
        try cnictl.configure(list, as: "lan.conflist")
        let before = try Snapshot(of: world)
        let plan = try cnictl.json("plan lan")
        #expect(plan["problems"].array.map { "\($0)" } == [])
        #expect(plan["objects"][0]["kind"].string == "macvlan")
        #expect(plan["objects"][0]["commands"][0].string?.contains("link up0") == true)
        #expect(try Snapshot(of: world).difference(from: before) == "")
    }
}
