import Addressing
import Netlink
import Nftables
import Rtnetlink

/// Something on the host that admits addresses, and does not know whose they are.
package enum Gate: Sendable, Equatable {
    /// A zone of firewalld.
    case zone(String)
    /// The chains of iptables before nftables, with the operator's chain.
    case legacy(adminChain: String)

    /// The gate, ready to be asked.
    enum Open {
        case zone(FirewalldZones, String)
        case legacy(LegacyChains)
    }

    /// Opens the gate; nil where there is none.
    func open() throws(KernelError) -> Open? {
        switch self {
        case .zone(let name):
            guard let zones = try FirewalldZones.open() else { return nil }
            return .zone(zones, name)
        case .legacy(let adminChain): return .legacy(LegacyChains(adminChain: adminChain))
        }
    }

    /// What an error calls a gate that is not there.
    var absence: String {
        switch self {
        case .zone: "find firewalld on the system's bus"
        case .legacy: "find iptables-legacy"
        }
    }

    /// The table that says whose addresses it admits; it is there for as long as there are any.
    var table: Table {
        switch self {
        case .zone: Table(.inet, "cni_firewalld")
        case .legacy: Table(.inet, "cni_iptables_legacy")
        }
    }

    /// What it has of an address, in words.
    func title(_ address: IPAddress) -> String {
        switch self {
        case .zone(let name): "source \(address) of zone \(name)"
        case .legacy: "rules of iptables-legacy for \(address)"
        }
    }

    /// What it has of an owner, in words.
    func title(of tag: String) -> String {
        switch self {
        case .zone(let name): "sources of zone \(name) of \(tag)"
        case .legacy: "rules of iptables-legacy of \(tag)"
        }
    }
}

extension Gate.Open {
    /// Whether it admits an address.
    func admits(_ address: IPAddress) throws(KernelError) -> Bool {
        switch self {
        case .zone(let zones, let name): try zones.zone(of: address) == name
        case .legacy(let chains): try chains.admits(address)
        }
    }

    /// Admits an address, where it was before if that is known; whether it was not yet.
    func admit(
        _ address: IPAddress, at place: String? = nil
    ) throws(KernelError) -> Bool {
        switch self {
        case .zone(let zones, let name): try zones.add(address, to: place ?? name)
        case .legacy(let chains): try chains.admit(address)
        }
    }

    /// Where an address is admitted, or part of what that takes is there; nil if nowhere.
    func place(of address: IPAddress) throws(KernelError) -> String? {
        switch self {
        case .zone(let zones, _): try zones.zone(of: address)
        case .legacy(let chains): try chains.knows(address) ? "" : nil
        }
    }

    /// Admits an address no longer, at a place or at the one that is asked for; nothing where it did not.
    func dismiss(
        _ address: IPAddress, from place: String? = nil
    ) throws(KernelError) {
        switch self {
        case .zone(let zones, let name): try zones.remove(address, from: place ?? name)
        case .legacy(let chains): try chains.dismiss(address)
        }
    }
}
