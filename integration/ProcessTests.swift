import Foundation
import Testing

@Suite("bandwidth: processes of the host", .serialized, .enabled(if: isRoot))
struct ProcessTests {
    let world: World
    let uplink: Uplink

    init() throws {
        world = try World()
        uplink = try Uplink(world)
        try world.onHost("ip addr add 10.71.255.1/16 dev up0")
    }

    private func network(_ classes: String) -> Network {
        let keys: JSON = """
            {"shaping": {"linkRate": 100000000, "egress": {"rate": 1000000, "ceil": 50000000},
                "processes": {"uplink": "up0", "classes": [\(classes)]}}}
            """
        let bridge = Network(
            bridge: #"{"bridge": "cni1"}"#, ipam: #"{"subnet": "10.72.0.0/16"}"#,
            version: "1.1.0", in: world)
        let plugin = (#"{"type": "bandwidth"}"# as JSON).merging(keys)
        var list: JSON = #"{"name": "web", "cniVersion": "1.1.0"}"#
        list["plugins"] = JSON([bridge.plugins[0].value, plugin.value])
        return Network(list, in: world)
    }

    /// Runs `body` with a cgroup's directory, below a hierarchy that is mounted for it if need be.
    private func withCgroup(
        _ root: String, named name: String, _ body: (String) throws -> Void
    ) throws {
        let directory = "\(root)/\(name)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        defer {
            var path = directory
            while path != root {
                rmdir(path)
                path = URL(fileURLWithPath: path).deletingLastPathComponent().path
            }
        }
        try body(directory)
    }

    /// What a flow of the host's gets whose sender is in a cgroup, in Mbit/s.
    private func rate(in cgroup: String?, port: Int) throws -> Double {
        let move = cgroup.map { "echo $$ > \($0)/cgroup.procs; " } ?? ""
        return try Flow(
            from: world.host, to: uplink.neighbour.path, address: "10.71.0.1", port: port,
            seconds: 1.5, through: ["sh", "-c", move + "exec \"$@\"", "sh"]
        ).rate()
    }

    private func check(_ keys: String, _ cgroup: String) throws {
        let network = network("{\"name\": \"backup\", \(keys), \"egress\": {\"ceil\": 20000000}}")
        let container = try world.container()
        try network.add(container)
        #expect(try network.check(container) == nil)
        let inside = try rate(in: cgroup, port: 5001)
        #expect(carried(12...21).contains(inside), "\(inside) Mbit/s of 20")
        let outside = try rate(in: nil, port: 5002)
        #expect(outside > 50, "\(outside) Mbit/s, not limited")
        let names = try world.onHost("nft list set netdev shaper classes")
        #expect(names.contains("comment \"web backup\""), "\(names)")
        // A second container changes nothing, and with no container left GC takes it away.
        let second = try world.container()
        try network.add(second)
        #expect(try network.check(container) == nil)
        try network.gc(keeping: [(container, "eth0")])
        #expect(try network.check(container) == nil)
        try network.gc(keeping: [])
        #expect(try !world.onHost("nft list ruleset").contains("backup"))
        #expect(try !world.onHost("nft list ruleset").contains("up0"))
        let free = try rate(in: cgroup, port: 5003)
        #expect(free > 50, "\(free) Mbit/s, not limited any more")
    }

    @Test("those of a cgroup of version 2 are in a class of the group")
    func version2() throws {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        let root = roots.first {
            FileManager.default.fileExists(atPath: $0 + "/cgroup.subtree_control")
        }
        guard let root else { try Test.cancel("no cgroups of version 2 are mounted") }
        let name = "swift-cni-test-\(UInt32.random(in: 0 ... .max))/inner"
        try withCgroup(root, named: name) { try check("\"cgroup\": \"\(name)\"", $0) }
    }

    @Test("those with a net_cls.classid, of version 1, are in a class of the group")
    func version1() throws {
        let root = "\(world.directory)/net_cls"
        try output(of: "mkdir \(root)")
        guard try run("mount -t cgroup -o net_cls none \(root)").succeeded else {
            try Test.cancel("this kernel has no net_cls")
        }
        defer { _ = try? run("umount \(root)") }
        try withCgroup(root, named: "swift-cni-test") { directory in
            try "65552".write(
                toFile: directory + "/net_cls.classid", atomically: false, encoding: .utf8)
            try check("\"netClass\": 65552", directory)
        }
    }

    @Test("a cgroup that is not there is named")
    func missing() throws {
        let network = network(
            #"{"name": "backup", "cgroup": "not/there", "egress": {"ceil": 20000000}}"#)
        #expect(
            try network.tryAdd(try world.container()).json["msg"].string
                == "shaping.processes.classes[0].cgroup: there is no cgroup of version 2 \"not/there\""
        )
    }

    /// Keys of bandwidth for processes with a net_cls.classid.
    private static func keys(
        _ classes: String = #"{"name": "backup", "netClass": 65552, "egress": {"ceil": 20000000}}"#,
        uplink: String = "up0", group: String = "default"
    ) -> JSON {
        JSON(
            text: """
                {"shaping": {"group": "\(group)", "egress": {"rate": 1000000, "ceil": 50000000},
                    "processes": {"uplink": "\(uplink)", "classes": [\(classes)]}}}
                """)
    }

    /// A container whose bandwidth is called alone.
    private struct Attached {
        let world: World
        let container: World.Container
        let result: JSON

        init(_ world: World) throws {
            self.world = world
            container = try world.container()
            result = try Network(
                bridge: #"{"bridge": "cni1"}"#, ipam: #"{"subnet": "10.72.0.0/16"}"#,
                version: "1.1.0", in: world
            ).add(container)
        }

        func call(_ verb: String, _ keys: JSON) throws -> Command.Ended {
            var given: JSON = #"{"cniVersion": "1.1.0", "name": "web", "type": "bandwidth"}"#
            given["prevResult"] = result
            return try world.call("bandwidth", verb, given.merging(keys), container)
        }

        /// ADD, which must succeed, and CHECK, which must find nothing.
        func add(_ keys: JSON) throws {
            for verb in ["ADD", "CHECK"] {
                let ended = try call(verb, keys)
                guard ended.succeeded else { throw Failure("\(verb): \(ended.output)") }
            }
        }
    }

    private func requireNetClass() throws {
        let can =
            try run("nft add table inet probe", in: world.host).succeeded
            && run("nft add chain inet probe out", in: world.host).succeeded
            && run("nft add rule inet probe out meta cgroup 1 accept", in: world.host).succeeded
        try world.onHost("nft delete table inet probe")
        if !can { try Test.cancel("this kernel has no net_cls") }
    }

    private func collect(_ keys: JSON, keeping valid: [World.Container]) throws {
        var list: JSON = #"{"name": "web", "cniVersion": "1.1.0"}"#
        list["plugins"] = JSON([(#"{"type": "bandwidth"}"# as JSON).merging(keys).value])
        try Network(list, in: world).gc(keeping: valid.map { ($0, "eth0") })
    }

    @Test("GC takes their classes away whatever the configuration says of them by now")
    func collected() throws {
        try requireNetClass()
        let attached = try Attached(world)
        for keys in [JSON("{}"), Self.keys(group: "g2"), Self.keys("", uplink: "lo")] {
            try world.unchanged {
                try attached.add(Self.keys())
                #expect(try attached.call("DEL", keys).succeeded)
                try collect(keys, keeping: [])
            }
        }
    }

    @Test("another link, another number or no classes at all leave nothing of those before")
    func changed() throws {
        try requireNetClass()
        let attached = try Attached(world)
        let (first, second) = (Self.keys(), Self.keys(uplink: "lo"))
        let moved = Self.keys(
            #"{"name": "backup", "netClass": 65553, "egress": {"ceil": 20000000}}"#, uplink: "lo")
        let rules = { try self.world.onHost("nft list ruleset") }
        try world.unchanged {
            try attached.add(first)
            #expect(try rules().contains("u-up0"))
            let other = try attached.call("CHECK", second)
            #expect(!other.succeeded, "\(other.output)")
            try attached.add(second)
            #expect(try !rules().contains("u-up0") && rules().contains("u-lo"))
            let stale = try attached.call("CHECK", moved)
            #expect(!stale.succeeded, "\(stale.output)")
            try attached.add(moved)
            let elements = try world.onHost("nft list map inet shaper net_cls_class")
            #expect(elements.components(separatedBy: "comment").count == 2, "\(elements)")
            try attached.add(Self.keys("", uplink: "lo"))
            #expect(try attached.call("DEL", Self.keys("", uplink: "lo")).succeeded)
            try collect(Self.keys("", uplink: "lo"), keeping: [])
        }
    }

    @Test("an element that stands beside the right one is found by CHECK")
    func beside() throws {
        try requireNetClass()
        let attached = try Attached(world)
        try attached.add(Self.keys())
        let id =
            try world.onHost("nft list map inet shaper net_cls_class")
            .firstMatch(of: /: (1:[0-9a-f]+)/)?.1 ?? ""
        try world.nft(
            "add element inet shaper net_cls_class { 7 comment \"web backup\" : \(id) }")
        let checked = try attached.call("CHECK", Self.keys())
        #expect(checked.output.contains("class of web backup"), "\(checked.output)")
        try attached.add(Self.keys())
    }

    @Test("where they cannot be held back that is said")
    func refused() throws {
        let attached = try Attached(world)
        let unknown = try attached.call("ADD", Self.keys(uplink: "nowhere0"))
        #expect(
            unknown.json["msg"].string
                == #"shaping.processes.uplink: there is no link "nowhere0""#)
        let processes = Self.keys()["shaping"]["processes"].description
        let received = JSON(
            text: "{\"shaping\": {\"ingress\": {\"rate\": 1000000}, \"processes\": \(processes)}}")
        let ended = try attached.call("ADD", received)
        #expect(
            ended.json["msg"].string
                == "shaping.processes: cannot be kept, because what the container sends has no limit",
            "\(ended.output)")
        #expect(ended.json["code"].number == 7)
        // Nor behind an interface without an end on the host.
        let (inner, path) = (try world.container(), world.directory)
        let macvlan = Network(
            JSON(
                text: """
                    {"cniVersion": "1.1.0", "name": "mac", "plugins": [
                      {"type": "macvlan", "master": "up0", "ipam": {"type": "host-local",
                       "subnet": "10.73.0.0/16", "dataDir": "\(path)"}},
                      \((#"{"type": "bandwidth"}"# as JSON).merging(Self.keys()))]}
                    """), in: world)
        let other = try macvlan.tryAdd(inner)
        #expect(
            other.json["msg"].string?.contains(
                "shaping.processes: cannot be kept, because the interface has no end on the host")
                == true, "\(other.output)")
    }
}
