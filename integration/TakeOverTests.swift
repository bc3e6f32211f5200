import Testing

@Suite("the Go plugins' containers, and back", .enabled(if: isRoot))
struct TakeOverTests {
    let world: World
    let peer: String

    init() throws {
        world = try World()
        peer = try Peer.directory()
    }

    @Test("a container that the Go plugins attached is checked and detached by these")
    func fromPeer() throws {
        let network = Network(ipam: BridgeTests.dualStack, in: world)
        let (neighbour, container) = (try world.container(), try world.container())
        try network.add(neighbour)
        let inside = try Snapshot(of: container)
        try world.unchanged {
            network.path = peer
            try network.add(container)
            network.path = nil
            #expect(try neighbour.reaches("10.71.0.3"))
            let difference = try network.check(container)
            #expect(difference == nil, "\(difference ?? "")")
            try network.del(container)
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test("a container that these attached is checked and detached by the Go plugins")
    func toPeer() throws {
        let network = Network(ipam: BridgeTests.dualStack, in: world)
        let (neighbour, container) = (try world.container(), try world.container())
        try network.add(neighbour)
        try world.unchanged {
            try network.add(container)
            network.path = peer
            #expect(try network.check(container) == nil)
            try network.del(container)
        }
    }

    @Test(
        "masquerade, ports and limits of the Go plugins go with DEL, with the namespace or without",
        arguments: [true, false])
    func rulesOfPeer(hasNamespace: Bool) throws {
        let bridge = Network(
            bridge: #"{"ipMasq": true}"#, ipam: BridgeTests.dualStack,
            in: world)
        let portmap: JSON = #"{"type": "portmap"}"#
        let bandwidth: JSON = #"{"type": "bandwidth"}"#
        var list: JSON = #"{"name": "web", "cniVersion": "1.0.0"}"#
        list["plugins"] = JSON([bridge.plugins[0].value, portmap.value, bandwidth.value])
        let network = Network(list, in: world)
        let ports: JSON = #"""
            {"runtimeConfig": {"portMappings":
                [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                 {"hostPort": 8081, "containerPort": 81, "protocol": "udp"}],
             "bandwidth": {"ingressRate": 8000000, "ingressBurst": 800000,
                           "egressRate": 8000000, "egressBurst": 800000}}}
            """#
        // One stays, and with the first what all of the Go plugins' containers share.
        let (neighbour, first) = (try world.container(), try world.container())
        try network.add(neighbour)
        network.path = peer
        try network.add(first, with: ports)
        network.path = nil
        try network.del(first)
        // By then the bridge's address has settled.
        #expect(try neighbour.reaches("fd00:71::1"))
        try world.unchanged {
            let container = try world.container()
            network.path = peer
            try network.add(container, with: ports)
            let rules = try world.onHost("nft list ruleset")
            #expect(rules.contains("CNI-DN-") && rules.contains("masquerade"))
            #expect(try world.onHost("ip link show type ifb").contains("bwp"))
            network.path = nil
            if !hasNamespace {
                try output(of: "ip netns del \(container.path.split(separator: "/").last ?? "")")
            }
            try network.del(container)
        }
    }

    @Test("both give the same result but for names, hardware addresses and addresses given")
    func sameResult() throws {
        for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
            let network = Network(
                ipam: BridgeTests.dualStack, name: "v\(version)", version: version, in: world)
            let container = try world.container()
            let ours = try network.add(container)
            try network.del(container)
            network.path = peer
            let theirs = try network.add(container)
            try network.del(container)
            let wild = { (result: JSON) in
                result.description
                    .replacing(/[0-9a-f]{2}(:[0-9a-f]{2}){5}/, with: "MAC")
                    .replacing(/veth[0-9a-f]+/, with: "veth")
                    .replacing(/10\.71\.0\.[23]\//, with: "ADDRESS/")
                    .replacing(/fd00:71::[23]\//, with: "ADDRESS/")
                    // Since 1.2.0 the Go plugins leave an empty dns out of a result of 1.0.0.
                    .replacing(
                        "\"cniVersion\":\"1.0.0\",\"dns\":{},", with: "\"cniVersion\":\"1.0.0\",")
            }
            #expect(wild(ours) == wild(theirs), "\(version)")
        }
    }
}
