package import Addressing
package import Netlink
import Nftables
package import Plan
package import PluginRuntime
package import Rtnetlink
import SystemPackage

/// Admits a container's packets by something that knows nothing of owners, a zone of firewalld or the
/// chains of iptables before nftables.
///
/// Claims say who has had which address admitted, so that it stays so for as long as anybody has the
/// address, and DEL finds what it must take out.
package struct AdmittedAddresses: Resource {
    /// Whose addresses these are.
    package let owner: Owner
    /// The container's addresses; at DEL those of the result, if there is one.
    package let addresses: [IPAddress]
    /// What admits them.
    package let gate: Gate

    /// Addresses of an owner that a gate admits.
    package init(owner: Owner, addresses: [IPAddress], by gate: Gate) {
        self.owner = owner
        self.addresses = addresses
        self.gate = gate
    }

    package var sharing: Sharing { .owned }
    /// ADD need not look first: `write` finds what is there.
    package var isExclusive: Bool { true }
    package var description: String { gate.title(of: owner.tag) }

    /// Where the claims are.
    private var table: Table { gate.table }
    private var maps: [Claims] {
        [Claims("holders4", in: table, of: [.ipv4]), Claims("holders6", in: table, of: [.ipv6])]
    }

    package func read(_ kernel: Kernel) throws(KernelError) -> AdmittedAddresses? {
        let own = try holders(kernel).own
        guard !own.isEmpty, let open = try gate.open() else { return nil }
        var found: [IPAddress] = []
        for address in addresses where own.contains(address) {
            if try open.admits(address) { found.append(address) }
        }
        return AdmittedAddresses(owner: owner, addresses: found, by: gate)
    }

    package func differences(from found: AdmittedAddresses) -> [Difference] {
        addresses.filter { !found.addresses.contains($0) }.map {
            Difference(gate.title($0), wanted: "present", found: "absent")
        }
    }

    package func write(_ kernel: Kernel, over found: AdmittedAddresses?) throws(KernelError) {
        let before = try holders(kernel)
        guard let open = try gate.open() else {
            throw KernelError(gate.absence, .noSuchFileOrDirectory, detail: "it does not run")
        }
        // The claims come first: what is admitted has an owner at any time.
        try claim(before.own + addresses.filter { !before.own.contains($0) }, kernel)
        var added: [IPAddress] = []
        do throws(KernelError) {
            for address in addresses where try open.admit(address) {
                added.append(address)
            }
        } catch {
            for address in added { try? open.dismiss(address) }
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

    /// Takes out addresses, but for those that somebody else has, and gives up the claims
    /// to them.
    ///
    /// An ADD that claims one of them meanwhile may find it admitted still; then it is put back.
    private func release(
        _ gone: [IPAddress], keeping kept: [IPAddress], _ kernel: Kernel
    ) throws(KernelError) {
        let before = try holders(kernel).others
        // With firewalld its zones' sources have gone as well.
        guard let open = try gate.open() else { return try claim(kept, kernel) }
        var former: [String?] = []
        for address in gone {
            let place = try open.place(of: address)
            former.append(place)
            guard !before.contains(address), let place else { continue }
            try open.dismiss(address, from: place)
        }
        try claim(kept, kernel)
        let heirs = try holders(kernel).others
        for (address, former) in zip(gone, former) where heirs.contains(address) {
            if try open.place(of: address) == nil {
                _ = try open.admit(address, at: former)
            }
        }
    }

    /// Takes out what another implementation has had admitted, which does not say whose it is,
    /// unless somebody has it by now.
    private func removeForeign(
        _ others: [IPAddress], _ kernel: Kernel
    ) throws(KernelError) {
        let gone = addresses.filter { !others.contains($0) }
        guard !gone.isEmpty, let open = try gate.open() else { return }
        for address in gone { try open.dismiss(address) }
    }

    // MARK: whose addresses they are

    /// The addresses that the owner has claimed, and those of all others.
    private func holders(
        _ kernel: Kernel
    ) throws(KernelError) -> (own: [IPAddress], others: [IPAddress]) {
        var found: (own: [IPAddress], others: [IPAddress]) = ([], [])
        try kernel.changeRules { (rules, _) throws(KernelError) in
            found = ([], [])
            for element in try claims(&rules).joined() {
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

    /// Whether the owner has claimed an address.
    func hasClaims(_ kernel: Kernel) throws(KernelError) -> Bool {
        try kernel.withRules { (rules) throws(KernelError) in
            guard try rules.contains(table) else { return false }
            return try rules.claims(of: owner, in: maps).contains { !$0.isEmpty }
        }
    }

    /// Whose claims there are.
    func owners(_ kernel: Kernel) throws(KernelError) -> [Owner] {
        try kernel.withRules { (rules) throws(KernelError) in
            guard try rules.contains(table) else { return [] }
            return try rules.owners(in: maps)
        }
    }

    private func claims(_ rules: inout Ruleset) throws(KernelError) -> [[Element]] {
        guard try rules.contains(table) else { return maps.map { _ in [] } }
        return try rules.claims(in: maps) { _ in true }
    }

    /// Makes these the owner's claims, and removes the table with the last claim of all.
    private func claim(_ addresses: [IPAddress], _ kernel: Kernel) throws(KernelError) {
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            let there = try claims(&rules)
            let own = there.map { $0.filter { $0.comment == owner.tag } }
            let isLast = zip(there, own).allSatisfy { $0.count == $1.count }
            guard !addresses.isEmpty || !isLast else {
                if try rules.contains(table) { batch.remove(table) }
                return
            }
            if !addresses.isEmpty {
                batch.add(table)
                for claims in maps { batch.add(claims.map) }
            }
            for ((family, claims), own) in zip(zip(Family.allCases, maps), own) {
                let wanted = addresses.filter { $0.family == family }.enumerated().map {
                    claims.element($0, $1.networkOrder, of: owner)
                }
                batch.remove(own, from: claims.map)
                batch.add(wanted, to: claims.map)
            }
        }
    }
}
