import Addressing
import Glibc
import Netlink
import Nftables
import Rtnetlink
import SystemBus
import SystemPackage

/// The zones of firewalld, which is asked over the system's bus.
///
/// What is said here holds until firewalld loads its configuration anew.
final class FirewalldZones {
    private let bus: SystemBus

    private init(_ bus: consuming SystemBus) { self.bus = bus }

    private static let name = "org.fedoraproject.FirewallD1"
    private static let zones = SystemBus.Object(
        of: name, "/org/fedoraproject/FirewallD1", name + ".zone")

    /// Asks whether firewalld runs; nil if it does not, or if there is no bus.
    static func open() throws(KernelError) -> FirewalldZones? {
        do throws(BusError) {
            let bus = try SystemBus()
            guard try bus.call("NameHasOwner", of: .bus, [name]).truth() else { return nil }
            return FirewalldZones(bus)
        } catch  where [.noSuchFileOrDirectory, .connectionRefused].contains(error.errno) {
            return nil
        } catch {
            throw KernelError(
                "ask the system's bus for firewalld", error.errno, detail: error.message)
        }
    }

    /// What there is of firewalld in the host's network namespace: of it, or of one that has ended.
    ///
    /// While it loads its configuration anew it has a table that drops everything instead of its own.
    static var traces: [Ruleset.Question] {
        [
            .table(Table(.inet, "firewalld")), .table(Table(.inet, "firewalld_policy_drop")),
            .chain(Chain("FORWARD_direct", in: IPTablesFilter(family: .v4, adminName: "").table)),
        ]
    }

    /// Whether there is anything of firewalld here.
    static func areTraced(_ kernel: Kernel) throws(KernelError) -> Bool {
        try !kernel.findRules(traces).isEmpty
    }

    /// The zone that an address alone has been put into; nil for none.
    func zone(of address: IPAddress) throws(KernelError) -> String? {
        let zone = try call("ask for the zone of \(address)", "getZoneOfSource", [address.source])
        return zone.isEmpty ? nil : zone
    }

    /// Puts an address into a zone; whether it was not there yet.
    func add(_ address: IPAddress, to zone: String) throws(KernelError) -> Bool {
        do throws(KernelError) {
            _ = try call("add \(address) to zone \(zone)", "addSource", [zone, address.source])
            return true
        } catch  where error.detail?.hasPrefix("ZONE_ALREADY_SET") == true {
            return false
        }
    }

    /// Takes an address out of a zone; nothing if it is not there.
    func remove(_ address: IPAddress, from zone: String) throws(KernelError) {
        do throws(KernelError) {
            _ = try call(
                "remove \(address) from zone \(zone)", "removeSource", [zone, address.source])
        } catch
            where ["UNKNOWN_SOURCE", "NOT_ENABLED", "ZONE_CONFLICT", "INVALID_ZONE"].contains(
                error.detail?.prefix { $0 != ":" } ?? "")
        {
            return
        }
    }

    private func call(
        _ operation: String, _ method: String, _ arguments: [String]
    ) throws(KernelError) -> String {
        do throws(BusError) {
            return try bus.call(method, of: Self.zones, arguments).text()
        } catch {
            throw KernelError(operation + " of firewalld", error.errno, detail: error.message)
        }
    }
}

extension IPAddress {
    /// The address as firewalld's zones have it.
    fileprivate var source: String { "\(self)/\(family.bitWidth)" }
}
