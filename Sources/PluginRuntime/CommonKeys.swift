public import Addressing
internal import CLinux
public import CNI
public import Rtnetlink

/// Keys that several plugins take.
extension Keys {
    /// The key `mtu`, nil for the kernel's choice.
    ///
    /// Where the interface stands on a master, whether it is too small or too large is told together with
    /// what the master has.
    public mutating func mtu(ofMaster isLimitedByMaster: Bool = false) throws(CNIError) -> Int? {
        let mtu = try self(
            "mtu", default: 0, "MTU of the interface in bytes; 0 is the kernel's choice.")
        guard mtu != 0 else { return nil }
        guard !isLimitedByMaster else {
            guard Int32(exactly: mtu) != nil else { throw invalid("mtu", "invalid MTU \(mtu)") }
            return mtu
        }
        let range = Int(ETH_MIN_MTU)...Int(ETH_MAX_MTU)
        guard range.contains(mtu) else {
            throw invalid(
                "mtu",
                "invalid MTU \(mtu) (must be between \(range.lowerBound) and \(range.upperBound))")
        }
        return mtu
    }

    /// Refuses a name under which a link that is made would not be found.
    public func requireLinkName(_ name: String, _ key: String) throws(CNIError) {
        guard !isLinkPattern(name) else {
            throw invalid(key, "not the name of a link: \"\(name)\"")
        }
        guard name.utf8.count <= LinkState.longestName else {
            throw invalid(
                key, "longer than a link's name may be, \(LinkState.longestName) bytes: \"\(name)\""
            )
        }
    }

    /// The keys `master` and `linkInContainer`: the link that the interface stands on.
    public mutating func master() throws(CNIError) -> ContainerLink.Lower {
        let name = try self(
            "master", default: "",
            "The link to stand on; without it, that of the default route.")
        let isInContainer = try self(
            "linkInContainer", default: false, "Looks for the master in the container.")
        return ContainerLink.Lower(
            name.isEmpty ? nil : name, in: isInContainer ? .container : .host)
    }

    /// The keys `ipMasq` and `ipMasqBackend`.
    public mutating func masquerade() throws(CNIError) -> MasqueradeOptions {
        let isOn = try self(
            "ipMasq", default: false, "Masquerades traffic that leaves the network.")
        let backend = try self(
            "ipMasqBackend", default: "nftables",
            "How to masquerade: nftables, or iptables.")
        guard !isOn || ["", "nftables", "iptables"].contains(backend) else {
            throw invalid("ipMasqBackend", "unknown ipmasq backend \"\(backend)\"")
        }
        return MasqueradeOptions(isOn: isOn, usesIPTables: backend == "iptables")
    }

    /// The key `dns`.
    public mutating func dns() throws(CNIError) -> AddResult.DNS? {
        try object("dns", "Name resolution; overrides IPAM's.", AddResult.DNS.init)
    }

    /// The key `ipam.type`, empty where the network has no IPAM.
    public mutating func ipamType() throws(CNIError) -> String {
        try self("ipam.type", default: "", "The plugin that gives out addresses.")
    }

    /// A key with a hardware address, nil if it is absent or empty.
    public mutating func mac(
        _ key: String, _ summary: String
    ) throws(CNIError) -> MACAddress? {
        let text = try self(key, default: "", summary)
        guard !text.isEmpty else { return nil }
        guard let mac = MACAddress(text) else {
            throw invalid(key, "not a hardware address: \"\(text)\"")
        }
        return mac
    }
}

/// Whether and how a network's traffic is masqueraded.
public struct MasqueradeOptions: Sendable {
    /// Whether it is.
    public let isOn: Bool
    /// Whether by rules of iptables.
    public let usesIPTables: Bool
}

extension Call {
    /// The hardware address that CNI_ARGS ask for, if they do.
    public func argumentMAC() throws(CNIError) -> MACAddress? {
        guard let text = try arguments()["MAC"], !text.isEmpty else { return nil }
        guard let mac = MACAddress(text) else {
            throw CNIError(.environment, "CNI_ARGS: MAC: not a hardware address: \"\(text)\"")
        }
        return mac
    }

    /// Throws code 7 from the verbs that cannot do without IPAM if the network has none.
    ///
    /// DEL and GC can: there must be a way back out of any configuration.
    public func requireIPAM(_ message: String) throws(CNIError) {
        let needs = [Verb.add, .check, .status].contains(invocation.verb)
        if needs, configuration.ipamType.isEmpty {
            throw CNIError(.invalidConfiguration, "ipam.type: \(message)")
        }
    }
}

extension AddResult {
    /// Takes the configuration's name resolution in place of IPAM's if a key of it is given, be it
    /// with an empty list.
    public mutating func override(dns other: DNS?) {
        guard let other,
            other.nameservers != nil || other.search != nil || other.options != nil
                || other.domain?.isEmpty == false
        else { return }
        dns = other
    }
}
