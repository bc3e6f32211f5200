import Foundation
import Testing

/// Where the host has something of the bridge's name, or its bridge does not fit.
@Suite("a bridge that is there", .enabled(if: isRoot))
struct BridgeOfHostTests {
    let world: World

    init() throws { world = try World() }

    @Test("a bridge that follows a network card's hardware address goes on doing so")
    func foreignMAC() throws {
        // A random one can begin with fe, as those of the host's ends do to be above every card's.
        try world.onHost("ip link add card address 00:16:3e:12:34:56 type veth peer name wire")
        try world.onHost("ip link add cni0 type bridge")
        try world.onHost("ip link set card master cni0 up")
        try world.onHost("ip link set wire up")
        try world.onHost("ip link set cni0 up")
        let mac = try world.ip("link show card")[0]["address"].string
        for _ in 0..<4 {
            try Network(bridge: #"{"isGateway": false}"#, in: world).add(try world.container())
        }
        #expect(try world.ip("link show cni0")[0]["address"].string == mac)
    }

    @Test(
        "a bridge may be called like a host's end, or like the container's interface",
        arguments: [("vethbr0", "eth0"), ("br9", "br9")])
    func namesake(bridge: String, interface: String) throws {
        var keys: JSON = "{}"
        keys["bridge"] = JSON(bridge)
        let network = Network(bridge: keys, ipam: BridgeTests.dualStack, in: world)
        let container = try world.container()
        try network.add(container, interface: interface)
        #expect(try network.check(container, interface: interface) == nil)
        try network.del(container, interface: interface)
        #expect(try container.run("ip link show \(interface)").succeeded == false)
    }

    @Test("an ADD that fails leaves a bridge of the host's as it was")
    func failedOnFoundBridge() throws {
        try world.onHost("ip link add cni0 type bridge")
        // The kernel gives a link its queue when it comes up for the first time, and leaves it.
        for state in ["up", "down"] { try world.onHost("ip link set cni0 \(state)") }
        try world.onHost("ip addr add 10.99.0.1/24 dev cni0")
        let container = try world.container()
        try world.unchanged {
            let ended = try Network(
                bridge: #"{"promiscMode": true, "ipspoofchk": true}"#, in: world
            )
            .tryAdd(container)
            #expect(ended.json["msg"].string?.contains("already has an IP address") == true)
        }
        let bridge = try world.ip("link show cni0")[0]
        #expect(bridge["flags"].description == #"["BROADCAST","MULTICAST"]"#)
        #expect(bridge["promiscuity"].number == 0)
    }

    @Test("it stays up for a container that has come meanwhile")
    func failedBesideOthers() throws {
        let programs = world.directory + "/bin"
        try output(of: "cp -a \(world.plugins) \(programs)")
        let (failing, other) = (try world.container(), try world.container())
        // An IPAM program that attaches another container, and then fails.
        let inner = Network(in: world).configuration()
        try """
        #!/bin/sh
        [ $CNI_COMMAND = ADD ] || exit 0
        echo '\(inner)' | CNI_CONTAINERID=\(other.id) CNI_NETNS=\(other.path) \(programs)/bridge \
            > \(world.directory)/inner
        echo '{"code": 11, "msg": "full"}'; exit 1
        """.write(toFile: programs + "/strange", atomically: true, encoding: .utf8)
        try output(of: "chmod +x \(programs)/strange")
        try world.onHost("ip link add cni0 type bridge")
        let network = Network(ipam: #"{"type": "strange"}"#, in: world)
        network.path = programs
        #expect(try network.tryAdd(failing).json["msg"].string?.contains("full") == true)
        #expect(world.file("inner")?.contains("10.71.0.2/16") == true)
        #expect(try other.reaches("10.71.0.1"))
    }

    @Test("a bridge with another address is refused, unless forceAddress replaces it")
    func forceAddress() throws {
        try world.onHost("ip link add cni0 type bridge")
        try world.onHost("ip addr add 10.99.0.1/24 dev cni0")
        try world.onHost("ip link set cni0 up")
        let container = try world.container()
        try world.unchanged {
            let ended = try Network(in: world).tryAdd(container)
            #expect(ended.status == 1)
            #expect(
                ended.json["msg"].string?.contains(
                    "\"cni0\" already has an IP address different from 10.71.0.1/16") == true)
        }
        try Network(bridge: #"{"forceAddress": true}"#, in: world).add(container)
        let addresses = try world.onHost("ip -4 addr show dev cni0")
        #expect(addresses.contains("10.71.0.1/16"))
        #expect(!addresses.contains("10.99.0.1/24"))
    }

    @Test(
        "an ADD that fails after forceAddress brings back what was replaced",
        arguments: [false, true])
    func forcedAddressComesBack(whereOthersAre: Bool) throws {
        try world.onHost("ip link add cni0 type bridge")
        try world.onHost("ip addr add 10.99.0.1/24 dev cni0")
        try world.onHost("ip link set cni0 up")
        if whereOthersAre {
            try world.onHost("ip link add port type veth peer name end")
            try world.onHost("ip link set port master cni0")
        }
        let container = try world.container()
        // The route's gateway cannot be reached: the last thing that ADD asks for is refused.
        let network = Network(
            bridge: #"{"forceAddress": true}"#,
            ipam: #"""
                {"ranges": [[{"subnet": "10.71.0.0/16"}]],
                 "routes": [{"dst": "192.0.2.0/24", "gw": "198.51.100.1"}]}
                """#, in: world)
        try world.unchanged {
            let ended = try network.tryAdd(container)
            #expect(ended.status == 1)
            #expect(ended.json["msg"].string?.contains("192.0.2.0/24") == true)
        }
    }

    @Test("a link of the bridge's name that is no bridge is refused")
    func notABridge() throws {
        try world.onHost("ip link add cni0 type veth peer name other")
        let container = try world.container()
        try world.unchanged {
            let ended = try Network(in: world).tryAdd(container)
            #expect(ended.status == 1)
            #expect(ended.json["msg"].string?.contains("cni0") == true)
            #expect(ended.json["msg"].string?.contains("bridge") == true)
        }
    }
}
