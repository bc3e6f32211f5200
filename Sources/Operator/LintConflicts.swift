internal import Addressing
internal import CNI
internal import IPAM
internal import PluginRuntime
internal import Plugins

/// What networks are to each other, and to the host's packet filter.
extension Lint {
    /// A plugin's configuration and where it stands.
    fileprivate struct Entry {
        let list: ConfigurationList
        let json: JSON
        let place: String
    }

    func conflicts(_ lists: [ConfigurationList]) -> [Fault] {
        let entries = lists.flatMap { list in
            list.plugins.enumerated().map {
                Entry(list: list, json: $0.element, place: "plugins[\($0.offset)]")
            }
        }
        return names(lists) + subnets(entries) + bridges(entries)
    }

    private func names(_ lists: [ConfigurationList]) -> [Fault] {
        lists.enumerated().compactMap { index, list in
            guard let other = lists[..<index].first(where: { $0.name == list.name }) else {
                return nil
            }
            return Fault(
                .error, list.file, "name",
                "\"\(list.name)\" is the network of \(other.file) already")
        }
    }

    /// Addresses that two networks give out.
    private func subnets(_ entries: [Entry]) -> [Fault] {
        var seen: [(subnet: IPPrefix, entry: Entry)] = []
        var faults: [Fault] = []
        for entry in entries {
            for subnet in entry.subnets {
                let other = seen.first {
                    $0.entry.list.name != entry.list.name && $0.subnet.overlaps(subnet)
                }
                if let other {
                    faults.append(
                        Fault(
                            .error, entry.list.file, "\(entry.place).ipam",
                            "\(subnet) overlaps with \(other.subnet) of network "
                                + "\(other.entry.list.name) (\(other.entry.list.file))"))
                }
                seen.append((subnet, entry))
            }
        }
        return faults
    }

    /// Networks that want one bridge to be different things.
    private func bridges(_ entries: [Entry]) -> [Fault] {
        var faults: [Fault] = []
        let bridges = entries.filter { $0.json["type"]?.text == Bridge.name }
        for (index, entry) in bridges.enumerated() {
            let name = entry.json["bridge"]?.text ?? "cni0"
            guard
                let other = bridges[..<index].first(where: {
                    $0.json["bridge"]?.text ?? "cni0" == name && $0.list.name != entry.list.name
                })
            else { continue }
            let complain = { (key: String, message: String) in
                faults.append(
                    Fault(.warning, entry.list.file, "\(entry.place).\(key)", message))
            }
            let (mtu, otherMTU) = (entry.json.number("mtu"), other.json.number("mtu"))
            if mtu != otherMTU {
                complain(
                    "mtu",
                    "\(mtu), but network \(other.list.name) has \(otherMTU) on the same bridge \(name)"
                )
            }
            let (filters, otherFilters) = (entry.json.filtersVLANs, other.json.filtersVLANs)
            if filters != otherFilters {
                complain(
                    filters ? "vlan" : "bridge",
                    "whichever network makes the bridge \(name) first decides whether it tells VLANs "
                        + "apart: \(other.list.name) and this one differ")
            }
            let isGateway = { (entry: Entry) in
                entry.json["isGateway"] == .bool(true)
                    || entry.json["isDefaultGateway"] == .bool(true)
            }
            let families = { (entry: Entry) in
                Set(entry.subnets.filter { $0.family == .v4 }.map(\.network))
            }
            if isGateway(entry), isGateway(other), entry.json["forceAddress"] != .bool(true),
                !filters, !families(entry).isEmpty, !families(other).isEmpty,
                families(entry) != families(other)
            {
                complain(
                    "bridge",
                    "\(name) is also the gateway of network \(other.list.name), with another subnet: "
                        + "the second is refused")
            }
        }
        return faults
    }

    /// Packet filters that do not see each other's rules.
    func packetFilters(_ lists: [ConfigurationList]) -> [Fault] {
        var faults: [Fault] = []
        let legacy = (try? Files.read("/proc/net/ip_tables_names")).map { !$0.isEmpty } ?? false
        for list in lists {
            for (index, plugin) in list.plugins.enumerated() {
                let makesRules =
                    plugin["ipMasq"] == .bool(true) || plugin["macspoofchk"] == .bool(true)
                    || plugin["type"]?.text == Portmap.name
                if legacy, makesRules {
                    faults.append(
                        Fault(
                            .warning, list.file, "plugins[\(index)]",
                            "this host also has rules of the old iptables (iptables-legacy), which "
                                + "see the packets too: a drop there counts here"))
                }
            }
        }
        return faults
    }
}

extension Lint {
    /// The subnets of a plugin's own addresses, for who compares networks.
    static func subnets(of json: JSON, in list: ConfigurationList) -> [IPPrefix] {
        guard let ipam = json["ipam"]?["type"]?.text,
            let configuration = try? NetworkConfiguration(json: list.configuration(of: json))
        else { return [] }
        let call = Call(Invocation(verb: .status, containerID: "lint"), configuration)
        switch ipam {
        case HostLocal.name:
            let sets = (try? HostLocal.Options(call))?.rangeSets ?? []
            var subnets: [IPPrefix] = []
            for range in sets.flatMap(\.ranges) where !subnets.contains(range.subnet) {
                subnets.append(range.subnet)
            }
            return subnets
        case Static.name:
            return ((try? Static.add(call))?.addresses ?? []).map(\.address.network)
        default: return []
        }
    }
}

extension Lint.Entry {
    fileprivate var subnets: [IPPrefix] { Lint.subnets(of: json, in: list) }
}

extension JSON {
    fileprivate func number(_ key: String) -> Int {
        if case .integer(let number)? = self[key] { number } else { 0 }
    }

    fileprivate var filtersVLANs: Bool { number("vlan") != 0 || self["vlanTrunk"] != nil }
}

extension IPPrefix {
    fileprivate func overlaps(_ other: IPPrefix) -> Bool {
        contains(other.first) || other.contains(first)
    }
}
