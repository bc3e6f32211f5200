import Testing

@Suite("cnictl repairs every network of conf/", .enabled(if: isRoot))
struct CnictlRepairTests {
    /// Takes away of an attachment all that goes without its links.
    private func ruin(
        _ container: World.Container, _ interface: String, hostEnd: String?, bridge: String?,
        _ world: World
    ) throws {
        try container.output(of: "ip addr flush dev \(interface)")
        try container.output(of: "ip link set \(interface) down")
        // A VRF's routes go with it.
        _ = try container.run("ip link del red")
        _ = try container.run("ip rule del from 10.109.0.2")
        _ = try container.run("sysctl -qw net.core.somaxconn=77 net.ipv4.conf.eth0.arp_filter=0")
        try world.onHost("nft flush ruleset")
        try world.onHost("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
        if let bridge { try world.onHost("ip addr flush dev \(bridge)") }
        if let hostEnd {
            try world.onHost("ip link set \(hostEnd) nomaster")
            try world.onHost("ip addr flush dev \(hostEnd)")
            try world.onHost("ip route flush dev \(hostEnd)")
            _ = try run("tc qdisc del dev \(hostEnd) clsact", in: world.host)
        }
        for link in ["shp-e", "shp-i"] {
            _ = try run("tc qdisc del dev \(link) root", in: world.host)
        }
        for file in world.files(".") where file.hasPrefix("10.") {
            try output(of: "rm \(world.directory)/\(file)")
        }
    }

    @Test(
        "all but its links is put back after it was taken away", arguments: ConflistTests.conflists)
    func repair(file: String) throws {
        if ConflistTests.feature(file)?.isPresent == false {
            try Test.cancel("this kernel lacks what \(file) needs")
        }
        let world = try World()
        let network = try Network(conflist: file, in: world)
        let cnictl = try Cnictl(world)
        let plugins = network.plugins.map(\.value)
        try cnictl.configure(
            JSON(["name": network.name, "cniVersion": network.version, "plugins": plugins]),
            as: file)
        let container = try world.trustingContainer()
        let interface = network.name == "loopback" ? "lo" : "eth0"
        let target = "\(network.name) \(container.path) --container-id web --ifname \(interface)"
        try cnictl.output(
            of: "add \(target) --cap portMappings=[{\"hostPort\":8080,\"containerPort\":80}] "
                + #"--cap bandwidth={"egressRate":50000000,"egressBurst":2147483647}"#)
        #expect(try cnictl.output(of: "repair --dry-run") == "1 attachment is as it should be\n")
        let rules = { try world.onHost("nft -s list ruleset").split(separator: "\n").sorted() }
        let before = try rules()
        let entry = try cnictl.json("ls web")[0]
        try ruin(
            container, interface, hostEnd: entry["hostInterface"].string,
            bridge: entry["bridge"].string, world)
        #expect(try cnictl.run("repair --dry-run").status == 2)
        let repaired = try cnictl.run("repair")
        #expect(repaired.status == 0, "\(repaired.output)\(repaired.errors)")
        let told = try cnictl.run("repair --dry-run")
        #expect(told.output == "1 attachment is as it should be\n")
        #expect(try cnictl.run("explain web").status == 0)
        try cnictl.output(of: "check \(target)")
        let after = try rules()
        #expect(after == before, "\(after.filter { !before.contains($0) })")
        for address in entry["addresses"].array where !ConflistTests.lonely.contains(network.name) {
            guard let text = address.string, interface != "lo" else { continue }
            let gateway = try gateway(of: text, network, container)
            let by = network.name == "vrf" ? "-I red " : ""
            #expect(
                try container.run("ping -c 1 -w 10 \(by)\(gateway)").output.contains(
                    " bytes from "),
                "\(gateway)")
        }
        try cnictl.output(of: "del \(target)")
        #expect(try cnictl.json("ls").array.isEmpty)
    }

    /// The gateway that a network gives for an address.
    private func gateway(
        of address: String, _ network: Network, _ container: World.Container
    ) throws -> String {
        let ranges = network.plugins[0]["ipam"]["ranges"].array.flatMap(\.array)
        let given = ranges.first { !$0["gateway"].isNull }?["gateway"].string
        if let given, !address.contains(":") { return given }
        let end = address.lastIndex { $0 == "." || $0 == ":" } ?? address.startIndex
        return address[...end] + "1"
    }
}
