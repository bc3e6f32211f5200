import Foundation
import Testing

@Suite("a pool of addresses in the course of time", .enabled(if: isRoot))
struct PoolTests {
    let world: World

    init() throws { world = try World() }

    private func held(_ network: String = "web") -> [String] {
        world.files(network).filter { $0.hasPrefix("10.") }
    }

    private func end(_ container: World.Container) throws {
        try output(of: "ip netns del \((container.path as NSString).lastPathComponent)")
    }

    @Test(
        "reservations lost under containers are made anew: no address is given twice, none is lost",
        arguments: [
            ("bridge", "", 50), ("ptp", "/web", 5), ("bridge", "/web/10.71.0.[34]", 5),
            ("macvlan", "", 5), ("ipvlan", "/web", 5),
        ].filter { $0.0 != "ipvlan" || KernelFeature.ipvlan.isPresent })
    func lost(plugin: String, what: String, count: Int) throws {
        if plugin.hasSuffix("vlan") { _ = try Uplink(world) }
        let network = Network(
            JSON(
                text: """
                    {"cniVersion": "1.1.0", "name": "web", "plugins": [
                      {"type": "\(plugin)", "isGateway": true, "master": "up0",
                       "ipam": {"type": "host-local", "dataDir": "\(world.directory)/networks",
                                "ranges": [[{"subnet": "10.71.0.0/24"}], [{"subnet": "fd00:71::/64"}]]}}]}
                    """), in: world)
        let containers = try (0..<count).map { _ in try world.trustingContainer() }
        let addresses = { (result: JSON) in
            result["ips"].array.compactMap { $0["address"].string }
        }
        var given = try containers.flatMap { try addresses(network.add($0)) }
        let removal = try Command(["sh", "-c", "rm -r \(world.directory)/networks\(what)"]).wait()
        #expect(removal.succeeded)
        let others = try (0..<count).map { _ in try world.trustingContainer() }
        given += try others.flatMap { try addresses(network.add($0)) }
        #expect(Set(given).count == count * 4)
        #expect(held("networks/web").count == count * 2)
        for container in containers + others {
            #expect(try network.check(container) == nil)
            try network.del(container)
        }
        #expect(held("networks/web") == [])
    }

    @Test(
        "a reservation lost under a container is made anew, whichever verb comes first",
        arguments: ["STATUS", "DEL", "GC"])
    func lostBefore(verb: String) throws {
        let network = network(upTo: "10.71.0.4")
        let (one, two) = (try world.container("one"), try world.container("two"))
        try network.add(one)
        try network.add(two)
        try output(of: "rm \(world.directory)/web/10.71.0.2")
        if verb == "GC" {
            try network.gc(keeping: [(one, "eth0"), (two, "eth0")])
        } else {
            let container = World.Container(id: "other", path: "")
            #expect(
                try world.call("bridge", verb, network.configuration(), container).succeeded)
        }
        let three = try network.add(world.container("three"))
        #expect(three["ips"][0]["address"].string == "10.71.0.4/24")
        #expect(world.file("web/10.71.0.2") == "one\r\neth0")
        #expect(try !network.tryAdd(world.container("four")).succeeded)
    }

    @Test("what is no namespace beside the container's is passed over")
    func oddNeighbours() throws {
        _ = try Uplink(world)
        let folder = world.directory + "/namespaces"
        try output(of: "mkdir \(folder)")
        let make = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"
        #expect(try Command(["python3", "-c", make, folder + "/socket"]).wait().succeeded)
        try output(of: "ln -s loop \(folder)/loop")
        try output(of: "mkfifo \(folder)/fifo")
        let container = try world.container()
        try output(of: "ln -s \(container.path) \(folder)/one")
        let network = Network(plugin: "macvlan", #"{"master": "up0"}"#, in: world)
        try network.add(World.Container(id: container.id, path: folder + "/one"))
    }

    @Test("a container keeps its address where it is added again in vain, with another asked for")
    func addedInVain() throws {
        let network = network(upTo: "10.71.0.5")
        let container = try world.container("one")
        try network.add(container)
        let ended = try network.tryAdd(container, arguments: "IP=10.71.0.4")
        #expect(ended.json["msg"].string?.contains("File exists") == true, "\(ended.output)")
        #expect(held() == ["10.71.0.2"])
        #expect(try network.check(container) == nil)
    }

    @Test("what containers of another host have, which are in the same directory, is not reserved")
    func otherHost() throws {
        let other = try World()
        let results = try [other, world].map { world in
            _ = try Uplink(world)
            let network = Network(
                JSON(
                    text: """
                        {"cniVersion": "1.1.0", "name": "web", "plugins": [
                          {"type": "macvlan", "master": "up0",
                           "ipam": {"type": "host-local", "dataDir": "\(world.directory)",
                                    "subnet": "10.71.0.0/24"}}]}
                        """), in: world)
            return try network.add(world.trustingContainer())
        }
        for result in results { #expect(result["ips"][0]["address"].string == "10.71.0.2/24") }
    }

    /// A network with so few addresses, and keys of its IPAM.
    private func network(
        upTo last: String, _ keys: JSON = "{}", name: String = "web"
    ) -> Network {
        let range: JSON = JSON(["subnet": "10.71.0.0/24", "rangeEnd": last])
        return Network(ipam: range.merging(keys), name: name, version: "1.1.0", in: world)
    }

    @Test("in its cooldown an address that was freed is given out only to who asks for it")
    func cooldown() throws {
        var network = network(upTo: "10.71.0.3", #"{"cooldown": 600}"#)
        let (one, two) = (try world.container(), try world.container())
        let call = { (command: String, container: World.Container, keys: JSON) in
            try world.call(
                "host-local", command, network.configuration(with: keys), container)
        }
        let address = { (ended: Command.Ended) in ended.json["ips"][0]["address"].string }
        #expect(try address(call("ADD", one, "{}")) == "10.71.0.2/24")
        #expect(try call("DEL", one, "{}").succeeded)
        #expect(try address(call("ADD", two, "{}")) == "10.71.0.3/24")
        let early = try call("ADD", one, "{}")
        #expect(early.json["msg"].string?.contains("no IP addresses available") == true)
        #expect(try call("STATUS", one, "{}").json["code"].number == 50)
        let wanted: JSON = #"{"args": {"cni": {"ips": ["10.71.0.2"]}}}"#
        #expect(try address(call("ADD", one, wanted)) == "10.71.0.2/24")
        #expect(try call("GC", one, #"{"cni.dev/valid-attachments": []}"#).succeeded)
        #expect(held() == [])
        #expect(try !call("ADD", one, "{}").succeeded)

        // The end of it, where nothing is asked for in time.
        network = self.network(upTo: "10.71.0.3", #"{"cooldown": 1}"#, name: "short")
        #expect(
            try address(call("ADD", two, #"{"args": {"cni": {"ips": ["10.71.0.3"]}}}"#))
                == "10.71.0.3/24")
        #expect(try address(call("ADD", one, wanted)) == "10.71.0.2/24")
        #expect(try call("GC", one, #"{"cni.dev/valid-attachments": []}"#).succeeded)
        #expect(held("short") == [])
        sleep(2)
        #expect(try call("STATUS", one, "{}").succeeded)
        #expect(try address(call("ADD", one, "{}")) == "10.71.0.3/24")
        #expect(try address(call("ADD", two, "{}")) == "10.71.0.2/24")
    }

    @Test("a pod that fails over and over does not use up the pool, though no DEL ever comes")
    func crashLoop() throws {
        let network = network(upTo: "10.71.0.5")
        let arguments = { (pod: String) in
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=\(pod)"
        }
        let pod = arguments("6a1f0b52-9d0e-4b43-9f3a-0c7a54f1a001")
        let other = arguments("00000000-0000-0000-0000-000000000002")
        let steady = try world.container()
        try network.add(steady, arguments: other)
        for _ in 0..<40 {
            let container = try world.container()
            try network.add(container, arguments: pod)
            try end(container)
            #expect(held().count <= 3)
        }
        #expect(try network.check(steady) == nil)
        // One whose namespace is there keeps what it has, though another of its pod comes.
        let next = try world.container()
        try network.add(next, arguments: other)
        #expect(try network.check(steady) == nil)
        for container in [steady, next] {
            let ended = try world.call(
                "bridge", "DEL", network.configuration(), container, arguments: other)
            #expect(ended.succeeded)
        }
        #expect(held().count == 1)
        try network.gc(keeping: [])
        #expect(held() == [])
        let records = try FileManager.default.contentsOfDirectory(
            atPath: "\(world.directory)/.pods")
        #expect(records == [])
    }
}
