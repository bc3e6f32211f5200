import Glibc
import Testing

/// Containers of Debian's Go plugins, and back.
@Suite("the take-over of every interface plugin", .enabled(if: isRoot))
struct InterfaceTakeOverTests {
    let world: World
    let uplink: Uplink
    let peer: String

    init() throws {
        world = try World()
        uplink = try Uplink(world)
        peer = try Peer.directory()
    }

    @Test(
        "a container that the Go plugin attached is checked and detached by this one",
        arguments: InterfacePluginTests.all.filter(\.peerHasIt))
    func fromPeer(item: InterfacePluginTests.Case) throws {
        let network = Network(plugin: item.plugin, item.keys, in: world)
        let container = try world.trustingContainer()
        let inside = try Snapshot(of: container)
        if item.takesUplink { try uplink.replug(world) }
        try world.unchanged {
            network.path = peer
            try network.add(container)
            network.path = nil
            // The Go plugins do not wait for duplicate address detection on the host's end.
            try world.waitForAddresses()
            let difference = try network.check(container)
            #expect(difference == nil, "\(difference ?? "")")
            try network.del(container)
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test(
        "a container that this one attached is checked and detached by the Go plugin",
        arguments: InterfacePluginTests.all.filter(\.peerHasIt))
    func toPeer(item: InterfacePluginTests.Case) throws {
        let network = Network(plugin: item.plugin, item.keys, in: world)
        let container = try world.trustingContainer()
        let inside = try Snapshot(of: container)
        if item.takesUplink { try uplink.replug(world) }
        try world.unchanged {
            try network.add(container)
            network.path = peer
            let difference = try network.check(container)
            #expect(difference == nil, "\(difference ?? "")")
            try network.del(container)
            // The Go plugin leaves its note of the name, and this one's.
            if item.takesUplink {
                _ = try Command(["ip", "link", "set", "up0", "alias", ""], in: world.host).wait()
                for name in try world.link("up0")["altnames"].array.compactMap(\.string) {
                    try world.onHost("ip link property del dev up0 altname \(name)")
                }
            }
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test(
        "both give the same result but for names and hardware addresses",
        arguments: InterfacePluginTests.all.filter(\.peerHasIt))
    func sameResult(item: InterfacePluginTests.Case) throws {
        let results = try ["a", "b"].map { name in
            let network = Network(
                plugin: item.plugin, item.keys, name: name, version: "0.4.0", in: world)
            network.path = name == "a" ? nil : peer
            let container = try world.trustingContainer()
            let result = try network.add(container)
            try network.del(container)
            return result.description
                .replacing(/[0-9a-f]{2}(:[0-9a-f]{2}){5}/, with: "MAC")
                .replacing(/veth[0-9a-f]+/, with: "veth")
                .replacing(container.path, with: "NETNS")
        }
        #expect(results[0] == results[1])
    }
}
