import CLinux
import Glibc
import Testing

@Suite("tap", .enabled(if: isRoot && access("/dev/net/tun", R_OK | W_OK) == 0))
struct TapTests {
    let world: World

    init() throws { world = try World() }

    /// Opens a container's tap as the program would that it is for.
    private func open(_ container: World.Container, flags: Int32 = IFF_TAP | IFF_NO_PI) throws
        -> Int32
    {
        let home = Glibc.open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        let there = Glibc.open(container.path, O_RDONLY | O_CLOEXEC)
        defer {
            close(home)
            close(there)
        }
        guard linux_enter_network_namespace(there) == 0 else { throw Failure("enter container") }
        let tap = linux_open_tap("eth0", flags)
        guard linux_enter_network_namespace(home) == 0 else { fatalError("no way back") }
        guard tap >= 0 else { throw Failure("open tap: \(String(cString: strerror(errno)))") }
        return tap
    }

    @Test("what the container sends comes out at the tap, in both families")
    func traffic() throws {
        let container = try world.container()
        try Network(plugin: "tap", in: world).add(container)
        let tap = try open(container)
        defer { close(tap) }
        // ARP for one, a neighbour solicitation for the other.
        for (address, ethertype) in [("10.71.0.1", [0x08, 0x06]), ("fd00:71::1", [0x86, 0xdd])] {
            let ping = try Command(
                ["ping", "-c", "2", "-W", "1", address], in: container.path)
            var seen = false
            var ready = pollfd(fd: tap, events: Int16(POLLIN), revents: 0)
            while !seen, poll(&ready, 1, 10_000) > 0 {
                var frame = [UInt8](repeating: 0, count: 2048)
                let count = read(tap, &frame, frame.count)
                seen = count > 14 && frame[12...13].map(Int.init) == ethertype
            }
            #expect(seen, "\(address)")
            _ = ping.wait()
        }
    }

    @Test("owner, group and queues are the configuration's, and CHECK compares them")
    func settings() throws {
        let container = try world.container()
        let keys: JSON = #"{"owner": 61001, "group": 61002, "multiQueue": true, "mtu": 1400}"#
        let network = Network(plugin: "tap", keys, in: world)
        try network.add(container)
        let link = try container.link("eth0")
        let data = link["linkinfo"]["info_data"]
        #expect(data["type"].string == "tap")
        #expect(data["multi_queue"].bool == true && data["persist"].bool == true)
        #expect(link["mtu"].number == 1400)
        let text = try container.output(of: "ip -d link show eth0")
        #expect(text.contains("user 61001 group 61002"), "\(text)")
        #expect(try network.check(container) == nil)
        let other = Network(plugin: "tap", #"{"owner": 7}"#, ipam: nil, in: world)
        let second = try world.container()
        try other.add(second)
        let again = Network(plugin: "tap", #"{"owner": 8}"#, ipam: nil, in: world)
        let previous: JSON = """
            {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "\(second.path)"}]}
            """
        let ended = try world.call(
            "tap", "CHECK", again.configuration(again.plugins[0], previous: previous), second)
        #expect(ended.json["msg"].string == "link eth0: owner: wanted 8, found 7")
    }

    @Test("the tap is a port of the bridge that is named, in the container")
    func bridge() throws {
        let container = try world.container()
        let network = Network(plugin: "tap", #"{"bridge": "br0"}"#, ipam: nil, in: world)
        let inside = try Snapshot(of: container)
        let ended = try network.tryAdd(container)
        #expect(ended.json["msg"].string?.contains("find link br0: No such device (19)") == true)
        #expect(try Snapshot(of: container).difference(from: inside) == "")
        try container.output(of: "ip link add br0 type bridge")
        try network.add(container)
        #expect(try container.link("eth0")["master"].string == "br0")
        #expect(try network.check(container) == nil)
        try container.output(of: "ip link set eth0 nomaster")
        #expect(try network.check(container) == "link eth0: bridge: wanted br0, found none")
        try network.del(container)
        #expect(try container.link("eth0").isNull)
    }

    @Test("the hardware address is runtimeConfig's, else CNI_ARGS', else mac")
    func mac() throws {
        let inConfiguration: JSON = #"{"mac": "02:00:00:00:00:01", "owner": 0, "group": 0}"#
        let atRuntime = inConfiguration.merging(
            #"{"runtimeConfig": {"mac": "02:00:00:00:00:03"}}"#)
        for (keys, arguments, wanted) in [
            (inConfiguration, nil, "02:00:00:00:00:01"),
            (inConfiguration, "MAC=02:00:00:00:00:02", "02:00:00:00:00:02"),
            (atRuntime, "MAC=02:00:00:00:00:02", "02:00:00:00:00:03"),
        ] {
            let container = try world.container()
            let network = Network(plugin: "tap", keys, ipam: nil, in: world)
            let result = try network.add(container, arguments: arguments)
            #expect(result["interfaces"][0]["mac"].string == wanted)
            #expect(try container.link("eth0")["address"].string == wanted)
            #expect(try network.check(container) == nil)
        }
    }

    @Test(
        "where there is no SELinux a context is refused by name, and nothing is left",
        .enabled(if: !hasSELinux))
    func noSELinux() throws {
        let container = try world.container()
        try world.unchanged {
            let ended = try Network(
                plugin: "tap", #"{"selinuxContext": "a:b:c"}"#, ipam: nil, in: world
            ).tryAdd(container)
            #expect(ended.json["code"].number == 7)
            #expect(
                ended.json["msg"].string
                    == "selinuxContext: SELinux is not enabled on this kernel")
        }
        #expect(try container.link("eth0").isNull)
    }
}
