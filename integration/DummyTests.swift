import Testing

@Suite("dummy", .enabled(if: isRoot && KernelFeature.dummy.isPresent))
struct DummyTests {
    let world: World

    init() throws { world = try World() }

    @Test("its addresses answer in the container, in both families")
    func reach() throws {
        let container = try world.container()
        try container.output(of: "ip link set lo up")
        let result = try Network(plugin: "dummy", in: world).add(container)
        #expect(try container.link("eth0")["linkinfo"]["info_kind"].string == "dummy")
        for address in result["ips"].array {
            let own = String((address["address"].string ?? "").prefix { $0 != "/" })
            #expect(try container.reaches(own), "\(own)")
        }
    }

    @Test("without IPAM ADD and STATUS fail, and DEL does not")
    func withoutIPAM() throws {
        let network = Network(plugin: "dummy", ipam: nil, version: "1.1.0", in: world)
        let container = try world.container()
        let wanted = "ipam.type: dummy interface requires an IPAM configuration"
        #expect(try network.tryAdd(container).json["msg"].string == wanted)
        let status = try world.call("dummy", "STATUS", network.configuration(), container)
        #expect(status.json["msg"].string == wanted)
        try network.del(container, withResult: false)
    }
}
