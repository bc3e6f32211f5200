import Addressing

extension AddResult {
    /// Reads a result in the shape of any version.
    ///
    /// - Throws: Code 6 with the path of the member that is wrong.
    public init(_ json: JSON, path: String) throws(CNIError) {
        guard json.members != nil else {
            throw CNIError(.decode, "\(path): expected an object, found \(json.kind)")
        }
        self.init()
        var keys = Keys(json, path: path)
        interfaces = try keys.list("interfaces", "Interfaces.", Interface.init) ?? []
        addresses = try keys.list("ips", "Addresses.", Address.init) ?? []
        routes = try keys.list("routes", "Routes.", RouteEntry.init) ?? []
        dns = try keys.object("dns", "Name resolution.", DNS.init) ?? DNS()
        for family in ["ip4", "ip6"] {
            let legacy = try keys.object(family, "Address of 0.2.0.", LegacyAddress.init)
            guard let legacy else { continue }
            addresses.append(Address(legacy.address, gateway: legacy.gateway))
            routes += legacy.routes
        }
    }

    /// The result in the shape of a version.
    ///
    /// - Throws: Code 999 where the version cannot express it: 0.1.0 and 0.2.0 need an address.
    public func json(for version: SpecVersion) throws(CNIError) -> JSON {
        let versionMember = (key: "cniVersion", value: JSON.string("\(version)"))
        if version <= .v0_2_0 { return .object([versionMember] + (try legacyMembers())) }
        let isModern = version >= .v1_0_0
        let detailed = version >= .v1_1_0
        var members = [versionMember]
        if !interfaces.isEmpty {
            members.append(("interfaces", .array(interfaces.map { $0.json(detailed: detailed) })))
        }
        if !addresses.isEmpty {
            members.append(("ips", .array(addresses.map { $0.json(withVersion: !isModern) })))
        }
        if !routes.isEmpty {
            members.append(("routes", .array(routes.map(\.json))))
        }
        if !isModern || !dns.isEmpty { members.append(("dns", dns.json)) }
        // The reference's order, which a person who compares the two texts will look for.
        return isModern ? JSON.object(members).sorted : .object(members)
    }

    /// One address a family, and routes reduced to destination and gateway.
    private func legacyMembers() throws(CNIError) -> [(key: String, value: JSON)] {
        var members: [(key: String, value: JSON)] = []
        for (key, family) in [("ip4", Family.v4), ("ip6", Family.v6)] {
            guard let address = addresses.first(where: { $0.address.family == family }) else {
                continue
            }
            let routes = routes.filter { $0.destination.family == family }
            var member: JSON = ["ip": .string("\(address.address)")]
            if let gateway = address.gateway {
                member = member.setting("gateway", to: .string("\(gateway)"))
            }
            if !routes.isEmpty {
                let plain = routes.map { RouteEntry($0.destination, gateway: $0.gateway) }
                member = member.setting(
                    "routes", to: .array(plain.map(\.json)))
            }
            members.append((key, member))
        }
        guard !members.isEmpty else {
            throw CNIError(.internalError, "cannot convert: no valid IP addresses")
        }
        return members + [("dns", dns.json)]
    }
}

/// `ip4` and `ip6` of versions 0.1.0 and 0.2.0.
private struct LegacyAddress {
    let address: IPPrefix
    let gateway: IPAddress?
    let routes: [RouteEntry]

    init(_ keys: inout Keys) throws(CNIError) {
        let address: IPPrefix? = try keys("ip", "The address.")
        gateway = try keys("gateway", "The gateway.")
        routes = try keys.list("routes", "The routes.", RouteEntry.init) ?? []
        guard let address else { throw keys.invalid("ip", "missing") }
        self.address = address
    }
}

extension AddResult.Interface {
    init(_ keys: inout Keys) throws(CNIError) {
        self.init(
            name: try keys("name", default: "", "The name."),
            mac: try keys("mac", default: "", "The hardware address."),
            sandbox: try keys("sandbox", default: "", "The namespace."))
        mtu = try keys("mtu", "The MTU in bytes.")
        socketPath = try keys("socketPath", "The socket of a vhost-user interface.")
        pciID = try keys("pciID", "The PCI address of the device.")
    }

    fileprivate func json(detailed: Bool) -> JSON {
        var members: [(key: String, value: JSON)] = [("name", .string(name))]
        if !mac.isEmpty { members.append(("mac", .string(mac))) }
        if detailed, let mtu, mtu != 0 { members.append(("mtu", .integer(mtu))) }
        if !sandbox.isEmpty { members.append(("sandbox", .string(sandbox))) }
        for case (let key, let text?) in [("socketPath", socketPath), ("pciID", pciID)]
        where detailed && !text.isEmpty {
            members.append((key, .string(text)))
        }
        return .object(members)
    }
}

extension AddResult.Address {
    init(_ keys: inout Keys) throws(CNIError) {
        let address: IPPrefix? = try keys("address", "The address with its prefix length.")
        self.init(
            address ?? IPPrefix(everythingIn: .v4),
            gateway: try keys("gateway", "The gateway."),
            interface: try keys("interface", "The index of the interface."))
        guard address != nil else { throw keys.invalid("address", "missing") }
    }

    fileprivate func json(withVersion: Bool) -> JSON {
        var members: [(key: String, value: JSON)] = []
        if withVersion {
            members.append(("version", .string(address.family == .v4 ? "4" : "6")))
        }
        if let interface { members.append(("interface", .integer(interface))) }
        members.append(("address", .string("\(address)")))
        if let gateway { members.append(("gateway", .string("\(gateway)"))) }
        return .object(members)
    }
}

extension RouteEntry {
    /// As in the reference, versions that do not know the metrics have them all the same, and none of
    /// them is zero.
    fileprivate var json: JSON {
        var members: [(key: String, value: JSON)] = [("dst", .string("\(destination)"))]
        if let gateway { members.append(("gw", .string("\(gateway)"))) }
        let metrics = [("mtu", mtu), ("advmss", advmss), ("priority", priority)]
            .filter { $0.1 != 0 }
        for case (let key, let value?) in metrics + [("table", table), ("scope", scope)] {
            members.append((key, .integer(value)))
        }
        return .object(members)
    }
}

extension AddResult.DNS {
    fileprivate var json: JSON {
        var members: [(key: String, value: JSON)] = []
        let strings = { (list: [String]) in JSON.array(list.map { .string($0) }) }
        if let nameservers, !nameservers.isEmpty {
            members.append(("nameservers", strings(nameservers)))
        }
        if let domain, !domain.isEmpty { members.append(("domain", .string(domain))) }
        if let search, !search.isEmpty { members.append(("search", strings(search))) }
        if let options, !options.isEmpty { members.append(("options", strings(options))) }
        return .object(members)
    }
}
