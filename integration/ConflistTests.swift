import Foundation
import Testing

@Suite("the networks of conf/", .enabled(if: isRoot))
struct ConflistTests {
    static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("conf").path

    static let conflists =
        ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? [])
        .filter { $0.hasSuffix(".conflist") }.sorted()

    /// The networks whose gateway is nobody: at the other end of a tap there is no program yet, and
    /// of a dummy there is none; this VLAN has members alone.
    static let lonely = ["tap", "dummy", "vlan-access"]

    /// What a conflist needs that not every kernel has.
    static func feature(_ file: String) -> KernelFeature? {
        file.hasPrefix("vlan-")
            ? .bridgeVLANs : KernelFeature(rawValue: String(file.prefix { $0 != "." }))
    }

    @Test("there are some")
    func some() { #expect(Self.conflists.count >= 8) }

    @Test("each works from ADD to DEL and leaves nothing", arguments: conflists)
    func works(file: String) throws {
        if Self.feature(file)?.isPresent == false {
            try Test.cancel("this kernel lacks what \(file) needs")
        }
        let world = try World()
        let network = try Network(conflist: file, in: world)
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
            for address in result["ips"].array where !Self.lonely.contains(network.name) {
                let gateway = address["gateway"].string ?? "127.0.0.1"
                let by = network.name == "vrf" ? "-I red " : ""
                #expect(
                    try container.run("ping -c 1 -W 10 \(by)\(gateway)").succeeded, "\(gateway)")
            }
            try network.del(container, interface: interface)
        }
    }

    @Test("two containers of one network reach each other as it says")
    func reach() throws {
        for (file, isReached) in [
            ("bridge.conflist", true), ("dual-stack.conflist", true),
            ("jumbo-frames.conflist", true), ("isolated.conflist", false),
            ("vlan-access.conflist", true),
        ] where Self.feature(file)?.isPresent ?? true {
            let world = try World()
            let network = try Network(conflist: file, in: world)
            let (one, other) = (try world.container(), try world.container())
            let address = try network.add(one)["ips"][0]["address"].string ?? ""
            try network.add(other)
            let host = String(address.prefix { $0 != "/" })
            #expect(try other.reaches(host, within: isReached ? 10 : 2) == isReached, "\(file)")
        }
    }
}
