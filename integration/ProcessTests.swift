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
}
