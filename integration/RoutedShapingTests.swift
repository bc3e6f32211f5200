import Testing

/// A container behind ptp has an end on the host as one behind a bridge has, but no bridge.
@Suite("bandwidth: behind ptp", .serialized, .enabled(if: isRoot))
struct RoutedShapingTests {
    let world: World

    init() throws { world = try World() }

    private func network(_ keys: JSON) -> Network {
        let first = Network(plugin: "ptp", version: "1.1.0", in: world)
        var list: JSON = #"{"name": "web", "cniVersion": "1.1.0"}"#
        let second = (#"{"type": "bandwidth"}"# as JSON).merging(keys)
        list["plugins"] = JSON([first.plugins[0].value, second.value])
        return Network(list, in: world)
    }

    /// What the host and a container get from each other, in Mbit/s: sent, and received.
    private func rates(_ container: World.Container, _ result: JSON) throws -> (Double, Double) {
        let sent = try Flow(
            from: container.path, to: world.host, address: "10.71.0.1", port: 5001, seconds: 1.5
        ).rate()
        let address = result["ips"][0]["address"].string?.split(separator: "/").first ?? ""
        let received = try Flow(
            from: world.host, to: container.path, address: String(address), port: 5002, seconds: 1.5
        ).rate()
        return (sent, received)
    }

    @Test(
        "limits hold in both directions, and nothing of a container stays",
        arguments: [
            BandwidthTests.caps,
            """
            {"shaping": {"linkRate": 100000000, "egress": {"rate": 1000000, "ceil": 10000000},
                "ingress": {"rate": 1000000, "ceil": 20000000}}}
            """,
        ])
    func limits(keys: JSON) throws {
        let network = network(keys)
        let first = try world.container()
        try network.add(first)
        try network.del(first)
        try world.unchanged {
            let container = try world.container()
            let result = try network.add(container)
            #expect(try network.check(container) == nil)
            let (sent, received) = try rates(container, result)
            #expect(carried(6...11).contains(sent), "\(sent) Mbit/s of 10")
            #expect(carried(12...22).contains(received), "\(received) Mbit/s of 20")
            try network.del(container)
            try network.del(container)
        }
    }

    @Test("DEL finds everything with namespace and veth gone")
    func gone() throws {
        let network = network(BandwidthTests.shares)
        let container = try world.container()
        let result = try network.add(container)
        let port = result["interfaces"].array.first { $0["sandbox"].string ?? "" == "" }
        #expect(try world.onHost("nft list tables").contains("shaper"))
        for link in ["shp-e", "shp-i"] { try world.onHost("ip link show \(link)") }
        try world.onHost("ip link del \(port?["name"].string ?? "")")
        try world.remove(container)
        try network.del(container, withResult: false)
        #expect(try !world.onHost("nft list tables").contains("shaper"))
        for link in ["shp-e", "shp-i"] {
            #expect(try world.onHostIfThere("ip link show \(link)").isEmpty)
        }
    }
}
