/// A network of a configuration list, run as a runtime's library runs it: the chain in order, each
/// plugin with the result of the one before, the last result kept for CHECK and DEL.
final class Network {
    let world: World
    let name: String
    let version: String
    let plugins: [JSON]
    /// Where the plugins are, when not those under test.
    var path: String?
    private var results: [String: JSON] = [:]

    /// A network from the text of a conflist.
    init(_ list: JSON, in world: World) {
        self.world = world
        name = list["name"].string ?? ""
        version = list["cniVersion"].string ?? ""
        plugins = list["plugins"].array
    }

    /// A bridge network with addresses of host-local in the world's directory, and any other keys
    /// over those.
    convenience init(
        bridge keys: JSON = "{}", ipam: JSON = #"{"subnet": "10.71.0.0/16"}"#,
        name: String = "web", version: String = "1.0.0", in world: World
    ) {
        var allocation: JSON = #"{"type": "host-local"}"#
        allocation["dataDir"] = JSON(world.directory)
        var plugin: JSON = #"{"type": "bridge", "bridge": "cni0", "isGateway": true}"#
        plugin["ipam"] = allocation.merging(ipam)
        plugin = plugin.merging(keys)
        var list: JSON = "{}"
        list["name"] = JSON(name)
        list["cniVersion"] = JSON(version)
        list["plugins"] = JSON([plugin.value])
        self.init(list, in: world)
    }

    /// A dual-stack bridge network, with keys over the bridge's, and what is chained to it.
    convenience init(
        dualStack bridge: JSON, subnet: Int = 71, then chained: JSON..., name: String = "web",
        version: String = "1.1.0", in world: World
    ) {
        let first = Network(
            bridge: JSON(text: #"{"isDefaultGateway": true}"#).merging(bridge),
            ipam: JSON(
                text: #"{"ranges": [[{"subnet": "10.\#(subnet).0.0/16"}], "#
                    + #"[{"subnet": "fd00:\#(subnet)::/64"}]]}"#),
            name: name, version: version, in: world)
        let plugins = [first.plugins[0].value] + chained.map(\.value)
        self.init(
            JSON(["name": name, "cniVersion": version, "plugins": plugins]), in: world)
    }

    /// The configuration of one plugin of the chain.
    func configuration(_ plugin: JSON, previous: JSON? = nil, with keys: JSON = "{}") -> JSON {
        var configuration = plugin
        configuration["name"] = JSON(name)
        configuration["cniVersion"] = JSON(version)
        if let previous { configuration["prevResult"] = previous }
        return configuration.merging(keys)
    }

    /// The first plugin's configuration.
    func configuration(with keys: JSON = "{}") -> JSON { configuration(plugins[0], with: keys) }

    /// ADD of the whole chain; the last plugin's end.
    func tryAdd(
        _ container: World.Container, interface: String = "eth0", arguments: String? = nil,
        with keys: JSON = "{}"
    ) throws -> Command.Ended {
        var previous: JSON?
        var last: Command.Ended?
        for plugin in plugins {
            let ended = try world.call(
                plugin["type"].string ?? "", "ADD",
                configuration(plugin, previous: previous, with: keys), container,
                interface: interface, arguments: arguments, path: path)
            last = ended
            guard ended.succeeded else { break }
            previous = ended.json
        }
        guard let last else { throw Failure("a chain without plugins") }
        if last.succeeded { results[container.id + interface] = last.json }
        return last
    }

    /// ADD of the whole chain, which must succeed; the result.
    @discardableResult
    func add(
        _ container: World.Container, interface: String = "eth0", arguments: String? = nil,
        with keys: JSON = "{}"
    ) throws -> JSON {
        let ended = try tryAdd(container, interface: interface, arguments: arguments, with: keys)
        guard ended.succeeded else {
            throw Failure("ADD: status \(ended.status): \(ended.output)\(ended.errors)")
        }
        return ended.json
    }

    /// The result of the last ADD.
    func result(of container: World.Container, interface: String = "eth0") -> JSON? {
        results[container.id + interface]
    }

    /// CHECK of the whole chain; the error's message, or nil.
    func check(_ container: World.Container, interface: String = "eth0") throws -> String? {
        for plugin in plugins {
            let ended = try world.call(
                plugin["type"].string ?? "", "CHECK",
                configuration(plugin, previous: results[container.id + interface]), container,
                interface: interface, path: path)
            guard ended.succeeded else {
                return ended.json["msg"].string ?? "status \(ended.status)"
            }
        }
        return nil
    }

    /// DEL of the whole chain, last plugin first, which must succeed.
    func del(
        _ container: World.Container, interface: String = "eth0", withResult: Bool = true
    ) throws {
        for plugin in plugins.reversed() {
            let previous = withResult ? results[container.id + interface] : nil
            let ended = try world.call(
                plugin["type"].string ?? "", "DEL", configuration(plugin, previous: previous),
                container, interface: interface, path: path)
            guard ended.succeeded else {
                throw Failure("DEL: status \(ended.status): \(ended.output)\(ended.errors)")
            }
        }
        results[container.id + interface] = nil
    }

    /// Frees all addresses and nothing else, as where somebody takes containers for gone that are there.
    func freeAddresses() throws {
        let keys: JSON = #"{"cniVersion": "1.1.0", "cni.dev/valid-attachments": []}"#
        let ended = try Command(
            ["\(world.plugins)/host-local"],
            environment: ["CNI_COMMAND": "GC", "CNI_PATH": world.plugins],
            input: Array(configuration(with: keys).description.utf8), in: world.host
        ).wait()
        guard ended.succeeded else { throw Failure("GC: \(ended.output)") }
    }

    /// A container with an address that another one had, whose DEL came late.
    func successor() throws -> World.Container {
        let (old, new) = (try world.container(), try world.container())
        let wanted: JSON = #"{"args": {"cni": {"ips": ["10.71.0.50"]}}}"#
        try add(old, with: wanted)
        try freeAddresses()
        try add(new, with: wanted)
        try del(old)
        return new
    }

    /// A container of the same ID in the place of one whose namespace has gone without a DEL, as after a
    /// runtime's crash, and which has given back its addresses.
    func startAnew(_ container: World.Container) throws -> World.Container {
        let ports = try world.ip("link show type veth").array.count
        try output(of: "ip netns del \(container.path.split(separator: "/").last ?? "")")
        try waitFor("the end of the link") {
            try world.ip("link show type veth").array.count < ports
        }
        try freeAddresses()
        return try world.container(container.id)
    }

    /// GC with these attachments valid, which must succeed.
    func gc(keeping valid: [(World.Container, String)]) throws {
        let list = valid.map { ["containerID": $0.0.id, "ifname": $0.1] }
        var keys: JSON = "{}"
        keys["cni.dev/valid-attachments"] = JSON(list)
        for plugin in plugins {
            let ended = try Command(
                ["\(path ?? world.plugins)/\(plugin["type"].string ?? "")"],
                environment: ["CNI_COMMAND": "GC", "CNI_PATH": path ?? world.plugins]
                    .merging(world.environment) { $1 },
                input: Array(configuration(plugin, with: keys).description.utf8), in: world.host
            ).wait()
            guard ended.succeeded else {
                throw Failure("GC: status \(ended.status): \(ended.output)\(ended.errors)")
            }
        }
    }
}
