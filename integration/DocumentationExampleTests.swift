import Foundation
import Testing

/// The configurations that the pages of docs/plugins show, of the plugins of links and of those
/// chained to them.
@Suite("the examples of docs/plugins", .enabled(if: isRoot))
struct DocumentationExampleTests {
    /// An example of a page.
    struct Example: Sendable, CustomTestStringConvertible {
        let page: String
        let number: Int
        let json: JSON
        var testDescription: String { "\(page) \(number)" }
    }

    static let pages = [
        "dummy", "host-device", "ipvlan", "macvlan", "ptp", "sbr", "tap", "tuning", "vlan", "vrf",
    ]

    static let examples = pages.flatMap { page in
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("docs/plugins/\(page).md")
        let text = (try? String(contentsOf: path, encoding: .utf8)) ?? ""
        return text.components(separatedBy: "```json\n").dropFirst().enumerated().map { item in
            let block = item.element.components(separatedBy: "```").first ?? ""
            return Example(page: page, number: item.offset + 1, json: JSON(text: block))
        }
    }

    /// The network of an example; what is chained comes after a bridge.
    private func network(_ example: Example, in world: World) -> Network {
        var list = example.json
        if list["plugins"].isNull {
            list = #"{"cniVersion": "1.0.0", "name": "web"}"#
            let bridge = Network(
                ipam: #"{"ranges": [[{"subnet": "10.71.0.0/16"}], [{"subnet": "fd00:71::/64"}]]}"#,
                in: world)
            list["plugins"] = JSON([bridge.plugins[0].value, example.json.value])
        }
        let plugins = list["plugins"].array.map { plugin in
            var plugin = plugin
            // In the container a master has the name that the example says.
            if !plugin["master"].isNull, plugin["linkInContainer"].isNull {
                plugin["master"] = #""up0""#
            }
            if !plugin["device"].isNull { plugin["device"] = #""up0""# }
            if plugin["ipam"]["type"].string == "host-local" {
                plugin["ipam"]["dataDir"] = JSON(world.directory)
            }
            return plugin
        }
        list["plugins"] = JSON(plugins.map(\.value))
        return Network(list, in: world)
    }

    @Test("every page has two", arguments: pages)
    func count(page: String) {
        #expect(Self.examples.filter { $0.page == page && !$0.json.isNull }.count >= 2)
    }

    @Test("each works, CHECK agrees, and DEL leaves the container as it was", arguments: examples)
    func works(example: Example) throws {
        if KernelFeature(rawValue: example.page)?.isPresent == false {
            try Test.cancel("this kernel has no \(example.page)")
        }
        let world = try World()
        try Uplink(world, gateways: [])
        let container = try world.trustingContainer()
        let network = network(example, in: world)
        if !network.plugins[0]["pciBusID"].isNull {
            // The cards' own tests lend one by its PCI address.
            try #require(network.plugins.count == 1)
            let ended = try network.tryAdd(container)
            #expect(ended.json["msg"].string?.contains("no net directory under pci") == true)
            return
        }
        let isInside = network.plugins[0]["linkInContainer"].bool == true
        if isInside {
            try container.output(of: "ip link add eth0 type veth peer name other")
            try container.output(of: "ip link set other up")
            try container.output(of: "ip link set eth0 up")
        }
        if !network.plugins[0]["bridge"].isNull, example.page == "tap" {
            try container.output(of: "ip link add br0 address 02:00:00:00:00:b0 type bridge")
        }
        let interface = isInside ? "net1" : "eth0"
        let inside = try Snapshot(of: container)
        try network.add(container, interface: interface)
        let difference = try network.check(container, interface: interface)
        #expect(difference == nil, "\(difference ?? "")")
        try network.del(container, interface: interface)
        // The kernel's rule for VRFs comes with the first one and stays, as does the setting that the
        // module brings; settings that tuning wrote end with the container's namespace.
        let staying = example.page == "tuning" ? ["sysctl"] : ["l3mdev", "net/vrf/strict_mode"]
        let left = try Snapshot(of: container).difference(from: inside)
            .split(separator: "\n").filter { line in !staying.contains { line.contains($0) } }
        #expect(left == [])
    }
}
