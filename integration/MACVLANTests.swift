import Glibc
import Testing

@Suite("macvlan", .enabled(if: isRoot))
struct MACVLANTests {
    let world: World
    let uplink: Uplink

    init() throws {
        world = try World()
        uplink = try Uplink(world)
    }

    private func network(_ keys: JSON = "{}", name: String = "web") -> Network {
        Network(
            plugin: "macvlan", (#"{"master": "up0"}"# as JSON).merging(keys), name: name, in: world)
    }

    @Test("two containers reach each other and the neighbour, in both families")
    func reach() throws {
        let network = network()
        let (first, second) = (try world.container(), try world.container())
        try network.add(first)
        try network.add(second)
        for address in ["10.71.0.2", "10.71.0.1", "fd00:71::2", "fd00:71::1"] {
            #expect(try second.reaches(address), "\(address)")
        }
        #expect(try uplink.neighbour.reaches("10.71.0.3"))
    }

    @Test("CHECK goes by the interface in the container, whatever else has its name")
    func namesake() throws {
        let network = network()
        let container = try world.container()
        var result = try network.add(container)
        let own = result["interfaces"][0]
        result["interfaces"] = JSON([
            ["name": "eth0", "mac": "02:00:00:00:00:99"], own.value,
        ])
        result["ips"] = JSON(
            result["ips"].array.map { $0.merging(#"{"interface": 1}"#).value })
        let call = { (result: JSON) in
            try self.world.call(
                "macvlan", "CHECK", network.configuration(network.plugins[0], previous: result),
                container)
        }
        #expect(try call(result).succeeded)
        result["interfaces"] = JSON([own.merging(#"{"mac": "02:00:00:00:00:98"}"#).value])
        #expect(try !call(result).succeeded)
    }

    @Test("an alias that the container writes does not keep the interface from its DEL")
    func aliasInside() throws {
        let network = network()
        let container = try world.container()
        try network.add(container)
        try container.output(of: "ip link set eth0 alias hello")
        try network.del(container)
        #expect(try container.link("eth0").isNull)
    }

    @Test("an ADD works where /proc/sys cannot be written")
    func readOnlySettings() throws {
        let network = network()
        let container = try world.container()
        let ended = try world.start(
            "macvlan", "ADD", network.configuration(network.plugins[0]).description,
            container: container.id, namespace: container.path,
            through: [
                "unshare", "-m", "sh", "-c",
                "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && "
                    + #"exec "$0""#,
            ]
        ).wait()
        #expect(ended.succeeded, "\(ended.output)\(ended.errors)")
        #expect(try uplink.neighbour.reaches("10.71.0.2"))
    }

    @Test(
        "a master is found by its alternative name, however long",
        arguments: ["short", "a-name-longer-than-fifteen-bytes"])
    func alternativeName(name: String) throws {
        try world.onHost("ip link property add dev up0 altname \(name)")
        var keys: JSON = "{}"
        keys["master"] = JSON(name)
        let network = network(keys)
        let container = try world.container()
        try network.add(container)
        #expect(try uplink.neighbour.reaches("10.71.0.2"))
        #expect(try network.check(container) == nil)
        try network.del(container)
    }

    @Test("a mode is kept, and CHECK compares it", arguments: ["bridge", "private", "vepa"])
    func mode(mode: String) throws {
        var keys: JSON = "{}"
        keys["mode"] = JSON(mode)
        let container = try world.container()
        let network = network(keys)
        try network.add(container)
        #expect(
            try container.link("eth0")["linkinfo"]["info_data"]["mode"].string == mode)
        let other = mode == "vepa" ? "bridge" : "vepa"
        try container.output(of: "ip link set eth0 type macvlan mode \(other)")
        #expect(
            try network.check(container)
                == "link eth0: mode: wanted \(mode), found \(other)")
    }

    @Test("containers in private mode do not reach each other, but the neighbour")
    func isPrivate() throws {
        let network = network(#"{"mode": "private"}"#)
        let (first, second) = (try world.container(), try world.container())
        try network.add(first)
        try network.add(second)
        #expect(try second.reaches("10.71.0.1"))
        #expect(try !second.reaches("10.71.0.2", within: 2))
    }

    @Test("passthru has the master's hardware address")
    func passthru() throws {
        let network = network(#"{"mode": "passthru"}"#)
        let container = try world.container()
        let result = try network.add(container)
        #expect(
            result["interfaces"][0]["mac"].string == (try world.link("up0"))["address"].string)
        #expect(try network.check(container) == nil)
        #expect(try container.reaches("10.71.0.1"))
        try network.del(container)
    }

    @Test("the hardware address is runtimeConfig's, else CNI_ARGS', else mac")
    func mac() throws {
        let inConfiguration: JSON = #"{"mac": "02:00:00:00:00:01"}"#
        let atRuntime = inConfiguration.merging(
            #"{"runtimeConfig": {"mac": "02:00:00:00:00:03"}}"#)
        for (keys, arguments, wanted) in [
            (inConfiguration, nil, "02:00:00:00:00:01"),
            (inConfiguration, "MAC=02:00:00:00:00:02", "02:00:00:00:00:02"),
            (atRuntime, "MAC=02:00:00:00:00:02", "02:00:00:00:00:03"),
        ] {
            let container = try world.container()
            let network = network(keys, name: "mac" + wanted.suffix(2))
            let result = try network.add(container, arguments: arguments)
            #expect(result["interfaces"][0]["mac"].string == wanted)
            #expect(try container.link("eth0")["address"].string == wanted)
            #expect(try network.check(container) == nil)
            try network.del(container)
        }
    }

    @Test("without a master it is the link of the default route; DEL needs neither")
    func defaultMaster() throws {
        try world.onHost("ip addr add 10.71.255.1/16 dev up0")
        let network = Network(plugin: "macvlan", in: world)
        let container = try world.container()
        let refused = try network.tryAdd(container)
        #expect(refused.json["msg"].string?.contains("no default route interface found") == true)
        try world.onHost("ip route add default via 10.71.0.1")
        try network.add(container)
        #expect(try container.reaches("10.71.0.1"))
        try world.onHost("ip route del default")
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try container.link("eth0").isNull)
    }

    @Test("the host may have a link of the container's name")
    func sameNameOnHost() throws {
        try world.onHost("ip link add eth0 type veth peer name eth1")
        let container = try world.container()
        try world.unchanged {
            try network().add(container)
            #expect(try container.link("eth0")["linkinfo"]["info_kind"].string == "macvlan")
            try network().del(container)
        }
    }

    @Test("a master in the container is found there")
    func inContainer() throws {
        let container = try world.container()
        try container.output(of: "ip link add inner type veth peer name other")
        try container.output(of: "ip link set inner up")
        try container.output(of: "ip link set other up")
        try container.output(of: "ip addr add 10.71.0.1/16 dev other")
        let inside = try Snapshot(of: container)
        let network = Network(
            plugin: "macvlan", #"{"master": "inner", "linkInContainer": true}"#, ipam: nil,
            in: world)
        try network.add(container)
        #expect(try container.link("eth0")["link"].string == "inner")
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test("an MTU above the master's is refused, and nothing is left")
    func mtu() throws {
        let container = try world.container()
        try world.unchanged {
            let ended = try network(#"{"mtu": 1501}"#).tryAdd(container)
            #expect(
                ended.json["msg"].string?
                    .contains("invalid MTU 1501, must be [0, master MTU(1500)]") == true)
        }
        #expect(try container.link("eth0").isNull)
    }

    @Test("without IPAM the interface is up and has no address")
    func withoutIPAM() throws {
        let network = Network(plugin: "macvlan", #"{"master": "up0"}"#, ipam: nil, in: world)
        let container = try world.container()
        let result = try network.add(container)
        #expect(result["ips"].array.isEmpty)
        #expect(try container.link("eth0")["flags"].description.contains("UP"))
        #expect(try network.check(container) == nil)
        try network.del(container)
    }

    @Test("DEL leaves a link of that name that is another network's or of another kind")
    func notOurs() throws {
        let (ours, theirs) = (network(), network(name: "theirs"))
        let container = try world.container()
        try theirs.add(container)
        try ours.del(container)
        #expect(try theirs.check(container) == nil)
        try theirs.del(container)
        try container.output(of: "ip link add eth0 type veth peer name other")
        try ours.del(container)
        #expect(try !container.link("eth0").isNull)
    }

    @Test("an address that the neighbour has is a failure, and nothing is left")
    func duplicate() throws {
        try uplink.neighbour.output(of: "ip addr add fd00:71::2/64 dev up1 nodad")
        let container = try world.container()
        try world.unchanged {
            let ended = try network().tryAdd(container)
            #expect(ended.status == 1)
            #expect(
                ended.json["msg"].string?.contains("somebody else has it") == true,
                "\(ended.output)")
        }
        #expect(try container.link("eth0").isNull)
    }

    @Test("an address is asked for again when a link that is being removed still answered for it")
    func formerHolder() throws {
        try uplink.neighbour.output(of: "ip addr add fd00:71::2/64 dev up1 nodad")
        // It hears the first question, of 72 bytes, and no other.
        for words in [
            "table inet t", "chain inet t in { type filter hook input priority 0 ; }",
            "rule inet t in ip6 daddr ff02::1:ff00:2 quota over 100 bytes counter drop",
        ] {
            try uplink.neighbour.output(of: "nft add \(words)")
        }
        let container = try world.container()
        let ended = try network().tryAdd(container)
        #expect(ended.succeeded, "\(ended.output)")
        let unheard = try uplink.neighbour.output(of: "nft list chain inet t in")
        #expect(!unheard.contains("counter packets 0 "), "\(unheard)")
        try uplink.neighbour.output(of: "ip addr del fd00:71::2/64 dev up1")
        let address = try container.output(of: "ip -6 addr show dev eth0 to fd00:71::2")
        #expect(address.contains("fd00:71::2"))
        #expect(!address.contains("tentative") && !address.contains("dadfailed"))
        #expect(try container.reaches("fd00:71::1"))
    }
}
