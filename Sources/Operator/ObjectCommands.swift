internal import Addressing
internal import Plan
internal import Plugins
internal import Rtnetlink

/// An object of a plan as a person would name and make it.
///
/// What has no such form is nftables', and is shown as nftables itself writes it.
protocol CommandObject: Resource where Target == Kernel {
    /// What kind of an object of the kernel it is.
    var objectKind: String { get }
    /// Where it is.
    var place: Side { get }
    /// The commands of iproute2 and procps that make it.
    func commands(_ names: CommandNames) -> [String]
}

/// What commands call what they are about.
struct CommandNames {
    /// The container's namespace, a name below /run/netns: a variable of the shell.
    static let namespace = "\"$NETNS\""
    /// The container's interface.
    let interface: String

    /// A command of iproute2 on a side.
    func on(_ side: Side, _ program: String, _ words: String) -> String {
        side == .host ? "\(program) \(words)" : "\(program) -n \(Self.namespace) \(words)"
    }

    /// The argument as the shell takes it for one word.
    static func quoted(_ text: String) -> String {
        let plain = text.allSatisfy {
            $0.isASCII && ($0.isLetter || $0.isNumber || "_-.:/,@%+=".contains($0))
        }
        return plain && !text.isEmpty
            ? text : "'" + text.replacing("'", with: "'\\''") + "'"
    }
}

/// The name and the value of an option, or nothing where there is no value.
private func option(_ name: String, _ value: (some CustomStringConvertible)?) -> String {
    value.map { " \(name) \(CommandNames.quoted($0.description))" } ?? ""
}

/// A flag of a link, or nothing where it does not matter.
private func flag(_ name: String, _ value: Bool?) -> String {
    value.map { " \(name) \($0 ? "on" : "off")" } ?? ""
}

private func sysctl(_ path: String, _ value: String, on side: Side) -> String {
    let command = "sysctl -qw \(CommandNames.quoted("\(path)=\(value)"))"
    return side == .host ? command : "ip netns exec \(CommandNames.namespace) \(command)"
}

extension Link: CommandObject {
    var objectKind: String {
        switch kind {
        case .bridge: "bridge"
        case .veth: "veth pair"
        case .ifb: "ifb"
        }
    }
    var place: Side { side }

    func commands(_ names: CommandNames) -> [String] {
        var words = "link add \(name)" + option("address", mac) + option("mtu", mtu)
        words += option("txqueuelen", queueLength) + option("master", master)
        switch kind {
        case .bridge(let filtersVLANs):
            words += " type bridge" + (filtersVLANs ? " vlan_filtering 1" : "")
        case .veth(let peer):
            words += " type veth peer name \(peer.name)" + option("address", peer.mac)
            words += option("mtu", mtu)
            if peer.side != side {
                words += " netns " + (peer.side == .container ? CommandNames.namespace : "1")
            }
        case .ifb: words += " type ifb"
        }
        var commands = [names.on(side, "ip", words)]
        for (key, isSet) in [
            ("accept_ra", ignoresRouterAdvertisements), ("accept_dad", skipsDuplicateDetection),
        ] where isSet {
            commands.append(sysctl("net/ipv6/conf/\(name)/\(key)", "0", on: side))
        }
        if linkLocal != .kernels {
            commands.append(names.on(side, "ip", "link set \(name) addrgenmode none"))
        }
        if let alias {
            commands.append(
                names.on(side, "ip", "link set \(name) alias \(CommandNames.quoted(alias))"))
        }
        let port = flag("hairpin", hairpin) + flag("isolated", isIsolated)
        if hairpin == true || isIsolated == true {
            commands.append(names.on(side, "bridge", "link set dev \(name)\(port)"))
        }
        let flags = flag("promisc", promiscuous) + (isUp == true ? " up" : "")
        if !flags.isEmpty { commands.append(names.on(side, "ip", "link set \(name)\(flags)")) }
        if linkLocal == .own, let own = mac?.linkLocal {
            commands += [
                names.on(side, "ip", "address add \(own)/128 dev \(name) nodad noprefixroute"),
                names.on(side, "ip", "route add fe80::/64 dev \(name) metric 256"),
            ]
        }
        return commands
    }
}

extension ContainerLink: CommandObject {
    var objectKind: String {
        switch kind {
        case .dummy: "dummy"
        case .macvlan: "macvlan"
        case .ipvlan: "ipvlan"
        case .vlan: "VLAN"
        case .tap: "tap"
        }
    }
    var place: Side { .container }

    func commands(_ names: CommandNames) -> [String] {
        let settings = option("address", mac) + option("mtu", mtu)
        let isOnHost = lower?.side == .host
        let first = isOnHost ? firstName : name
        var words = "link add \(first)"
        if let lower { words += " link \(lower.name ?? "\"$MASTER\"")" }
        words += settings
        if isOnHost { words += " netns \(CommandNames.namespace)" }
        switch kind {
        case .dummy: words += " type dummy"
        case .macvlan(let mode, let queue):
            words += " type macvlan mode \(mode.rawValue)" + option("bcqueuelen", queue)
        case .ipvlan(let mode): words += " type ipvlan mode \(mode.rawValue)"
        case .vlan(let id): words += " type vlan id \(id)"
        case .tap(let tap):
            words = "tuntap add mode tap name \(name)" + option("user", tap.owner)
            words += option("group", tap.group) + (tap.hasManyQueues ? " multi_queue" : "")
        }
        var commands = [names.on(isOnHost ? .host : .container, "ip", words)]
        if isOnHost, lower?.name == nil {
            commands.insert(
                "MASTER=$(ip -o route get 192.0.2.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/')", at: 0)
        }
        var rest = first == name ? "" : " name \(name)"
        if case .tap = kind { rest += settings }
        rest += option("master", master)
        if !rest.isEmpty {
            commands.append(names.on(.container, "ip", "link set \(first)\(rest)"))
        }
        if let alias {
            commands.append(
                names.on(
                    .container, "ip", "link set \(name) alias \(CommandNames.quoted(alias))"))
        }
        return commands
    }
}

extension MovedLink: CommandObject {
    var objectKind: String { "link of the host" }
    var place: Side { .container }

    func commands(_ names: CommandNames) -> [String] {
        let found =
            switch device {
            case .named(let name): name
            case .withMAC(let mac):
                "$(ip -o link | sed -n 's/^[0-9]*: \\([^:@]*\\).*link\\/ether \(mac) .*/\\1/p')"
            case .oneOf(let all): all.first ?? ""
            }
        return [
            "DEVICE=\(found)",
            "ip link property add dev \"$DEVICE\" altname \(CommandNames.quoted(mark)) "
                + "altname \(CommandNames.quoted(mark + "."))\"$DEVICE\"",
            "ip link set \"$DEVICE\" netns \(CommandNames.namespace) name \(name) alias \"$DEVICE\"",
        ]
    }
}

extension LinkUp: CommandObject {
    var objectKind: String { "link" }
    var place: Side { side }
    func commands(_ names: CommandNames) -> [String] {
        [names.on(side, "ip", "link set \(link) up")]
    }
}

extension LinkSettings: CommandObject {
    var objectKind: String { "link" }
    var place: Side { side }
    func commands(_ names: CommandNames) -> [String] {
        let words =
            option("address", mac) + option("mtu", mtu) + flag("promisc", promiscuous)
            + flag("allmulticast", allMulticast) + option("txqueuelen", queueLength)
        return words.isEmpty ? [] : [names.on(side, "ip", "link set \(link)\(words)")]
    }
}

extension Address: CommandObject {
    var objectKind: String { "address" }
    var place: Side { side }
    func commands(_ names: CommandNames) -> [String] {
        var words = "addr add \(prefix) dev \(link)"
        if prefix.family == .v4, prefix.length < 31 { words += " broadcast +" }
        if prefix.family == .v6, !detectsDuplicates { words += " nodad" }
        if !bringsPrefixRoute { words += " noprefixroute" }
        return [names.on(side, "ip", words)]
    }
}

extension GatewayAddress: CommandObject {
    var objectKind: String { "address" }
    var place: Side { .host }
    func commands(_ names: CommandNames) -> [String] {
        Address(prefix, on: link, in: .host, .shared).commands(names)
    }
}

extension Route: CommandObject {
    var objectKind: String { "route" }
    var place: Side { side }
    func commands(_ names: CommandNames) -> [String] {
        var words = "route add \(destination)" + option("via", gateway) + " dev \(link)"
        words += option("src", source) + option("metric", priority) + option("table", table)
        words += option("scope", scope) + option("mtu", mtu) + option("advmss", advmss)
        return [names.on(side, "ip", words)]
    }
}

extension ListedRoute: CommandObject {
    var objectKind: String { "route" }
    var place: Side { side }
    func commands(_ names: CommandNames) -> [String] { [command("replace", names)] }

    fileprivate func command(_ verb: String, _ names: CommandNames) -> String {
        names.on(
            side, "ip",
            "route \(verb) \(destination)" + option("via", gateway) + " dev \(names.interface)"
                + option("src", source) + " proto \(origin) table \(table)")
    }
}

extension ReplacedRoute: CommandObject {
    var objectKind: String { "route" }
    var place: Side { route.side }
    func commands(_ names: CommandNames) -> [String] {
        [route.command("del", names)] + (successor?.commands(names) ?? [])
    }
}

extension PolicyRule: CommandObject {
    var objectKind: String { "rule" }
    var place: Side { side }
    func commands(_ names: CommandNames) -> [String] {
        [names.on(side, "ip", "rule add from \(source) lookup \(table)")]
    }
}

extension Sysctl: CommandObject {
    var objectKind: String { "sysctl" }
    var place: Side { side }
    func commands(_ names: CommandNames) -> [String] {
        [sysctl(path, value, on: side) + (isOptional ? " || true" : "")]
    }
}

extension BridgeVLANs: CommandObject {
    var objectKind: String { "VLANs" }
    var place: Side { side }
    func commands(_ names: CommandNames) -> [String] {
        var commands: [String] = []
        if untagged != 1, !tagged.contains(1) {
            commands.append(names.on(side, "bridge", "vlan del dev \(port) vid 1"))
        }
        for number in tagged.union([untagged].compactMap { $0 }).sorted() {
            let rest = number == untagged ? " pvid untagged" : ""
            commands.append(names.on(side, "bridge", "vlan add dev \(port) vid \(number)\(rest)"))
        }
        return commands
    }
}

extension VRF: CommandObject {
    var objectKind: String { "VRF" }
    var place: Side { .container }
    func commands(_ names: CommandNames) -> [String] {
        [
            names.on(
                .container, "ip", "link add \(name) up type vrf table \(table ?? 1)")
        ]
    }
}

extension VRFMember: CommandObject {
    var objectKind: String { "link" }
    var place: Side { .container }
    func commands(_ names: CommandNames) -> [String] {
        [names.on(.container, "ip", "link set \(link) master \(vrf ?? "")")]
    }
}

extension AdmittedAddresses: CommandObject {
    var objectKind: String { "admission" }
    var place: Side { .host }
    func commands(_ names: CommandNames) -> [String] {
        guard case .zone(let zone) = gate else { return [] }
        return addresses.map {
            "firewall-cmd -q --zone=\(CommandNames.quoted(zone)) "
                + "--add-source=\($0)/\($0.family.bitWidth)"
        }
    }
}
