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
        #expect(try container.reaches("10.71.0.1") == false)
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

    @Test("DEL gives a link its name back that came home when its container ended")
    func cameHome() throws {
        let container = try world.container()
        try world.onHost("ip link set up0 down")
        try world.unchanged {
            try world.onHost("ip link set up0 name eth7 alias up0")
            try world.remove(container)
            try network().del(container)
        }
    }
}
