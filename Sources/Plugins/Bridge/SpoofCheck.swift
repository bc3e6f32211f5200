import Addressing
import Netlink
import Nftables
import Plan
import PluginRuntime
import Rtnetlink
import SystemPackage

/// Drops what a container sends from another hardware address than its own, and if asked to, from
/// other addresses of IPv4 and IPv6, in ARP and in neighbour discovery too.
///
/// The rules are the same for any number of containers: a map leads from a port to the chain that
/// checks it, and sets tell which senders a port may have.
struct SpoofCheck: Resource {
    /// The attachment whose port is watched.
    let owner: Owner
    /// The port of the bridge.
    let port: String
    /// The hardware address of the container's interface; not known at DEL.
    let mac: MACAddress?
    /// Whether addresses are checked too; which ones, `AddressCheck` says.
    var checksAddresses = false

    var sharing: Sharing { .owned }
    /// An owner's elements come into being with its link; older ones are nobody's any more.
    var isExclusive: Bool { true }
    var goesFirst: Bool { true }
    var description: String { "hardware address check of port " + port }

    /// What checks the port.
    private var chain: Chain { checksAddresses ? SpoofRules.addresses : SpoofRules.mac }

    private var portElement: Element {
        Element(Element.interfaceName(port), .verdict(.goto(chain.name)), comment: owner.tag)
    }

    func read(_ kernel: Kernel) throws(KernelError) -> SpoofCheck? {
        try kernel.withRules { (rules) throws(KernelError) in
            for (chain, wanted) in SpoofRules.chains(for: chain) {
                guard try rules.rules(of: chain) == wanted.map(\.names) else { return nil }
            }
            let sender = mac.map { SpoofRules.sender($0, port, owner.tag) }
            let found = try rules.findings(
                [.element(SpoofRules.ports, portElement.key)]
                    + [sender].compactMap { $0 }.map { .element(SpoofRules.senders, $0.key) })
            guard found[SpoofRules.ports, portElement.key]?.value == portElement.value else {
                return nil
            }
            let isAllowed = sender.map { found[SpoofRules.senders, $0.key] != nil } ?? true
            return SpoofCheck(
                owner: owner, port: port, mac: isAllowed ? mac : nil,
                checksAddresses: checksAddresses)
        }
    }

    func write(_ kernel: Kernel, over found: SpoofCheck?) throws(KernelError) {
        guard let mac else { return }
        // The addresses that the port was allowed go with its former check: theirs comes after this.
        let remove = { () throws(KernelError) in try removeClaims(kernel) }
        // The check comes before its port: one that is there is that of a container that lives.
        let isLive = { () throws(KernelError) in try kernel.link(port, in: .host) != nil }
        try kernel.replacing(former: remove, unless: isLive) { () throws(KernelError) in
            try kernel.addRules { (rules) throws(KernelError) in
                var batch = try SpoofRules.missing(for: chain, &rules)
                batch.add(
                    [SpoofRules.claims.element(0, mac.bytes, of: owner)],
                    to: SpoofRules.claims.map)
                batch.add(
                    [SpoofRules.sender(mac, port, owner.tag)], to: SpoofRules.senders,
                    exclusively: true)
                batch.add([portElement], to: SpoofRules.ports, exclusively: true)
                return batch
            }
        }
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        // What the rules were there for must not get by while the link is still there.
        try kernel.stopPort(port, alias: owner.tag, in: .host)
        try removeClaims(kernel)
    }

    private func removeClaims(_ kernel: Kernel) throws(KernelError) {
        try Self.remove(from: kernel, alsoReferences: owner) { (rules, maps) throws(KernelError) in
            try rules.claims(of: owner, in: maps)
        }
    }

    func differences(from found: SpoofCheck) -> [Difference] {
        [Difference(in: description, wanted: mac, found: found.mac)].compactMap { $0 }
    }

    /// Removes what has the tags of some owners.
    static func remove(
        from kernel: Kernel, _ isStale: (String) -> Bool
    ) throws(KernelError) {
        try remove(from: kernel) { (rules, maps) throws(KernelError) in
            try rules.claims(in: maps, of: isStale)
        }
    }

    /// The ports that are watched, and whose they are.
    static func watched(
        _ rules: inout Ruleset
    ) throws(KernelError) -> [(tag: String, port: String)] {
        try (rules.elements(of: SpoofRules.ports) ?? []).compactMap { element in
            let port = String(decoding: element.key.prefix { $0 != 0 }, as: UTF8.self)
            return element.comment.map { ($0, port) }
        }
    }

    /// Removes claims and what they stand for, and what the reference has made for an owner.
    private static func remove(
        from kernel: Kernel, alsoReferences owner: Owner? = nil,
        _ claims: (inout Ruleset, [Claims]) throws(KernelError) -> [[Element]]
    ) throws(KernelError) {
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            if let owner { try ReferenceSpoofCheck.remove(of: owner, &rules, &batch) }
            let maps = SpoofRules.senderMaps
            let gone = try claims(&rules, maps.map(\.claims))
            var departure = Departure(
                from: SpoofRules.table,
                fixed: SpoofRules.chains.count + SpoofRules.allSets.count,
                SpoofRules.chains.filter { $0.chain.hook == nil })
            var ports: [[UInt8]] = []
            for (map, gone) in zip(maps, gone) {
                batch.remove(gone, from: map.claims.map)
                let keys = gone.compactMap(map.key)
                batch.remove(try rules.elements(keys, of: map.set).compactMap { $0 }, from: map.set)
                for element in gone {
                    let port = Array(element.key.prefix(16))
                    if !ports.contains(port) { ports.append(port) }
                }
            }
            let watched = try rules.elements(ports, of: SpoofRules.ports).compactMap { $0 }
            batch.remove(watched, from: SpoofRules.ports)
            for name in watched.compactMap(\.chain) {
                departure.note(Chain(name, in: SpoofRules.table), [], verdicts: 1)
            }
            try departure.complete(&batch, &rules)
        }
    }
}

/// The addresses that a container may send from, where its port's are checked.
struct AddressCheck: Resource {
    let owner: Owner
    /// The port of the bridge.
    let port: String
    /// The addresses of the container's interface; not known at DEL.
    let addresses: [IPAddress]

    var sharing: Sharing { .owned }
    var isExclusive: Bool { true }
    var goesFirst: Bool { true }
    var description: String { "address check of port " + port }

    func read(_ kernel: Kernel) throws(KernelError) -> AddressCheck? {
        try kernel.withRules { (rules) throws(KernelError) in
            let place = { (address: IPAddress) in
                Ruleset.Question.element(
                    SpoofRules.sources(address.family).set, SpoofRules.key(port, address))
            }
            let found = try rules.findings(addresses.map(place))
            let present = addresses.filter { found[place($0)] != nil }
            return AddressCheck(owner: owner, port: port, addresses: present)
        }
    }

    func write(_ kernel: Kernel, over found: AddressCheck?) throws(KernelError) {
        try kernel.addRules { (_) throws(KernelError) in
            // The check of the port has made what they are in.
            var batch = Batch()
            for family in Family.allCases {
                let own = addresses.filter { $0.family == family }
                let sources = SpoofRules.sources(family)
                let claims = own.enumerated().map { number, address in
                    sources.claims.element(number, address.networkOrder, of: owner)
                }
                batch.add(claims, to: sources.claims.map)
                batch.add(
                    own.map { Element(SpoofRules.key(port, $0), comment: owner.tag) },
                    to: sources.set)
            }
            return batch
        }
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        try SpoofCheck(owner: owner, port: port, mac: nil).erase(kernel)
    }

    func differences(from found: AddressCheck) -> [Difference] {
        addresses.filter { !found.addresses.contains($0) }.map {
            Difference("\(description): \($0)", wanted: "allowed", found: "dropped")
        }
    }
}
