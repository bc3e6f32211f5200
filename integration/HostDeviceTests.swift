import Testing

@Suite("host-device", .enabled(if: isRoot))
struct HostDeviceTests {
    let world: World
    let uplink: Uplink

    init() throws {
        world = try World()
        uplink = try Uplink(world)
    }

    private func network(_ keys: JSON = #"{"device": "up0"}"#, ipam: JSON? = nil) -> Network {
        Network(plugin: "host-device", keys, ipam: ipam, in: world)
    }

    @Test("the link is lent to the container and comes back under its name")
    func lend() throws {
        let network = network(ipam: BridgeTests.dualStack)
        let container = try world.container()
        let mac = try world.link("up0")["address"].string
        try network.add(container)
        #expect(try world.link("up0").isNull)
        let inside = try container.link("eth0")
        #expect(inside["address"].string == mac)
        #expect(inside["ifalias"].string == "up0")
        #expect(try container.reaches("10.71.0.1"))
        try network.del(container)
        let back = try world.link("up0")
        #expect(back["address"].string == mac)
        #expect(back["ifalias"].isNull)
        #expect(!back["flags"].description.contains("\"UP\""))
    }

    @Test("the link is found by its hardware address")
    func byAddress() throws {
        var keys: JSON = "{}"
        keys["hwaddr"] = try world.link("up0")["address"]
        let container = try world.container()
        let network = network(keys)
        try network.add(container)
        #expect(try container.link("eth0")["ifalias"].string == "up0")
        try network.del(container)
        #expect(try !world.link("up0").isNull)
    }

    @Test("the link is found by the path of its device")
    func byPath() throws {
        // A link without hardware has its device, and no `net` in it, below virtual/net.
        for (path, message) in [
            ("/sys/devices/virtual", "find host device"),
            ("/sys/devices/none", "failed to find network devices at"),
            ("/proc/self", "must be absolute and begin with /sys/devices/"),
            ("/sys/devices/../class", "must be absolute and begin with /sys/devices/"),
        ] {
            var keys: JSON = "{}"
            keys["kernelpath"] = JSON(path)
            // Whatever links this machine has, they are not this host's.
            let container = try world.container()
            let ended = try network(keys).tryAdd(container)
            let found = ended.json["msg"].string ?? ""
            #expect(ended.status == 1)
            #expect(found.contains(message) || path == "/sys/devices/virtual", "\(found)")
        }
    }

    @Test("a configuration that names no device is refused by ADD and not by DEL")
    func nothing() throws {
        let container = try world.container()
        let ended = try network("{}").tryAdd(container)
        #expect(
            ended.json["msg"].string
                == #"specify either "device", "hwaddr", "kernelpath" or "pciBusID""#)
        try network("{}").del(container)
    }

    @Test("a device that does not exist is refused, by PCI address, too")
    func missing() throws {
        let container = try world.container()
        for (keys, text): (JSON, String) in [
            (#"{"device": "none0"}"#, "find host device: No such device (19): none0"),
            (#"{"pciBusID": "ffff:ff:1f.7"}"#, "no net directory under pci"),
            (#"{"pciBusID": "../x"}"#, "not a device"),
            (
                #"{"pciBusID": "a", "runtimeConfig": {"deviceID": "b"}}"#,
                "auxiliary device b"
            ),
        ] {
            let ended = try network(keys).tryAdd(container)
            #expect(ended.json["msg"].string?.contains(text) == true, "\(ended.output)")
        }
    }

    @Test("DEL of a name that the host has given away changes nothing, and works later")
    func conflict() throws {
        let network = network()
        let container = try world.container()
        try network.add(container)
        try world.onHost("ip link add up0 type veth peer name other")
        try world.unchanged {
            let ended = try world.call("host-device", "DEL", network.configuration(), container)
            #expect(
                ended.json["msg"].string?.contains("the host has another link up0") == true)
        }
        #expect(try container.link("eth0")["ifalias"].string == "up0")
        #expect(try container.link("eth0")["flags"].description.contains("\"UP\""))
        try world.onHost("ip link del up0")
        try network.del(container)
        #expect(try !world.link("up0").isNull)
    }

    @Test("another link of the container that has the host's name is left alone")
    func sameNameInside() throws {
        let container = try world.container()
        try container.output(of: "ip link add up0 type veth peer name other")
        let inside = try Snapshot(of: container)
        let network = network()
        try network.add(container)
        #expect(try container.reaches("10.71.0.1", within: 2) == false)
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try Snapshot(of: container).difference(from: inside) == "")
        #expect(try !world.link("up0").isNull)
    }

    @Test("a link of the host that has the container's name is left alone")
    func sameNameOutside() throws {
        try world.onHost("ip link add eth0 type veth peer name eth1")
        try uplink.replug(world)
        let container = try world.container()
        try world.unchanged {
            try network().add(container)
            try network().del(container)
        }
    }

    @Test("a failed ADD brings the link back, up as it was")
    func failedAdd() throws {
        let container = try world.container()
        let ended = try network(ipam: InterfacePluginTests.unreachable).tryAdd(container)
        #expect(ended.status == 1)
        #expect(ended.json["details"].isNull)
        let back = try world.link("up0")
        #expect(back["flags"].description.contains("\"UP\""))
        #expect(back["ifalias"].isNull)
    }

    @Test("a container keeps an interface of that name that is no lent link")
    func notOurs() throws {
        let container = try world.container()
        let other = Network(plugin: "macvlan", #"{"master": "up0"}"#, name: "other", in: world)
        try other.add(container)
        try network().del(container)
        #expect(try other.check(container) == nil)
    }

    @Test(
        "DEL gives a link its name back that came home when its container ended",
        arguments: ["eth0", "dev7"])
    func cameHome(name: String) throws {
        let container = try world.container()
        try world.onHost("ip link set up0 down")
        try world.unchanged {
            try world.onHost("ip link set up0 name \(name) alias up0")
            try world.remove(container)
            try network().del(container)
        }
    }

    @Test("a link of the host in use stays as it is, though its alias is the device's name")
    func aliasOfDevice() throws {
        try world.onHost("ip link set up0 alias up9")
        let network = network(#"{"device": "up9"}"#)
        let container = try world.container()
        for name in ["up0", "eth0"] {
            if name != "up0" {
                try world.onHost("ip link set up0 down")
                try world.onHost("ip link set up0 name \(name)")
                try world.onHost("ip link set \(name) up")
            }
            try world.unchanged {
                #expect(try network.tryAdd(container).status == 1)
                try network.del(container)
            }
        }
    }

    /// The alternative names that a link has while it is lent to a container.
    private func marks(of network: Network, _ container: World.Container) throws -> [String] {
        try network.add(container)
        let marks = try container.link("eth0")["altnames"].array.compactMap(\.string)
        try network.del(container)
        #expect(try world.link("up0")["altnames"].isNull)
        return marks
    }

    @Test(
        "a link that an ADD has marked, and was killed before it moved it, is only unmarked by DEL",
        arguments: [true, false])
    func killedBeforeMove(byName: Bool) throws {
        var keys: JSON = #"{"device": "up0"}"#
        if !byName {
            keys = "{}"
            keys["hwaddr"] = try world.link("up0")["address"]
        }
        let network = network(keys)
        let container = try world.container()
        let marks = try marks(of: network, container)
        #expect(!marks.isEmpty)
        try world.onHost("ip link set up0 up alias uplink")
        try world.unchanged {
            for mark in marks { try world.onHost("ip link property add dev up0 altname \(mark)") }
            try network.del(container)
        }
    }

    @Test("what the container writes as alias does not matter: the link has its name again")
    func aliasInside() throws {
        var byAddress: JSON = "{}"
        byAddress["hwaddr"] = try world.link("up0")["address"]
        for keys: JSON in [#"{"device": "up0"}"#, byAddress] {
            for alias in ["''", "zzz9", "'a b'"] {
                let network = network(keys)
                let container = try world.container()
                try network.add(container)
                _ = try Command(
                    ["sh", "-c", "ip link set eth0 alias \(alias)"], in: container.path
                ).wait()
                try network.del(container)
                let back = try world.link("up0")
                #expect(back["ifalias"].isNull && back["altnames"].isNull, "\(keys) \(alias)")
                #expect(!back["address"].isNull, "\(keys) \(alias)")
            }
        }
    }

    @Test("a lent link of which nothing says what it was called stays, and DEL says so")
    func nameless() throws {
        var keys: JSON = "{}"
        keys["hwaddr"] = try world.link("up0")["address"]
        let network = network(keys)
        let container = try world.container()
        try network.add(container)
        _ = try Command(["ip", "link", "set", "eth0", "alias", ""], in: container.path).wait()
        for mark in try container.link("eth0")["altnames"].array.compactMap(\.string)
        where mark.contains(".") {
            try container.output(of: "ip link property del dev eth0 altname \(mark)")
        }
        let ended = try world.call("host-device", "DEL", network.configuration(), container)
        #expect(ended.json["msg"].string?.contains("what it was called there") == true)
        #expect(try !container.link("eth0").isNull)
        let named = self.network().configuration()
        #expect(try world.call("host-device", "DEL", named, container).succeeded)
        #expect(try !world.link("up0").isNull)
    }

    @Test(
        "DEL leaves another container's interface whose alias is one word",
        arguments: [
            #"{"hwaddr": "02:00:00:00:00:99"}"#, #"{"pciBusID": "ffff:ff:1f.7"}"#,
            #"{"kernelpath": "/sys/devices/none"}"#, "{}",
        ])
    func anothers(keys: String) throws {
        let container = try world.container()
        try container.output(of: "ip link add eth0 type veth peer name other")
        try container.output(of: "ip link set eth0 alias plain")
        let network = network(JSON(text: keys))
        let previous: JSON = """
            {"prevResult": {"cniVersion": "1.0.0", "interfaces":
                [{"name": "eth0", "mac": "02:00:00:00:00:98", "sandbox": "\(container.path)"}]}}
            """
        for more in ["{}", previous] {
            let ended = try world.call(
                "host-device", "DEL", network.configuration(with: more), container)
            #expect(ended.succeeded, "\(ended.output)")
            #expect(try container.link("eth0")["ifalias"].string == "plain")
        }
    }

    @Test("what the Go plugin has lent by a bus address comes back by the result of its ADD")
    func lentByPeer() throws {
        let container = try world.container()
        let network = network()
        network.path = try Peer.directory()
        let result = try network.add(container)
        var keys: JSON = #"{"pciBusID": "ffff:ff:1f.7"}"#
        keys["prevResult"] = result
        var configuration = network.configuration(with: keys)
        configuration["device"] = ""
        let ended = try world.call("host-device", "DEL", configuration, container)
        #expect(ended.succeeded, "\(ended.output)")
        #expect(try world.link("up0")["address"] == result["interfaces"][0]["mac"])
    }

    @Test("a failed ADD puts back what the link had on the host")
    func failedAddRestores() throws {
        try world.onHost("ip link add br9 type veth peer name br8")
        for words in [
            "link set br9 up", "link set up0 alias uplink", "addr add 10.72.0.9/24 dev up0",
            "addr add fd00:72::9/64 dev up0 nodad", "route add 192.0.2.0/24 via 10.72.0.1 dev up0",
            "route add 198.51.100.0/24 via 192.0.2.1 dev up0 onlink metric 7",
            "-6 route add 2001:db8::/32 via fd00:72::1 dev up0",
        ] { try world.onHost("ip \(words)") }
        let shown = {
            // A link that comes from another namespace makes itself a link-local address, in its own time.
            let addresses = try world.ip("address show dev up0")[0]
            return try [
                addresses["flags"].lastingFlags.joined(), addresses["ifalias"].description,
                addresses["addr_info"].array.filter { $0["scope"].string != "link" }
                    .map(\.description).sorted().joined(),
                world.onHost("ip route show"),
                world.onHost("ip -6 route show dev up0").split(separator: "\n")
                    .filter { !$0.hasPrefix("fe80:") }.joined(separator: "\n"),
            ]
        }
        let before = try shown()
        let container = try world.container()
        let ended = try network(ipam: InterfacePluginTests.unreachable).tryAdd(container)
        #expect(ended.status == 1)
        #expect(ended.json["details"].isNull, "\(ended.output)")
        #expect(try shown() == before)
    }

    @Test("a failed ADD puts a bridge's port back")
    func failedAddOfPort() throws {
        try world.onHost("ip link add br9 type bridge")
        try world.onHost("ip link set up0 master br9")
        let container = try world.container()
        let ended = try network(ipam: InterfacePluginTests.unreachable).tryAdd(container)
        #expect(ended.status == 1)
        #expect(try world.link("up0")["master"].string == "br9")
    }
}
