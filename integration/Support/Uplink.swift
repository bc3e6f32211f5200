import Testing

/// A network beside the host, for plugins that join a container to one: a cable whose near end
/// `up0` is the host's and whose far end is a neighbour's `up1`, with the gateways' addresses,
/// by default those of `BridgeTests.dualStack`.
struct Uplink {
    let neighbour: World.Container

    /// A cable, and the neighbour's addresses on it or on a VLAN of it.
    @discardableResult
    init(
        _ world: World, gateways: [String] = ["10.71.0.1/16", "fd00:71::1/64"], vlan: Int? = nil
    ) throws {
        neighbour = try world.container("neighbour")
        let inside = neighbour.path.split(separator: "/").last ?? ""
        try world.onHost("ip link add up0 type veth peer name up1 netns \(inside)")
        try neighbour.output(of: "ip link set up1 up")
        var near = "up1"
        if let vlan {
            near = "up1.\(vlan)"
            try neighbour.output(of: "ip link add link up1 name \(near) type vlan id \(vlan)")
            try neighbour.output(of: "ip link set \(near) up")
        }
        for gateway in gateways {
            try neighbour.output(of: "ip addr add \(gateway) dev \(near) nodad")
        }
        // Its link-local address would come and go by itself.
        try world.onHost("ip link set up0 addrgenmode none")
        try world.onHost("ip link set up0 up")
    }

    /// Plugs in another cable, whose near end has never been up: one that comes back from a
    /// container is as new in some ways, with settings of its namespace's.
    func replug(_ world: World) throws {
        try world.onHost("ip link del up0")
        let inside = neighbour.path.split(separator: "/").last ?? ""
        try world.onHost("ip link add up0 type veth peer name up1 netns \(inside)")
        try neighbour.output(of: "ip link set up1 up")
    }
}

extension World {
    /// Removes a container's namespace, as a runtime may before it calls DEL.
    func remove(_ container: Container) throws {
        try output(of: "ip netns del \(container.path.split(separator: "/").last ?? "")")
    }

    /// A link of the host or of a container, or null.
    func link(_ name: String) throws -> JSON {
        JSON(text: try run("ip -d -j link show \(name)", in: host).output)[0]
    }
}

extension World.Container {
    /// A link inside, or null.
    func link(_ name: String) throws -> JSON {
        JSON(text: try run("ip -d -j link show \(name)").output)[0]
    }
}

extension Network {
    /// A network of one plugin with addresses of host-local in the world's directory.
    convenience init(
        plugin type: String, _ keys: JSON = "{}", ipam: JSON? = BridgeTests.dualStack,
        name: String = "web", version: String = "1.0.0", in world: World
    ) {
        var plugin = keys
        plugin["type"] = JSON(type)
        if let ipam {
            var allocation: JSON = #"{"type": "host-local"}"#
            allocation["dataDir"] = JSON(world.directory)
            plugin["ipam"] = allocation.merging(ipam)
        }
        var list: JSON = "{}"
        list["name"] = JSON(name)
        list["cniVersion"] = JSON(version)
        list["plugins"] = JSON([plugin.value])
        self.init(list, in: world)
    }
}
