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
        return names(lists) + subnets(entries) + bridges(entries) + backends(entries)
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

    /// Addresses that two networks give out, and subnets that two have at different places.
    private func subnets(_ entries: [Entry]) -> [Fault] {
        var seen: [(pool: Pool, entry: Entry)] = []
        var faults: [Fault] = []
        for entry in entries {
            // The addresses of such an interface are known to nobody but its container.
            if [Dummy.name, Tap.name].contains(entry.json["type"]?.text) { continue }
            for pool in Pool.all(of: entry.json, in: entry.list) {
                let others = seen.filter {
                    $0.entry.list.name != entry.list.name && $0.pool.subnet.overlaps(pool.subnet)
                }
                let fault = {
                    (severity: Fault.Severity, entry: Entry, other: Entry, text: String) in
                    Fault(
                        severity, entry.list.file, "\(entry.place).ipam",
                        text + " of network \(other.list.name) (\(other.list.file))")
                }
                if let other = others.first(where: { $0.pool.overlaps(pool) }) {
                    let text = "\(pool.text) overlaps with \(other.pool.text)"
                    faults.append(fault(.error, entry, other.entry, text))
                } else if let other = others.first(where: { $0.entry.segment != entry.segment }) {
                    let text =
                        "the host has routes to \(pool.subnet) by two links, of which one hides the "
                        + "other: it overlaps with \(other.pool.subnet)"
                    faults.append(fault(.warning, entry, other.entry, text))
                }
                seen.append((pool, entry))
            }
        }
        return faults
    }

    /// Mapped ports of which one half is in one packet filter and the other in another.
    private func backends(_ entries: [Entry]) -> [Fault] {
        let maps = entries.filter { $0.json["type"]?.text == Portmap.name }
        guard let first = maps.first else { return [] }
        let others = maps.filter { $0.json.usesIPTables != first.json.usesIPTables }
        // It is the few that are probably not meant.
        let isFirstOdd = others.count * 2 > maps.count
        let odd =
            isFirstOdd
            ? maps.filter { $0.json.usesIPTables == first.json.usesIPTables } : others
        guard let usual = isFirstOdd ? others.first : first else { return [] }
        return odd.map {
            let name = { (entry: Entry) in entry.json.usesIPTables ? "iptables" : "nftables" }
            return Fault(
                .warning, $0.list.file, "\($0.place).backend",
                "ports are mapped by \(name($0)), those of network \(usual.list.name) by "
                    + "\(name(usual)): which comes first for a port of both is not said")
        }
    }

    /// Networks that want one bridge to be different things.
    private func bridges(_ entries: [Entry]) -> [Fault] {
        var faults: [Fault] = []
        let bridges = entries.filter { $0.json["type"]?.text == Bridge.name }
        for (index, entry) in bridges.enumerated() {
            let name = entry.json.bridgeName
            guard
                let other = bridges[..<index].first(where: {
                    $0.json.bridgeName == name && $0.list.name != entry.list.name
                })
            else { continue }
            let complain = { (key: String, message: String) in
                faults.append(
                    Fault(.warning, entry.list.file, "\(entry.place).\(key)", message))
            }
            let (mtu, otherMTU) = (entry.json.number("mtu"), other.json.number("mtu"))
            if mtu != otherMTU {
                let text = { (mtu: Int) in mtu == 0 ? "none" : "\(mtu)" }
                complain(
                    "mtu",
                    "\(text(mtu)), but network \(other.list.name) has \(text(otherMTU)) on the same "
                        + "bridge \(name)")
            }
            if entry.json["portIsolation"] == .bool(true)
                && other.json["portIsolation"] != .bool(true)
                || entry.json["portIsolation"] != .bool(true)
                    && other.json["portIsolation"] == .bool(true)
            {
                complain(
                    "portIsolation",
                    "only one of this and network \(other.list.name) on the bridge \(name) isolates "
                        + "its ports: the containers of both reach each other")
            }
            let (filters, otherFilters) = (entry.json.filtersVLANs, other.json.filtersVLANs)
            if filters != otherFilters {
                complain(
                    filters ? "vlan" : "bridge",
                    "whichever network makes the bridge \(name) first decides whether it tells VLANs "
                        + "apart: \(other.list.name) and this one differ")
            }
            let families = { (entry: Entry) in
                Set(
                    Pool.all(of: entry.json, in: entry.list).map(\.subnet)
                        .filter { $0.family == .v4 }.map(\.network))
            }
            if entry.json.isGateway, other.json.isGateway,
                entry.json["forceAddress"] != .bool(true),
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
}

extension Lint {
    /// Addresses that a plugin gives out.
    struct Pool {
        /// Their subnet.
        let subnet: IPPrefix
        /// The first and the last of them.
        let first, last: IPAddress

        /// `10.1.0.0/24` or, of a part of it, `10.1.0.10-10.1.0.20`.
        var text: String {
            isWhole ? "\(subnet)" : first == last ? "\(first)" : "\(first)-\(last)"
        }
        private let isWhole: Bool

        private init(_ range: AddressRange) {
            subnet = range.subnet.network
            first = range.start
            last = range.end
            let lasts = [subnet.last, subnet.last.advanced(by: -1)]
            isWhole = first == subnet.first.advanced(by: 1) && lasts.contains(last)
        }

        private init(_ address: IPPrefix) {
            subnet = address.network
            first = address.address
            last = address.address
            isWhole = false
        }

        /// Whether both have an address.
        func overlaps(_ other: Pool) -> Bool {
            first.family == other.first.family && first.bits <= other.last.bits
                && other.first.bits <= last.bits
        }

        /// The addresses that a plugin of a network gives out itself.
        static func all(of json: JSON, in list: ConfigurationList) -> [Pool] {
            guard let ipam = json["ipam"]?["type"]?.text,
                let configuration = try? NetworkConfiguration(json: list.configuration(of: json))
            else { return [] }
            let call = Call(Invocation(verb: .status, containerID: "lint"), configuration)
            switch ipam {
            case HostLocal.name:
                let ranges = ((try? HostLocal.Options(call))?.rangeSets ?? []).flatMap(\.ranges)
                return ranges.map { Pool($0) }
            case Static.name:
                return ((try? Static.add(call))?.addresses ?? []).map { Pool($0.address) }
            default: return []
            }
        }
    }
}

extension Lint.Entry {
    /// The place that its containers are on together; nil for one that is each container's own.
    fileprivate var segment: String? {
        switch json["type"]?.text {
        case Bridge.name?: "bridge \(json.bridgeName) \(json.number("vlan"))"
        case VLAN.name?: "vlan \(json["master"]?.text ?? "") \(json.number("vlanId"))"
        case MACVLAN.name?, IPVLAN.name?: "link \(json["master"]?.text ?? "")"
        default: nil
        }
    }
}

extension IPPrefix {
    /// Whether both have an address.
    func overlaps(_ other: IPPrefix) -> Bool {
        contains(other.first) || other.contains(first)
    }
}
