import Foundation
import Testing

@Suite("bridge", .enabled(if: isRoot))
struct BridgeTests {
    let world: World

    init() throws { world = try World() }

    /// Addresses of both families with default routes.
    static let dualStack: JSON = """
        {"ranges": [[{"subnet": "10.71.0.0/16"}], [{"subnet": "fd00:71::/64"}]],
         "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
        """

    @Test("two containers reach each other and their gateway, in both families")
    func reach() throws {
        let network = Network(ipam: Self.dualStack, in: world)
        let (first, second) = (try world.container(), try world.container())
        let result = try network.add(first)
        try network.add(second)

        #expect(result["ips"][0]["address"].string == "10.71.0.2/16")
        #expect(result["ips"][1]["address"].string == "fd00:71::2/64")
        for address in ["10.71.0.2", "10.71.0.1", "fd00:71::2", "fd00:71::1"] {
            #expect(try second.reaches(address), "\(address)")
        }
        #expect(try network.check(first) == nil)
        #expect(try network.check(second) == nil)
    }

    @Test("DEL with the host's namespace as the container's frees all there is, and says so")
    func hostNamespace() throws {
        let network = Network(in: world)
        try network.add(try world.container())
        let container = try world.container()
        try world.unchanged {
            try network.add(container)
            let ended = try world.start(
                "bridge", "DEL", network.configuration().description, container: container.id,
                namespace: world.host
            ).wait()
            #expect(ended.json["code"].number == 8)
        }
    }

    @Test("an ADD works where /proc/sys cannot be written and has what must be set")
    func readOnlySettings() throws {
        let network = Network(in: world)
        let container = try world.container()
        try world.unchanged {
            let ended = try Command(
                [
                    "unshare", "-m", "sh", "-c",
                    "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && "
                        + "exec \(world.plugins)/bridge",
                ],
                environment: [
                    "CNI_COMMAND": "ADD", "CNI_CONTAINERID": container.id,
                    "CNI_NETNS": container.path, "CNI_IFNAME": "eth0",
                    "CNI_PATH": world.plugins, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                ],
                input: Array(network.configuration().description.utf8), in: world.host
            ).wait()
            #expect(ended.succeeded, "\(ended.output)\(ended.errors)")
            #expect(try container.reaches("10.71.0.1"))
            try network.del(container)
            try world.onHost("ip link del cni0")
        }
    }

    @Test("the result lists bridge, host's end and container's end, as the kernel has them")
    func result() throws {
        let network = Network(in: world)
        let container = try world.container()
        let result = try network.add(container)
        let interfaces = result["interfaces"].array
        #expect(interfaces.count == 3)
        #expect(interfaces[0]["name"].string == "cni0")
        for interface in interfaces[0...1] {
            let link = try world.ip("link show \(interface["name"].string ?? "")")
            #expect(interface["mac"].string == link[0]["address"].string)
            #expect(interface["sandbox"].isNull)
        }
        let inside = try container.ip("link show eth0")
        #expect(interfaces[2]["mac"].string == inside[0]["address"].string)
        #expect(interfaces[2]["sandbox"].string == container.path)
        #expect(result["ips"][0]["interface"].number == 2)
        #expect(result["ips"][0]["gateway"].string == "10.71.0.1")
        #expect(result["cniVersion"].string == "1.0.0")
    }

    @Test("DEL leaves the host and the container as they were, and does so twice")
    func delete() throws {
        let network = Network(ipam: Self.dualStack, in: world)
        let (first, second) = (try world.container(), try world.container())
        try network.add(first)
        let inside = try Snapshot(of: second)
        try world.unchanged {
            try network.add(second)
            try network.del(second)
            try network.del(second)
        }
        #expect(try Snapshot(of: second).difference(from: inside) == "")
    }

    @Test(
        "DEL needs neither the namespace nor a previous result",
        arguments: ["", "/run/netns/never-was"])
    func deleteWithout(namespace: String) throws {
        let network = Network(in: world)
        try network.add(try world.container())
        let container = try world.container()
        try world.unchanged {
            try network.add(container)
            let dead = World.Container(id: container.id, path: namespace)
            try network.del(dead, withResult: false)
            try network.del(dead, withResult: false)
        }
    }

    @Test("DEL finds the interface when the namespace went first")
    func deleteAfterNamespace() throws {
        let network = Network(in: world)
        try network.add(try world.container())
        let container = try world.container()
        try world.unchanged {
            try network.add(container)
            try output(of: "ip netns del \(container.path.split(separator: "/").last ?? "")")
            try network.del(container)
        }
    }

    @Test("an ADD that fails half-way leaves host and container as they were")
    func failedAdd() throws {
        // The gateway of the route cannot be reached, which only the kernel can tell, last of all.
        let network = Network(
            ipam: """
                {"subnet": "10.71.0.0/16", "routes": [{"dst": "192.0.2.0/24", "gw": "198.51.100.1"}]}
                """, in: world)
        let container = try world.container()
        let inside = try Snapshot(of: container)
        try world.unchanged {
            let ended = try network.tryAdd(container)
            #expect(ended.status == 1)
            let message = ended.json["msg"].string ?? ""
            #expect(message.contains("192.0.2.0/24"))
            #expect(message.contains("Network is unreachable (101)"))
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test("an ADD over an interface of that name is refused and touches nothing")
    func occupied() throws {
        let network = Network(in: world)
        let container = try world.container()
        try network.add(container)
        let inside = try Snapshot(of: container)
        try world.unchanged {
            let again = try network.tryAdd(container)
            #expect(again.status == 1)
            #expect(again.json["msg"].string?.contains("duplicate allocation") == true)
            let fixed: JSON =
                #"{"ipam": {"type": "static", "addresses": [{"address": "10.71.0.9/16"}]}}"#
            let ended = try network.tryAdd(container, with: fixed)
            #expect(ended.status == 1)
            #expect(ended.json["msg"].string?.contains("File exists (17)") == true)
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test("a container can have two interfaces on one network")
    func twoInterfaces() throws {
        let network = Network(in: world)
        let container = try world.container()
        try network.add(container)
        let second = try network.add(container, interface: "net1")
        #expect(second["ips"][0]["address"].string == "10.71.0.3/16")
        try network.del(container, interface: "eth0")
        #expect(try container.run("ip link show net1").succeeded)
        #expect(world.files("web").contains("10.71.0.3"))
    }

    @Test("the bridge keeps its hardware address while containers come and go")
    func steadyMAC() throws {
        let network = Network(in: world)
        let mac = { try world.ip("link show cni0")[0]["address"].string }
        let first = try world.container()
        try network.add(first)
        let before = try mac()
        for number in 0..<4 {
            let low: JSON = "{\"runtimeConfig\": {\"mac\": \"02:00:00:00:00:0\(number)\"}}"
            let container = try world.container()
            try network.add(container, with: low)
            #expect(try mac() == before)
            try network.del(container)
            #expect(try mac() == before)
        }
    }

    @Test("no IPv6 address is tentative when ADD returns, and router advertisements are ignored")
    func addressesUsable() throws {
        let network = Network(ipam: Self.dualStack, in: world)
        let container = try world.container()
        try network.add(container)
        #expect(try container.output(of: "ip -6 addr show dev eth0 scope global tentative") == "")
        #expect(try container.output(of: "ip -6 addr show dev eth0").contains("fd00:71::2/64"))
        #expect(try world.onHost("sysctl -n net.ipv6.conf.cni0.accept_ra") == "0\n")
        #expect(try container.output(of: "sysctl -n net.ipv6.conf.eth0.accept_dad") == "0\n")
    }

    @Test("the host forwards IPv6 to the first container of a new bridge at once")
    func reachedAtOnce() throws {
        let outside = try Outside(world)
        try outside.machine.output(of: "ip -6 route add default via 2001:db8::1")
        let network = Network(
            bridge: #"{"isDefaultGateway": true}"#, ipam: Self.dualStack, in: world)
        try network.add(try world.container())
        #expect(try outside.machine.reaches("fd00:71::2"))
    }

    @Test("enabledad asks the network first, and waits for the answer")
    func duplicateDetection() throws {
        let network = Network(bridge: #"{"enabledad": true}"#, ipam: Self.dualStack, in: world)
        let container = try world.container()
        try network.add(container)
        #expect(try container.output(of: "ip -6 addr show dev eth0 scope global tentative") == "")
        #expect(try container.output(of: "sysctl -n net.ipv6.conf.eth0.accept_dad") == "1\n")
    }

    @Test("an address used again answers its neighbours at once")
    func announced() throws {
        let network = Network(ipam: Self.dualStack, in: world)
        let wanted: JSON = #"{"args": {"cni": {"ips": ["10.71.0.50", "fd00:71::50"]}}}"#
        let (watcher, old, new) = (
            try world.container(), try world.container(), try world.container()
        )
        try network.add(watcher)
        try network.add(old, with: wanted)
        #expect(try watcher.reaches("10.71.0.50"))
        #expect(try watcher.reaches("fd00:71::50"))
        try network.del(old)
        let mac = try network.add(new, with: wanted)["interfaces"][2]["mac"].string
        for address in ["10.71.0.50", "fd00:71::50"] {
            #expect(
                try watcher.ip("neigh show to \(address)")[0]["lladdr"].string == mac, "\(address)")
        }
    }

    @Test("the first and the thousandth gateway are the same one")
    func gatewayStays() throws {
        let network = Network(ipam: Self.dualStack, in: world)
        for _ in 0..<3 { try network.add(try world.container()) }
        let addresses = try world.onHost("ip -o addr show dev cni0 scope global")
        #expect(addresses.split(separator: "\n").count == 2)
    }

    @Test("without IPAM the settings of the container's interface are the kernel's")
    func layer2() throws {
        let network = Network(
            JSON(
                text: """
                    {"name": "web", "cniVersion": "1.0.0",
                     "plugins": [{"type": "bridge", "bridge": "cni0"}]}
                    """), in: world)
        let container = try world.container()
        try network.add(container)
        for (key, value) in [
            ("ipv6.conf.eth0.accept_dad", "1"), ("ipv4.conf.eth0.arp_notify", "0"),
        ] {
            #expect(try container.output(of: "sysctl -n net.\(key)") == value + "\n")
        }
        #expect(try network.check(container) == nil)
    }

    @Test("an empty list of name servers takes IPAM's away")
    func dns() throws {
        let file = world.directory + "/resolv.conf"
        try "nameserver 192.0.2.53\n".write(toFile: file, atomically: true, encoding: .utf8)
        var ipam: JSON = #"{"subnet": "10.71.0.0/16"}"#
        ipam["resolvConf"] = JSON(file)
        let plain = try Network(ipam: ipam, in: world).add(try world.container())
        #expect(plain["dns"]["nameservers"][0].string == "192.0.2.53")
        let without = try Network(bridge: #"{"dns": {"nameservers": []}}"#, ipam: ipam, in: world)
            .add(try world.container())
        #expect(without["dns"]["nameservers"].array.isEmpty)
    }

    @Test("isDefaultGateway makes the bridge the default gateway")
    func defaultGateway() throws {
        let network = Network(
            bridge: #"{"isGateway": false, "isDefaultGateway": true}"#,
            ipam: #"{"ranges": [[{"subnet": "10.71.0.0/16"}], [{"subnet": "fd00:71::/64"}]]}"#,
            in: world)
        let container = try world.container()
        let result = try network.add(container)
        #expect(result["routes"].array.map { $0["gw"].string } == ["10.71.0.1", "fd00:71::1"])
        #expect(try container.ip("route show default")[0]["gateway"].string == "10.71.0.1")
        #expect(try container.ip("-6 route show default")[0]["gateway"].string == "fd00:71::1")
    }

    @Test("all fields of a route reach the kernel")
    func routes() throws {
        let network = Network(
            ipam: """
                {"subnet": "10.71.0.0/16", "routes": [
                    {"dst": "192.0.2.0/24", "gw": "10.71.0.9", "mtu": 1400, "advmss": 1300,
                     "priority": 77, "table": 500},
                    {"dst": "198.51.100.0/24", "scope": 253}]}
                """, version: "1.1.0", in: world)
        let container = try world.container()
        try network.add(container)
        let first = try container.ip("route show table 500")[0]
        #expect(first["gateway"].string == "10.71.0.9")
        #expect(first["metric"].number == 77)
        #expect(first["metrics"][0]["mtu"].number == 1400)
        #expect(first["metrics"][0]["advmss"].number == 1300)
        let second = try container.ip("route show to 198.51.100.0/24")[0]
        #expect(second["scope"].string == "link")
        #expect(try network.check(container) == nil)
    }

    @Test("STATUS is good while there are addresses, and answers 50 when there are none")
    func status() throws {
        let network = Network(
            ipam: #"{"subnet": "10.71.0.0/30"}"#, version: "1.1.0", in: world)
        let nobody = World.Container(id: "", path: "")
        #expect(try world.call("bridge", "STATUS", network.configuration(), nobody).status == 0)
        try network.add(try world.container())
        let ended = try world.call("bridge", "STATUS", network.configuration(), nobody)
        #expect(ended.status == 1)
        #expect(ended.json["code"].number == 50)
    }

    @Test("GC removes what no valid attachment owns, of this network alone")
    func collect() throws {
        let network = Network(version: "1.1.0", in: world)
        let other = Network(
            bridge: #"{"bridge": "cni1"}"#, ipam: #"{"subnet": "10.72.0.0/16"}"#, name: "other",
            version: "1.1.0", in: world)
        let (kept, lost, foreign) = (
            try world.container(), try world.container(), try world.container()
        )
        try network.add(kept)
        try other.add(foreign)
        try world.unchanged {
            try network.add(lost)
            try network.add(kept, interface: "net1")
            try network.gc(keeping: [(kept, "eth0")])
        }
        #expect(try network.check(kept) == nil)
        #expect(try other.check(foreign) == nil)
    }
}
