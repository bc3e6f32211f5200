import Foundation

/// A plugin or a chain that goes through everything in this folder, by being listed here.
struct Subject: Sendable, CustomStringConvertible {
    /// What the results call it.
    let name: String
    /// The file of conf/ whose network it is.
    let conflist: String
    /// Plugins that come after those of the file.
    let further: [JSON]
    /// The kind of link that the kernel must have; `ip link add` takes it so.
    let link: String?

    private init(
        _ name: String, _ conflist: String, then further: [JSON] = [], link: String? = nil
    ) {
        self.name = name
        self.conflist = conflist + ".conflist"
        self.further = further
        self.link = link
    }

    /// All there are: name, network, and what it needs of the kernel.
    static let all = [
        Subject("bridge", "dual-stack"),
        Subject("bridge with rules", "masquerade"),
        Subject("ptp", "ptp"),
        Subject("macvlan", "macvlan"),
        Subject("ipvlan", "ipvlan", link: "link lo type ipvlan"),
        Subject("vlan", "vlan", link: "link lo type vlan id 5"),
        Subject("dummy", "dummy", link: "type dummy"),
        Subject("host-device", "host-device"),
        Subject("tap", "tap"),
        Subject("loopback", "loopback"),
        Subject("static", "static-address"),
        Subject("sbr", "source-routed"),
        Subject("vrf", "vrf", link: "type vrf table 5"),
        Subject("tuning", "tuned"),
        Subject("portmap", "portmap"),
        Subject("bandwidth", "bandwidth"),
        Subject("tenant", "batch"),
        Subject("classes", "database"),
        Subject("firewall", "firewall"),
        Subject(
            "headline", "portmap",
            then: [
                """
                {"type": "bandwidth", "ingressRate": 9000000, "ingressBurst": 90000,
                 "egressRate": 9000000, "egressBurst": 90000}
                """,
                #"{"type": "tuning", "mtu": 1400, "sysctl": {"net.core.somaxconn": "512"}}"#,
                #"{"type": "firewall", "ingressPolicy": "same-bridge"}"#,
            ]),
    ]

    var description: String { name }

    /// Whether the kernel can do it.
    var isPossible: Bool {
        guard let link, let world = try? World() else { return link == nil }
        return (try? world.onHost("ip link add name probe \(link)")) != nil
    }

    /// The interface in the container.
    var interface: String { name == "loopback" ? "lo" : "eth0" }

    /// Whether the network serves two containers at a time.
    var isShared: Bool { !["host-device", "static"].contains(name) }

    /// Whether what it makes for a container is all on the host, where GC finds it.
    var isCollectable: Bool {
        !["macvlan", "ipvlan", "vlan", "dummy", "host-device", "tap", "loopback"].contains(name)
    }

    /// The beginning of the name of what stays in the container until its namespace goes: settings
    /// of the whole namespace, which as in the reference DEL does not put back.
    var lastsInside: String? {
        ["tuning", "headline"].contains(name) ? "sysctl net/core/somaxconn" : nil
    }

    /// The network as the container of a number gets it.
    ///
    /// The world gets what links the network needs. Containers differ in the host ports they ask for.
    func network(for number: Int, in world: World) throws -> Network {
        let listed = try Network(conflist: conflist, in: world)
        var list: JSON = "{}"
        list["name"] = JSON(listed.name)
        // The newest version of the specification has all the verbs.
        list["cniVersion"] = #""1.1.0""#
        let plugins = (listed.plugins + further).map { plugin in
            var plugin = plugin
            if !plugin["macspoofchk"].isNull { plugin["ipspoofchk"] = "true" }
            if plugin["type"].string == "tuning" {
                plugin["dataDir"] = JSON(world.directory + "/tuning")
            }
            // As many containers as the tests like find room.
            if !plugin["shaping"]["linkRate"].isNull {
                plugin["shaping"]["linkRate"] = "100000000000"
            }
            if !plugin["shaping"]["tenant"].isNull {
                for direction in ["egress", "ingress"] {
                    plugin["shaping"]["tenant"][direction] = """
                        {"rate": 10000000000, "ceil": 20000000000}
                        """
                }
            }
            if plugin["type"].string == "portmap" {
                plugin["runtimeConfig"] = """
                    {"portMappings": [
                        {"hostPort": \(8000 + number), "containerPort": 80, "protocol": "tcp"},
                        {"hostPort": \(5300 + number), "containerPort": 53, "protocol": "udp"}]}
                    """
            }
            return plugin.value
        }
        list["plugins"] = JSON(plugins)
        return Network(list, in: world)
    }
}

extension Network {
    /// The network of a file of conf/, its state kept in the world, on the world's uplink if it
    /// needs one.
    convenience init(conflist file: String, in world: World) throws {
        let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("conf")
        var list = JSON(
            text: try String(
                contentsOf: directory.appendingPathComponent(file), encoding: .utf8))
        var plugin = list["plugins"][0]
        let needsUplink = !plugin["master"].isNull || !plugin["device"].isNull
        if !plugin["master"].isNull { plugin["master"] = #""up0""# }
        if !plugin["device"].isNull { plugin["device"] = #""up0""# }
        if !plugin["ipam"].isNull { plugin["ipam"]["dataDir"] = JSON(world.directory) }
        if needsUplink, try !run("ip link show up0", in: world.host).succeeded {
            // The gateways are not the host's, but a neighbour's.
            let gateways = plugin["ipam"]["ranges"].array.map { range in
                (range[0]["subnet"].string ?? "")
                    .replacing("0/24", with: "1/24").replacing("::/64", with: "::1/64")
            }
            try Uplink(world, gateways: gateways, vlan: plugin["vlanId"].number)
        }
        list["plugins"] = JSON([plugin.value] + list["plugins"].array.dropFirst().map(\.value))
        self.init(list, in: world)
    }
}
