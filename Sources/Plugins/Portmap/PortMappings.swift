import Addressing
import Netlink
import Nftables
import Plan
import PluginRuntime
import Rtnetlink
import SystemPackage

/// Leads ports of the host to a container, by the same few rules for any number of them.
///
/// One map has protocol and port and gives the container's address and port, another has the
/// host's address as well. Two more, with the same keys, say which sources to hide. Claims say who
/// wants which port: the first who came has it, and when he goes, the next.
struct PortMappings: Resource {
    let owner: Owner
    let mappings: [Portmap.Mapping]
    /// The container's first address of each family, with its network.
    let addresses: [IPPrefix]
    let masquerades: Bool
    let masqueradesAll: Bool
    /// What connections of a family must be like.
    var conditions: [Family: PortConditions] = [:]
    /// The link whose `route_localnet` comes on after the rules.
    var opened: String?

    var sharing: Sharing { .owned }
    /// An owner's elements come into being once.
    var isExclusive: Bool { true }
    var description: String { "port mappings of " + owner.tag }

    func read(_ kernel: Kernel) throws(KernelError) -> PortMappings? {
        let served = served
        guard !served.isEmpty else { return self }
        return try kernel.withRules { (rules) throws(KernelError) -> PortMappings? in
            var chains = PortRules.chains(needs)
            for address in served where masquerades && !masqueradesAll {
                chains.append((PortRules.chain(for: address), PortRules.rules(for: address)))
            }
            for (chain, wanted) in chains {
                guard try rules.rules(of: chain) == wanted.map(\.names) else { return nil }
            }
            for (chain, wanted) in served.flatMap({ conditionChains($0.family) }) {
                guard try rules.hasExactly(wanted, in: chain) == true else { return nil }
            }
            let families = PortRules.Sets.all
            let own = try rules.claims(of: owner, in: families.map(\.claims))
            var found: [Portmap.Mapping] = []
            for mapping in mappings {
                var isWhole = true
                for address in addresses where mappings(of: address.family).contains(mapping) {
                    let sets = PortRules.Sets(address.family)
                    let claim = PortRules.Claim(mapping, to: address.address)
                    let isClaimed = own[sets.family == .v4 ? 0 : 1].contains {
                        $0.value == .data(claim.bytes)
                    }
                    let maps = sets.maps(claim)
                    let target = try rules.elements([claim.key], of: maps.targets)[0]
                    let source = try rules.elements([claim.key], of: maps.sources)[0]
                    let check = try rules.elements([claim.key], of: maps.conditions)[0]
                    // Where another had the port first, that is as it was at ADD.
                    let isOwn = target?.comment == owner.tag
                    let isServed =
                        isOwn
                        ? target?.value == .data(claim.target)
                            && source?.value == verdict(for: address)
                            && check?.chain == condition(address.family, claim.isForAny)?.name
                        : try isWaiting(for: claim, address, &rules)
                    isWhole =
                        isWhole && isClaimed && target != nil && source != nil && isServed
                }
                if isWhole { found.append(mapping) }
            }
            return PortMappings(
                owner: owner, mappings: found, addresses: addresses, masquerades: masquerades,
                masqueradesAll: masqueradesAll, conditions: conditions)
        }
    }

    /// The chain of a family's conditions for ports of all addresses, or of one; nil without any.
    func condition(_ family: Family, _ isForAny: Bool) -> Chain? {
        guard let conditions = conditions[family], !conditions.isEmpty else { return nil }
        return PortRules.chain(for: conditions, family, isForAny: isForAny)
    }

    /// The chains of a family's conditions that its ports need, with their rules.
    func conditionChains(_ family: Family) -> [(chain: Chain, rules: [Rule])] {
        guard let conditions = conditions[family], !conditions.isEmpty else { return [] }
        return kinds(family).map { isForAny in
            (
                PortRules.chain(for: conditions, family, isForAny: isForAny),
                PortRules.rules(for: conditions, family, isForAny: isForAny)
            )
        }
    }

    /// Whether a family's ports are of all addresses, of one, or of either kind.
    func kinds(_ family: Family) -> [Bool] {
        let mappings = mappings(of: family)
        return [true, false].filter { isForAny in
            mappings.contains { ($0.address == nil) == isForAny }
        }
    }

    /// The addresses that any port leads to.
    var served: [IPPrefix] {
        addresses.filter { !mappings(of: $0.family).isEmpty }
    }

    /// The mappings for connections of a family, as far as these can meet the conditions.
    func mappings(of family: Family) -> [Portmap.Mapping] {
        mappings.filter { $0.isFor(family) && conditions[family]?.admit($0.number) ?? true }
    }

    func write(_ kernel: Kernel, over found: PortMappings?) throws(KernelError) {
        let contested = PortRules.Sets.all.flatMap { [$0.any, $0.one] }
        var hasFormer = false
        let add = { () throws(KernelError) in
            _ = try kernel.addRules(contesting: contested) { (rules) throws(KernelError) in
                var batch = Batch()
                hasFormer = try !draft(&rules, &batch)
                return hasFormer ? Batch() : batch
            }
        }
        try add()
        if hasFormer {
            // The container has been started anew, and has another address or other ports.
            try erase(kernel)
            try add()
        }
        do throws(KernelError) {
            try kernel.forgetConnections(
                to: addresses.flatMap { address in
                    mappings(of: address.family).map { Connections.Port($0.number, $0.hostPort) }
                })
        } catch {
            // To the outside the mappings are made whole or not at all.
            try? erase(kernel)
            throw error
        }
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        try Self.remove(from: kernel) { (rules, maps) throws(KernelError) in
            try rules.claims(of: owner, in: maps)
        }
    }

    func differences(from found: PortMappings) -> [Difference] {
        mappings.filter { !found.mappings.contains($0) }.map {
            Difference("port mapping " + $0.description, wanted: "present", found: "absent")
        }
    }

    /// Which sources to hide.
    func verdict(for address: IPPrefix) -> Element.Value {
        if masquerades && masqueradesAll { return .verdict(.goto(PortRules.everything.name)) }
        return .verdict(
            .goto(masquerades ? PortRules.chain(for: address).name : PortRules.nothing.name))
    }
}

extension Portmap.Mapping {
    /// Whether connections of a family are to be mapped.
    func isFor(_ family: Family) -> Bool { self.family ?? family == family }

    /// `8080/tcp to 80`.
    var description: String {
        (address.map { "\($0) " } ?? "") + "\(hostPort)/" + name + " to \(containerPort)"
    }
}
