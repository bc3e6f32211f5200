internal import Addressing
internal import CNI
internal import IPAM
internal import PluginRuntime
internal import Plugins

/// What networks are to each other, and to the host's packet filter.
extension Lint {
    /// A plugin's configuration, where it stands, and what its plugin makes of it.
    fileprivate struct Entry {
        let list: ConfigurationList
        let json: JSON
        let place: String
        let bridge: Bridge.Options?
        let portmap: Portmap.Options?

        init(_ json: JSON, at index: Int, in list: ConfigurationList) {
            self.list = list
            self.json = json
            place = "plugins[\(index)]"
            bridge = list.options(Bridge.self, of: json)
            portmap = list.options(Portmap.self, of: json)
        }

        var type: String { json["type"]?.text ?? "" }
    }

    func conflicts(_ lists: [ConfigurationList]) -> [Fault] {
        let entries = lists.flatMap { list in
            list.plugins.enumerated().map { Entry($0.element, at: $0.offset, in: list) }
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
            if [Dummy.name, Tap.name].contains(entry.type) { continue }
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
                } else if let other = others.first(where: { $0.entry.isApart(from: entry) }) {
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
        let maps = entries.compactMap { entry in
            entry.portmap.map { (entry: entry, usesIPTables: $0.usesIPTables) }
        }
        guard let first = maps.first else { return [] }
        let (alike, others) = (
            maps.filter { $0.usesIPTables == first.usesIPTables },
            maps.filter { $0.usesIPTables != first.usesIPTables }
        )
        // It is the few that are probably not meant.
        let isFirstOdd = others.count * 2 > maps.count
        guard let usual = isFirstOdd ? others.first : first else { return [] }
        return (isFirstOdd ? alike : others).map { odd in
            let name = { (usesIPTables: Bool) in usesIPTables ? "iptables" : "nftables" }
            return Fault(
                .warning, odd.entry.list.file, "\(odd.entry.place).backend",
                "ports are mapped by \(name(odd.usesIPTables)), those of network "
                    + "\(usual.entry.list.name) by \(name(usual.usesIPTables)): which comes first "
                    + "for a port of both is not said")
        }
    }

    /// Networks that want one bridge to be different things.
    private func bridges(_ entries: [Entry]) -> [Fault] {
        let bridges = entries.compactMap { entry in
            entry.bridge.map { (entry: entry, options: $0) }
        }
        return bridges.enumerated().flatMap { index, one -> [Fault] in
            let other = bridges[..<index].first {
                $0.options.bridge == one.options.bridge
                    && $0.entry.list.name != one.entry.list.name
            }
            guard let other else { return [] }
            let faults =
                demands(one.options, other.options, of: other.entry.list.name)
                + gateways(one, other)
            return faults.map { key, message in
                Fault(.warning, one.entry.list.file, "\(one.entry.place).\(key)", message)
            }
        }
    }

    /// Settings of a bridge that a network and another one want to be different.
    private func demands(
        _ options: Bridge.Options, _ other: Bridge.Options, of name: String
    ) -> [(key: String, message: String)] {
        var faults: [(key: String, message: String)] = []
        if options.mtu != other.mtu {
            let text = { (mtu: Int?) in mtu.map { "\($0)" } ?? "none" }
            faults.append(
                (
                    "mtu",
                    "\(text(options.mtu)), but network \(name) has \(text(other.mtu)) on the same "
                        + "bridge \(options.bridge)"
                ))
        }
        if options.isIsolated != other.isIsolated {
            faults.append(
                (
                    "portIsolation",
                    "only one of this and network \(name) on the bridge \(options.bridge) isolates "
                        + "its ports: the containers of both reach each other"
                ))
        }
        if options.filtersVLANs != other.filtersVLANs {
            faults.append(
                (
                    options.filtersVLANs ? "vlan" : "bridge",
                    "whichever network makes the bridge \(options.bridge) first decides whether it "
                        + "tells VLANs apart: \(name) and this one differ"
                ))
        }
        return faults
    }

    /// Two subnets that one bridge is to be the gateway of, of which it takes the first.
    private func gateways(
        _ one: (entry: Entry, options: Bridge.Options),
        _ other: (entry: Entry, options: Bridge.Options)
    ) -> [(key: String, message: String)] {
        let (own, others) = (one.entry.networks, other.entry.networks)
        guard one.options.isGateway, other.options.isGateway, !one.options.forceAddress,
            !one.options.filtersVLANs, !own.isEmpty, !others.isEmpty, own != others
        else { return [] }
        return [
            (
                "bridge",
                "\(one.options.bridge) is also the gateway of network \(other.entry.list.name), with "
                    + "another subnet: the second is refused"
            )
        ]
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
            guard let ipam = json["ipam"]?["type"]?.text, let call = try? list.trialCall(of: json)
            else { return [] }
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
    private var segment: String? {
        switch type {
        case Bridge.name: bridge.map { "bridge \($0.bridge) \($0.vlan)" }
        case VLAN.name: "vlan \(json["master"]?.text ?? "") \(json.number("vlanId"))"
        case MACVLAN.name, IPVLAN.name: "link \(json["master"]?.text ?? "")"
        default: nil
        }
    }

    /// Whether its containers are at another place than another's, as far as both are known.
    fileprivate func isApart(from other: Lint.Entry) -> Bool {
        let isKnown = [self, other].allSatisfy { $0.type != Bridge.name || $0.bridge != nil }
        return isKnown && segment != other.segment
    }

    /// The IPv4 networks that it gives addresses of.
    fileprivate var networks: Set<IPPrefix> {
        Set(
            Lint.Pool.all(of: json, in: list).map(\.subnet).filter { $0.family == .v4 }
                .map(\.network))
    }
}

extension IPPrefix {
    /// Whether both have an address.
    func overlaps(_ other: IPPrefix) -> Bool {
        contains(other.first) || other.contains(first)
    }
}
