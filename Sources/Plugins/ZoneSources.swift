package import Addressing
package import Netlink
import Nftables
package import Plan
package import PluginRuntime
package import Rtnetlink
import SystemPackage

/// Admits a container's packets by a zone of firewalld: its addresses are sources of the zone.
///
/// firewalld knows nothing of owners. Claims say who has put which address into a zone, so that an
/// address stays there for as long as anybody has it, and DEL finds what it must take out.
package struct ZoneSources: Resource {
    /// Whose addresses these are.
    package let owner: Owner
    /// The container's addresses; at DEL those of the result, if there is one.
    package let addresses: [IPAddress]
    /// The zone.
    package let zone: String

    /// Addresses of an owner in a zone.
    package init(owner: Owner, addresses: [IPAddress], zone: String) {
        self.owner = owner
        self.addresses = addresses
        self.zone = zone
    }

    package var sharing: Sharing { .owned }
    /// ADD need not look first: `write` finds what is there.
    package var isExclusive: Bool { true }
    package var description: String { "sources of zone \(zone) of \(owner.tag)" }

    private static let table = Table(.inet, "cni_firewalld")
    private static let maps = [
        Claims("holders4", in: table, of: [.ipv4]), Claims("holders6", in: table, of: [.ipv6]),
    ]

    package func read(_ kernel: Kernel) throws(KernelError) -> ZoneSources? {
        let own = try holders(kernel).own
        guard !own.isEmpty, let zones = try FirewalldZones.open() else { return nil }
        var found: [IPAddress] = []
        for address in addresses where own.contains(address) {
            if try zones.zone(of: address) == zone { found.append(address) }
        }
        return ZoneSources(owner: owner, addresses: found, zone: zone)
    }

    package func differences(from found: ZoneSources) -> [Difference] {
        addresses.filter { !found.addresses.contains($0) }.map {
            Difference("source \($0) of zone \(zone)", wanted: "present", found: "absent")
        }
    }

    package func write(_ kernel: Kernel, over found: ZoneSources?) throws(KernelError) {
        let before = try holders(kernel)
        guard let zones = try FirewalldZones.open() else {
            throw KernelError(
                "find firewalld on the system's bus", .noSuchFileOrDirectory,
                detail: "it does not run")
        }
        // The claims come first: what has been put into a zone has an owner at any time.
        try claim(before.own + addresses.filter { !before.own.contains($0) }, kernel)
        var added: [IPAddress] = []
        do throws(KernelError) {
            for address in addresses where try zones.add(address, to: zone) {
                added.append(address)
            }
        } catch {
            for address in added { try? zones.remove(address, from: zone) }
            try claim(before.own, kernel)
            throw error
        }
        let surplus = before.own.filter { !addresses.contains($0) }
        if !surplus.isEmpty { try release(surplus, keeping: addresses, kernel) }
    }

    package func erase(_ kernel: Kernel) throws(KernelError) {
        let before = try holders(kernel)
        if before.own.isEmpty {
            try removeForeign(before.others, kernel)
        } else {
            try release(before.own, keeping: [], kernel)
        }
    }

    /// Takes addresses out of their zones, but for those that somebody else has, and gives up the claims
    /// to them.
    ///
    /// An ADD that claims one of them meanwhile may find it in its zone still; then it is put back.
    private func release(
        _ gone: [IPAddress], keeping kept: [IPAddress], _ kernel: Kernel
    ) throws(KernelError) {
        let before = try holders(kernel).others
        // With firewalld its zones' sources have gone as well.
        guard let zones = try FirewalldZones.open() else { return try claim(kept, kernel) }
        var former: [String?] = []
        for address in gone {
            let zone = try zones.zone(of: address)
            former.append(zone)
            guard !before.contains(address), let zone else { continue }
            try zones.remove(address, from: zone)
        }
        try claim(kept, kernel)
        let heirs = try holders(kernel).others
        for (address, former) in zip(gone, former) where heirs.contains(address) {
            if try zones.zone(of: address) == nil {
                _ = try zones.add(address, to: former ?? zone)
            }
        }
    }

    /// Takes out what another implementation has put into the zone, which does not say whose it is,
    /// unless somebody has it by now.
    private func removeForeign(
        _ others: [IPAddress], _ kernel: Kernel
    ) throws(KernelError) {
        let gone = addresses.filter { !others.contains($0) }
        guard !gone.isEmpty, let zones = try FirewalldZones.open() else { return }
        for address in gone { try zones.remove(address, from: zone) }
    }

    // MARK: whose addresses they are

    /// The addresses that the owner has claimed, and those of all others.
    private func holders(
        _ kernel: Kernel
    ) throws(KernelError) -> (own: [IPAddress], others: [IPAddress]) {
        var found: (own: [IPAddress], others: [IPAddress]) = ([], [])
        try kernel.changeRules { (rules, _) throws(KernelError) in
            found = ([], [])
            for element in try Self.claims(&rules).joined() {
                guard case .data(let bytes)? = element.value,
                    let address = IPAddress(networkOrder: bytes[...])
                else { continue }
                if element.comment == owner.tag {
                    found.own.append(address)
                } else {
                    found.others.append(address)
                }
            }
        }
        return found
    }

    /// Whether an owner has claimed an address.
    static func hasClaims(_ owner: Owner, _ kernel: Kernel) throws(KernelError) -> Bool {
        try kernel.withRules { (rules) throws(KernelError) in
            guard try rules.contains(table) else { return false }
            return try rules.claims(of: owner, in: maps).contains { !$0.isEmpty }
        }
    }

    /// Whose claims there are.
    static func owners(_ kernel: Kernel) throws(KernelError) -> [Owner] {
        try kernel.withRules { (rules) throws(KernelError) in
            guard try rules.contains(table) else { return [] }
            return try rules.owners(in: maps)
        }
    }

    private static func claims(_ rules: inout Ruleset) throws(KernelError) -> [[Element]] {
        guard try rules.contains(table) else { return maps.map { _ in [] } }
        return try rules.claims(in: maps) { _ in true }
    }

    /// Makes these the owner's claims, and removes the table with the last claim of all.
    private func claim(_ addresses: [IPAddress], _ kernel: Kernel) throws(KernelError) {
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            let there = try Self.claims(&rules)
            let own = there.map { $0.filter { $0.comment == owner.tag } }
            let isLast = zip(there, own).allSatisfy { $0.count == $1.count }
            guard !addresses.isEmpty || !isLast else {
                if try rules.contains(Self.table) { batch.remove(Self.table) }
                return
            }
            if !addresses.isEmpty {
                batch.add(Self.table)
                for claims in Self.maps { batch.add(claims.map) }
            }
            for ((family, claims), own) in zip(zip(Family.allCases, Self.maps), own) {
                let wanted = addresses.filter { $0.family == family }.enumerated().map {
                    claims.element($0, $1.networkOrder, of: owner)
                }
                batch.remove(own, from: claims.map)
                batch.add(wanted, to: claims.map)
            }
        }
    }
}
