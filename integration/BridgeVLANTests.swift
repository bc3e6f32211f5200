import Testing

@Suite("bridge: VLANs", .enabled(if: isRoot && KernelFeature.bridgeVLANs.isPresent))
struct BridgeVLANTests {
    let world: World

    init() throws { world = try World() }

    /// A network on a bridge that all of a test's networks share, with one range of addresses, so
    /// that it is the VLAN that is in the way.
    private func network(_ keys: JSON, ipam: JSON = #"{"subnet": "10.71.0.0/16"}"#) -> Network {
        Network(bridge: (#"{"isGateway": false}"# as JSON).merging(keys), ipam: ipam, in: world)
    }

    /// An attached container.
    private struct Attached {
        let container: World.Container
        let network: Network
        /// The bridge's port.
        let port: String
        let address: String
    }

    private func attach(_ keys: JSON) throws -> Attached {
        let container = try world.container()
        let network = network(keys)
        let result = try network.add(container)
        let address = result["ips"][0]["address"].string ?? ""
        return Attached(
            container: container, network: network,
            port: result["interfaces"][1]["name"].string ?? "",
            address: String(address.prefix { $0 != "/" }))
    }

    /// The VLANs of a port, as in `1 untagged, 5, 100 PVID untagged`.
    private func vlans(_ port: String) throws -> String {
        let list = JSON(text: try world.onHost("bridge -j vlan show dev \(port)"))[0]["vlans"]
        return list.array.flatMap { entry in
            let first = entry["vlan"].number ?? 0
            let flags = entry["flags"].array.compactMap(\.string).map {
                $0 == "PVID" ? " PVID" : " untagged"
            }
            return (first...(entry["vlanEnd"].number ?? first)).map { "\($0)" + flags.joined() }
        }.joined(separator: ", ")
    }

    /// The names of a bridge's ports.
    private func ports(_ bridge: String = "cni0") throws -> [String] {
        try world.ip("link show master \(bridge)").array.compactMap { $0["ifname"].string }.sorted()
    }

    @Test("without a VLAN the bridge tells none apart")
    func none() throws {
        _ = try attach("{}")
        let data = try world.link("cni0")["linkinfo"]["info_data"]
        #expect(data["vlan_filtering"].number == 0)
    }

    @Test("a port has its VLAN alone, untagged, and reaches no other VLAN")
    func access() throws {
        let (one, two) = (try attach(#"{"vlan": 100}"#), try attach(#"{"vlan": 100}"#))
        let (three, four) = (try attach(#"{"vlan": 200}"#), try attach(#"{"vlan": 200}"#))
        #expect(
            try world.link("cni0")["linkinfo"]["info_data"]["vlan_filtering"].number == 1)
        #expect(try vlans(one.port) == "100 PVID untagged")
        #expect(try vlans(three.port) == "200 PVID untagged")
        #expect(try one.container.reaches(two.address))
        #expect(try three.container.reaches(four.address))
        #expect(try !one.container.reaches(three.address, within: 2))
        #expect(try !four.container.reaches(two.address, within: 2))
        for attached in [one, two, three, four] { try attached.network.del(attached.container) }
        #expect(try ports() == [])
    }

    @Test(
        "a port's VLANs are what the keys say, and CHECK misses one that is gone",
        arguments: [
            (#"{"vlan": 100, "preserveDefaultVlan": true}"#, "1 untagged, 100 PVID untagged", 100),
            (#"{"vlan": 100, "preserveDefaultVlan": false}"#, "100 PVID untagged", 100),
            (
                #"{"vlanTrunk": [{"id": 5}, {"minID": 10, "maxID": 12}]}"#,
                "1 PVID untagged, 5, 10, 11, 12", 11
            ),
            (
                #"{"vlanTrunk": [{"id": 5}, {"minID": 10, "maxID": 12}], "preserveDefaultVlan": true}"#,
                "1 PVID untagged, 5, 10, 11, 12", 5
            ),
            (
                #"{"vlanTrunk": [{"minID": 10, "maxID": 12}], "vlan": 100}"#,
                "10, 11, 12, 100 PVID untagged", 12
            ),
            (
                #"{"vlanTrunk": [{"id": 5}], "vlan": 100, "preserveDefaultVlan": true}"#,
                "1 untagged, 5, 100 PVID untagged", 100
            ),
        ])
    func keys(keys: String, wanted: String, lost: Int) throws {
        let attached = try attach(JSON(text: keys))
        #expect(try vlans(attached.port) == wanted)
        #expect(try attached.network.check(attached.container) == nil)
        try world.onHost("bridge vlan del dev \(attached.port) vid \(lost)")
        #expect(try attached.network.check(attached.container) != nil)
        let flags = wanted.contains("\(lost) PVID") ? "pvid untagged" : ""
        try world.onHost("bridge vlan add dev \(attached.port) vid \(lost) \(flags)")
        #expect(try attached.network.check(attached.container) == nil)
        try attached.network.del(attached.container)
        #expect(try ports() == [])
    }

    @Test("a trunk reaches the VLANs that it has, with their tags, and no other")
    func trunk() throws {
        let trunk = try attach(#"{"vlanTrunk": [{"id": 5}, {"minID": 10, "maxID": 12}]}"#)
        for vlan in [11, 13] {
            let name = "eth0.\(vlan)"
            try trunk.container.output(
                of: "ip link add link eth0 name \(name) type vlan id \(vlan)")
            try trunk.container.output(of: "ip addr add 10.9.\(vlan).1/24 dev \(name)")
            try trunk.container.output(of: "ip link set \(name) up")
            var keys: JSON = "{}"
            keys["vlan"] = JSON(vlan)
            let other = try attach(keys)
            try other.container.output(of: "ip addr add 10.9.\(vlan).2/24 dev eth0")
        }
        #expect(try trunk.container.reaches("10.9.11.2"))
        #expect(try !trunk.container.reaches("10.9.13.2", within: 2))
        try world.onHost("bridge vlan add dev \(trunk.port) vid 13")
        try trunk.container.output(of: "ip neigh flush dev eth0.13")
        #expect(try trunk.container.reaches("10.9.13.2"))
    }

    @Test("a VLAN's gateway is a veth of its own with a port in the VLAN, which the next ADD takes")
    func gateway() throws {
        let keys: JSON = #"{"vlan": 100, "isGateway": true}"#
        let container = try world.container()
        let network = network(keys)
        let result = try network.add(container)
        let interfaces = result["interfaces"].array
        #expect(interfaces.count == 4)
        #expect(interfaces[3]["name"].string == "cni0.100")
        #expect(interfaces.map { $0["sandbox"].isNull } == [true, true, false, true])
        #expect(result["ips"][0]["interface"].number == 2)
        for interface in [interfaces[0], interfaces[1], interfaces[3]] {
            let link = try world.link(interface["name"].string ?? "")
            #expect(interface["mac"].string == link["address"].string)
        }
        let gateway = try world.link("cni0.100")
        #expect(gateway["linkinfo"]["info_kind"].string == "veth")
        #expect(gateway["flags"].description.contains("\"UP\""))
        #expect(try world.onHost("ip addr show cni0.100").contains("inet 10.71.0.1/16"))
        #expect(try !world.onHost("ip addr show cni0").contains("inet "))
        let member = try #require(gateway["link"].string)
        #expect(try ports().contains(member))
        #expect(try vlans(member) == "100 PVID untagged")
        #expect(try container.reaches("10.71.0.1"))

        let second = try attach(keys)
        #expect(try world.link("cni0.100")["ifindex"].number == gateway["ifindex"].number)
        #expect(try second.container.reaches("10.71.0.1"))
        let first = (result["ips"][0]["address"].string ?? "").prefix { $0 != "/" }
        #expect(try second.container.reaches(String(first)))
        // On the same subnet, so that it is the VLAN that is in the way.
        let other = try attach(#"{"vlan": 200}"#)
        #expect(try !other.container.reaches("10.71.0.1", within: 2))

        try world.onHost("bridge vlan del dev \(interfaces[1]["name"].string ?? "") vid 100")
        #expect(try network.check(container) != nil)
        try network.del(container)
        for attached in [second, other] { try attached.network.del(attached.container) }
        #expect(try ports() == [member])
    }

    @Test("an ADD that fails takes the bridge and the VLAN's gateway back")
    func failedAdd() throws {
        let network = network(
            #"{"vlan": 100, "isGateway": true}"#, ipam: InterfacePluginTests.unreachable)
        let container = try world.container()
        try world.unchanged {
            let ended = try network.tryAdd(container)
            #expect(ended.json["msg"].string?.contains("Network is unreachable") == true)
        }
    }
}
