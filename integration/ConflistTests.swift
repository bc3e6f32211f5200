import Foundation
import Testing

@Suite("the networks of conf/", .enabled(if: isRoot))
struct ConflistTests {
    static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("conf").path

    /// All but those that need a bridge with VLANs, which `make guest-test` has a kernel for.
    static let conflists =
        ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? [])
        .filter { $0.hasSuffix(".conflist") && !$0.hasPrefix("vlan-") }.sorted()

    /// Whether a conflist needs a kind of link that this machine's kernel lacks, which then only
    /// `make guest-test` tries.
    private static func isLacking(_ file: String) -> Bool {
        let kind = String(file.prefix { $0 != "." })
        guard ["dummy", "ipvlan", "vlan", "vrf"].contains(kind), let world = try? World(),
            (try? world.onHost("ip link add lower type veth peer name other")) != nil
        else { return false }
        let lower = ["dummy", "vrf"].contains(kind) ? "" : "link lower "
        let settings = ["vlan": " id 5", "vrf": " table 5"][kind] ?? ""
        return (try? world.onHost("ip link add \(lower)name probe type \(kind)\(settings)")) == nil
    }

    /// The network of a conflist, its reservations kept in the world.
    private func network(_ file: String, in world: World) throws -> Network {
        var list = JSON(
            text: try String(contentsOfFile: "\(Self.directory)/\(file)", encoding: .utf8))
        var plugin = list["plugins"][0]
        if !plugin["master"].isNull { plugin["master"] = #""up0""# }
        if !plugin["device"].isNull { plugin["device"] = #""up0""# }
        if !plugin["ipam"].isNull { plugin["ipam"]["dataDir"] = JSON(world.directory) }
        list["plugins"] = JSON([plugin.value] + list["plugins"].array.dropFirst().map(\.value))
        return Network(list, in: world)
    }

    @Test("there are some")
    func some() { #expect(Self.conflists.count >= 8) }

    @Test("each works from ADD to DEL and leaves nothing", arguments: conflists)
    func works(file: String) throws {
        if Self.isLacking(file) { try Test.cancel("this kernel lacks what \(file) needs") }
        let world = try World()
        let network = try network(file, in: world)
        let plugin = network.plugins[0]
        if !plugin["master"].isNull || !plugin["device"].isNull {
            // The gateways are not the host's, but a neighbour's.
            let gateways = plugin["ipam"]["ranges"].array.map { range in
                (range[0]["subnet"].string ?? "")
                    .replacing("0/24", with: "1/24").replacing("::/64", with: "::1/64")
            }
            _ = try Uplink(world, gateways: gateways)
        }
        #expect(network.name + ".conflist" == file)
        let interface = network.name == "loopback" ? "lo" : "eth0"
        // The bridge stays for the next container; a first one makes it.
        let first = try world.container()
        try network.add(first, interface: interface)
        try network.del(first, interface: interface)
        try world.unchanged {
            let container = try world.container()
            let result = try network.add(container, interface: interface)
            #expect(try network.check(container, interface: interface) == nil)
            // At the other end of a tap there is nobody yet.
            for address in result["ips"].array where network.name != "tap" {
                let gateway = address["gateway"].string ?? "127.0.0.1"
                #expect(try container.reaches(gateway), "\(gateway)")
            }
            try network.del(container, interface: interface)
        }
    }

    @Test("two containers of one network reach each other as it says")
    func reach() throws {
        for (file, isReached) in [
            ("bridge.conflist", true), ("dual-stack.conflist", true),
            ("jumbo-frames.conflist", true), ("isolated.conflist", false),
        ] {
            let world = try World()
            let network = try network(file, in: world)
            let (one, other) = (try world.container(), try world.container())
            let address = try network.add(one)["ips"][0]["address"].string ?? ""
            try network.add(other)
            let host = String(address.prefix { $0 != "/" })
            #expect(try other.reaches(host) == isReached, "\(file)")
        }
    }
}
