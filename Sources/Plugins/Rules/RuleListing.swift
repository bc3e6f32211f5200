package import Addressing
package import Netlink
import Nftables
package import Plan
import PluginRuntime
package import Rtnetlink
import SystemPackage

/// Whose rules there are on the host, for who looks at all of it.
///
/// Owners are given as the tags that the elements carry.
package enum RuleListing {
    /// A port of the host that leads to a container.
    package struct Mapping: Sendable, Equatable {
        /// The owner's tag.
        package let tag: String
        /// The protocol's number.
        package let number: UInt8
        /// The address of the host, nil for all.
        package let hostAddress: IPAddress?
        /// The port of the host.
        package let hostPort: UInt16
        /// The container's address.
        package let address: IPAddress
        /// The container's port.
        package let port: UInt16
    }

    /// Addresses that are masqueraded.
    package static func masquerades(
        _ kernel: Kernel
    ) throws(KernelError) -> [(tag: String, address: IPAddress)] {
        try kernel.withRules { (rules) throws(KernelError) in
            var found: [(tag: String, address: IPAddress)] = []
            for family in Family.allCases {
                for (tag, address) in try Masquerade.holders(family, &rules) {
                    found.append((tag, address))
                }
                let start = IPTables(family).start(of: .masquerade)
                for rule in try rules.listedRules(of: start) ?? [] {
                    guard let tag = rule.owner, let bytes = rule.compared.first,
                        let address = IPAddress(networkOrder: bytes[...])
                    else { continue }
                    found.append((tag, address))
                }
            }
            return found
        }
    }

    /// Ports of bridges whose senders' hardware addresses are checked.
    package static func spoofChecks(
        _ kernel: Kernel
    ) throws(KernelError) -> [(tag: String, port: String)] {
        try kernel.withRules { (rules) throws(KernelError) in try SpoofCheck.watched(&rules) }
    }

    /// Port mappings.
    package static func mappings(_ kernel: Kernel) throws(KernelError) -> [Mapping] {
        try kernel.withRules { (rules) throws(KernelError) in
            var found: [Mapping] = []
            for family in Family.allCases {
                let sets = PortRules.Sets(family)
                for element in try rules.elements(of: sets.any) ?? [] {
                    if let mapping = Mapping(element, family, hasAddress: false) {
                        found.append(mapping)
                    }
                }
                for element in try rules.elements(of: sets.one) ?? [] {
                    if let mapping = Mapping(element, family, hasAddress: true) {
                        found.append(mapping)
                    }
                }
                found += try mappingsOfIPTables(family, &rules)
            }
            return found
        }
    }
}

extension RuleListing {
    /// The ports of the host that each owner has claimed, whether they lead to it or it waits for them.
    package static func claims(_ kernel: Kernel) throws(KernelError) -> [Mapping] {
        try kernel.withRules { (rules) throws(KernelError) in
            var found: [Mapping] = []
            for sets in PortRules.Sets.all {
                found += try (rules.elements(of: sets.claims.map) ?? []).compactMap { element in
                    guard let claim = sets.claim(element), let tag = element.comment else {
                        return nil
                    }
                    return Mapping(claim, of: tag, sets.family)
                }
            }
            return found
        }
    }

    /// The mappings that are rules of iptables.
    private static func mappingsOfIPTables(
        _ family: Family, _ rules: inout Ruleset
    ) throws(KernelError) -> [Mapping] {
        var (found, chains): ([Mapping], [String]) = ([], [])
        let tables = IPTables(family)
        for entry in try rules.listedRules(of: tables.hostPorts) ?? [] {
            guard entry.owner != nil, case .jump(let name)? = entry.verdict,
                !chains.contains(name)
            else { continue }
            chains.append(name)
            for rule in try rules.listedRules(of: Chain(name, in: tables.nat)) ?? [] {
                if let mapping = Mapping(rule, family) { found.append(mapping) }
            }
        }
        return found
    }
}

extension RuleListing.Mapping {
    /// Reads a rule as `IPTablesRules` writes it.
    fileprivate init?(_ rule: ListedRule, _ family: Family) {
        let size = family.bitWidth / 8
        guard let tag = rule.owner, let target = rule.translation(size: size),
            let address = IPAddress(networkOrder: target.address[...]),
            let number = rule.compared.first(where: { $0.count == 1 })?.first,
            let port = rule.compared.first(where: { $0.count == 2 }).map({
                UInt16($0[0]) << 8 | UInt16($0[1])
            }) ?? rule.portOfSCTP
        else { return nil }
        let host = rule.compared.first { $0.count == size }
        self.init(
            tag: tag, number: number,
            hostAddress: host.flatMap { IPAddress(networkOrder: $0[...]) }, hostPort: port,
            address: address, port: target.port)
    }

    /// What an owner has claimed.
    fileprivate init?(_ claim: PortRules.Claim, of tag: String, _ family: Family) {
        let size = family.bitWidth / 8
        guard let address = IPAddress(networkOrder: claim.target.prefix(size)) else { return nil }
        let port = claim.target.dropFirst(size).prefix(2).reduce(UInt16(0)) {
            $0 << 8 | UInt16($1)
        }
        self.init(
            tag: tag, number: claim.protocolNumber,
            hostAddress: claim.isForAny ? nil : IPAddress(networkOrder: claim.port.prefix(size)),
            hostPort: claim.hostPort, address: address, port: port)
    }

    /// Reads an element as `PortMappings` writes it.
    fileprivate init?(_ element: Element, _ family: Family, hasAddress: Bool) {
        let size = family.bitWidth / 8
        var key = element.key[...]
        let hostAddress = hasAddress ? IPAddress(networkOrder: key.prefix(size)) : nil
        if hasAddress { key = key.dropFirst(size) }
        guard key.count >= 6, case .data(let target)? = element.value, target.count >= size + 2,
            let address = IPAddress(networkOrder: target.prefix(size)), let tag = element.comment
        else { return nil }
        let number = { (bytes: ArraySlice<UInt8>) in
            bytes.prefix(2).reduce(UInt16(0)) { $0 << 8 | UInt16($1) }
        }
        self.init(
            tag: tag, number: key[key.startIndex], hostAddress: hostAddress,
            hostPort: number(key.dropFirst(4)), address: address,
            port: number(target.dropFirst(size)))
    }

    /// `8080/tcp`, `192.0.2.1 8080/tcp`.
    package var hostSide: String {
        let names: [UInt8: String] = [6: "tcp", 17: "udp", 132: "sctp"]
        return (hostAddress.map { "\($0) " } ?? "") + "\(hostPort)/"
            + (names[number] ?? "\(number)")
    }
}

extension RuleListing {
    /// Removes an owner's elements, if the object is made of such; whether it is.
    ///
    /// The links that they are about stay as they are.
    package static func clear(
        _ object: any Resource<Kernel>, _ kernel: Kernel
    ) throws(KernelError) -> Bool {
        switch object {
        case let object as Masquerade:
            try Masquerade.remove(from: kernel) { $0 == object.owner.tag }
        case let object as SpoofCheck:
            try SpoofCheck.remove(from: kernel) { $0 == object.owner.tag }
        case let object as PortMappings:
            try PortMappings.remove(from: kernel) { $0 == object.owner.tag }
        case is IPTablesRules, is Admission, is AdmittedAddresses: try object.erase(kernel)
        default: return false
        }
        return true
    }

    /// Removes every element that carries one of these tags.
    package static func remove(
        _ tags: Set<String>, _ kernel: Kernel
    ) throws(KernelError) {
        try PortMappings.remove(from: kernel) { tags.contains($0) }
        try Masquerade.remove(from: kernel) { tags.contains($0) }
        try SpoofCheck.remove(from: kernel) { tags.contains($0) }
        for owner in tags.compactMap({ Owner(tag: $0) }) {
            for kind in [IPTablesRules.Kind.masquerade, .portMappings] {
                try IPTablesRules(owner: owner, kind: kind).erase(kernel)
            }
            try Admission(
                owner: owner, addresses: [], adminChain: Firewall.standardAdminChain,
                isolation: nil
            ).erase(kernel)
            for gate in [Gate.zone(""), .legacy(adminChain: Firewall.standardAdminChain)] {
                try AdmittedAddresses(owner: owner, addresses: [], by: gate).erase(kernel)
            }
        }
    }
}
