public import Addressing
internal import CLinux
internal import CNI
internal import Glibc
internal import Netlink
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import SystemPackage

extension Lint {
    /// What configurations are compared with on the host.
    public struct Host: Sendable {
        /// A link of the host.
        public struct Link: Sendable {
            /// Its kind, empty for hardware.
            public var kind = ""
            /// Its MTU in bytes.
            public var mtu = 1500
            /// The bridge that it is a port of.
            public var bridge: String?
            /// Whether it is a bridge that tells VLANs apart.
            public var filtersVLANs = false
            /// Its addresses.
            public var addresses: [IPPrefix] = []
            /// A link without addresses.
            public init() {}
        }

        /// The links by their names.
        public var links: [String: Link] = [:]
        /// The link of the default route.
        public var uplink: String?
        /// Whether iptables-legacy has tables in the kernel.
        public var hasLegacyTables = false
        /// Whether `iptables` shows these, and not those of nftables.
        public var showsLegacyTables = false

        /// A host without links.
        public init() {}

        /// The host of the calling thread; what cannot be read is as on a host without links.
        public static func current() -> Host {
            var host = Host()
            host.hasLegacyTables = (try? Files.read("/proc/net/ip_tables_names"))?.isEmpty == false
            let places = environment("PATH") ?? "/usr/sbin:/usr/bin:/sbin:/bin"
            let program = Delegate.find(
                "iptables", in: places.split(separator: ":").map(String.init))
            host.showsLegacyTables =
                program.map { Files.target("\($0)").contains("legacy") } ?? false
            guard let kernel = try? Kernel(container: nil),
                let links = try? kernel.allLinks(in: .host)
            else { return host }
            let names = Dictionary(
                links.map { ($0.index, $0.name) }, uniquingKeysWith: { first, _ in first })
            let addresses = (try? kernel.allAddresses(in: .host)) ?? []
            for found in links {
                var link = Link()
                link.kind = found.kind
                link.mtu = found.mtu
                link.bridge = found.master.flatMap { names[$0] }
                link.filtersVLANs = found.settings?[Int(IFLA_BR_VLAN_FILTERING)]?.uint8 == 1
                link.addresses = addresses.filter {
                    $0.link == found.index && !$0.prefix.address.isLinkLocal
                }.map(\.prefix)
                host.links[found.name] = link
            }
            host.uplink = (try? kernel.defaultRouteLink(in: .host)).flatMap { $0 }
                .flatMap { names[$0] }
            return host
        }

        private static func environment(_ name: String) -> String? {
            unsafe getenv(name).map { unsafe String(cString: $0) }
        }
    }

    /// What of a network does not go with the links that the host has.
    func faults(of list: ConfigurationList, on host: Host) -> [Fault] {
        guard let first = list.plugins.first else { return [] }
        var faults: [Fault] = []
        for (index, plugin) in list.plugins.enumerated() {
            let place = "plugins[\(index)]"
            let mtu = plugin.number("mtu")
            if mtu != 0, index == 0 || plugin["type"]?.text == Tuning.name,
                let limit = limit(of: first, in: list, on: host), mtu > limit.mtu
            {
                faults.append(
                    Fault(
                        limit.isRefused ? .error : .warning, list.file, "\(place).mtu",
                        "\(mtu), but \(limit.link) has \(limit.mtu)"
                            + (limit.isRefused ? ": ADD is refused" : "")))
            }
            faults += packetFilters(plugin, list, host).map {
                Fault(.warning, list.file, place, $0)
            }
        }
        if let master = first.lowerLink, host.links[master] == nil {
            faults.append(
                Fault(
                    .error, list.file, "plugins[0].master", "this host has no link \(master)"))
        }
        if let options = list.options(Bridge.self, of: first), options.filtersVLANs,
            let found = host.links[options.bridge], !found.filtersVLANs
        {
            let name = options.bridge
            faults.append(
                Fault(
                    .error, list.file, "plugins[0].bridge",
                    "\(name) is there and does not tell VLANs apart: "
                        + "ip link set \(name) type bridge vlan_filtering 1"))
        }
        return faults
    }

    /// The link whose MTU a plugin's may not be above, and whether ADD fails if it is.
    private func limit(
        of plugin: JSON, in list: ConfigurationList, on host: Host
    ) -> (link: String, mtu: Int, isRefused: Bool)? {
        let type = plugin["type"]?.text ?? ""
        if type == IPVLAN.name || plugin.standsOnLink {
            guard plugin["linkInContainer"] != .bool(true),
                let name = plugin.lowerLink ?? host.uplink, let link = host.links[name]
            else { return nil }
            // Of ipvlan the kernel takes any.
            return (name, link.mtu, type != IPVLAN.name)
        }
        if type != PTP.name {
            guard let options = list.options(Bridge.self, of: plugin) else { return nil }
            let ports = host.links.filter { $0.value.bridge == options.bridge }
                .filter { $0.value.kind != "veth" && $0.value.kind != "tun" }
            if let least = ports.min(by: { ($0.value.mtu, $0.key) < ($1.value.mtu, $1.key) }) {
                return (least.key, least.value.mtu, false)
            }
            guard options.isGateway else { return nil }
        }
        guard let uplink = host.uplink, let link = host.links[uplink] else { return nil }
        return (uplink, link.mtu, false)
    }

    /// Packet filters that do not see each other's rules.
    private func packetFilters(
        _ plugin: JSON, _ list: ConfigurationList, _ host: Host
    ) -> [String] {
        let type = plugin["type"]?.text ?? ""
        let masquerade = list.masquerade(plugin)
        let masquerades = masquerade?.isOn == true
        let isIPTables =
            type == Firewall.name || masquerades && masquerade?.usesIPTables == true
            || list.options(Portmap.self, of: plugin)?.usesIPTables == true
        let makesRules =
            isIPTables || type == Portmap.name || masquerades
            || list.options(Bridge.self, of: plugin)?.checksSpoofing == true
        var messages: [String] = []
        if host.hasLegacyTables, makesRules {
            messages.append(
                "this host also has tables of the old iptables (iptables-legacy), which see the "
                    + "packets too: a drop there counts here")
        }
        if host.showsLegacyTables, isIPTables {
            messages.append(
                "iptables of this host is iptables-legacy: it does not show the rules that \(type) "
                    + "makes, which iptables-nft does")
        }
        return messages
    }

    /// Networks whose addresses the host has elsewhere.
    func neighbours(_ lists: [ConfigurationList], on host: Host) -> [Fault] {
        let firsts = lists.compactMap { list in
            list.plugins.first.map {
                (list: list, plugin: $0, bridge: list.options(Bridge.self, of: $0))
            }
        }
        let bridges = firsts.compactMap { $0.bridge?.bridge }
        var faults: [Fault] = []
        for (list, plugin, bridge) in firsts
        where bridge?.isGateway ?? (plugin["type"]?.text == PTP.name) {
            for pool in Pool.all(of: plugin, in: list) {
                let other = host.links.sorted { $0.key < $1.key }.first { name, link in
                    link.kind != "veth"
                        && !(bridge.map { name.hasPrefix($0.bridge + ".") } ?? false)
                        && !bridges.contains(name)
                        && link.addresses.contains { $0.network.overlaps(pool.subnet) }
                }
                guard let other,
                    let address = other.value.addresses.first(where: {
                        $0.network.overlaps(pool.subnet)
                    })
                else { continue }
                faults.append(
                    Fault(
                        .warning, list.file, "plugins[0].ipam",
                        "\(pool.subnet) overlaps with \(address) of the host's link \(other.key)"))
            }
        }
        return faults
    }
}
