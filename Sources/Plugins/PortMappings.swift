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
/// host's address as well. Two more, with the same keys, say which sources to hide.
struct PortMappings: Resource {
    let owner: Owner
    let mappings: [Portmap.Mapping]
    /// The container's first address of each family, with its network.
    let addresses: [IPPrefix]
    let masquerades: Bool
    let masqueradesAll: Bool

    var sharing: Sharing { .owned }
    /// A port of the host leads to one container.
    var isExclusive: Bool { true }
    var description: String { "port mappings of " + owner.tag }

    static let table = Table(.inet, "cni_portmap")

    func read(_ kernel: Kernel) throws(KernelError) -> PortMappings? {
        try kernel.withRules { (rules) throws(KernelError) -> PortMappings? in
            for (chain, wanted) in PortRules.chains {
                guard try rules.rules(of: chain) == wanted.map(\.names) else { return nil }
            }
            var found: [Portmap.Mapping] = []
            for mapping in mappings {
                var isWhole = true
                for (set, element) in elements(of: mapping) {
                    let present = try rules.elements([element.key], of: set)[0]
                    isWhole = isWhole && present == element
                }
                if isWhole { found.append(mapping) }
            }
            for address in addresses where masquerades && !masqueradesAll {
                let chain = PortRules.chain(for: address)
                let wanted = PortRules.rules(for: address)
                guard try rules.rules(of: chain) == wanted.map(\.names) else { return nil }
            }
            return PortMappings(
                owner: owner, mappings: found, addresses: addresses, masquerades: masquerades,
                masqueradesAll: masqueradesAll)
        }
    }

    func write(_ kernel: Kernel, over found: PortMappings?) throws(KernelError) {
        do throws(KernelError) {
            try kernel.addRules { (rules) throws(KernelError) in
                var batch = try structure(&rules)
                for mapping in mappings {
                    for (set, element) in elements(of: mapping) {
                        batch.add([element], to: set, exclusively: true)
                    }
                }
                return batch
            }
        } catch  where error.errno == .fileExists {
            let conflict = try kernel.withRules { (rules) throws(KernelError) -> KernelError? in
                try self.conflict(&rules)
            }
            throw conflict ?? error
        }
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        let tag = owner.tag
        try Self.remove(from: kernel) { $0 == tag }
    }

    func differences(from found: PortMappings) -> [Difference] {
        mappings.filter { !found.mappings.contains($0) }.map {
            Difference("port mapping " + $0.description, wanted: "present", found: "absent")
        }
    }

    /// Removes what has the tags of some owners, and with the last of a network its chain, and with
    /// the last of all the table.
    @discardableResult
    static func remove(
        from kernel: Kernel, _ isStale: (String) -> Bool
    ) throws(KernelError) -> Bool {
        var wasAny = false
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            var (unused, inUse): ([String], [String]) = ([], [])
            var stays = false
            for set in PortRules.allSets {
                var gone: [Element] = []
                for element in try rules.elements(of: set) ?? [] {
                    let isGone = element.comment.map(isStale) ?? false
                    if isGone { gone.append(element) } else { stays = true }
                    guard let chain = element.chain, chain.hasPrefix("net-") else { continue }
                    if isGone { unused.append(chain) } else { inUse.append(chain) }
                }
                batch.remove(gone, from: set)
            }
            wasAny = !batch.isEmpty
            guard wasAny else { return }
            guard stays else {
                batch = Batch()
                return batch.remove(table)
            }
            for name in Swift.Set(unused).subtracting(inUse) {
                batch.remove(Chain(name, in: table))
            }
        }
        return wasAny
    }

    /// The chains, maps and rules that are missing.
    private func structure(_ rules: inout Ruleset) throws(KernelError) -> Batch {
        var batch = Batch()
        if try !rules.has(PortRules.chains[0].chain) {
            batch.add(Self.table)
            for set in PortRules.allSets { batch.add(set) }
            for (chain, _) in PortRules.chains { batch.add(chain, exclusively: true) }
            for (_, rules) in PortRules.chains { for rule in rules { batch.add(rule) } }
        }
        for address in addresses where masquerades && !masqueradesAll {
            let chain = PortRules.chain(for: address)
            guard try !rules.has(chain) else { continue }
            batch.add(chain, exclusively: true)
            for rule in PortRules.rules(for: address) { batch.add(rule) }
        }
        return batch
    }

    /// A mapping's elements, for each of the container's families it is for.
    private func elements(of mapping: Portmap.Mapping) -> [(set: NamedSet, element: Element)] {
        var elements: [(NamedSet, Element)] = []
        for address in addresses
        where mapping.family == nil || mapping.family == address.family {
            let sets = PortRules.Sets(address.family)
            let port = [UInt8(mapping.hostPort >> 8), UInt8(mapping.hostPort & 0xff)]
            let inner = [UInt8(mapping.containerPort >> 8), UInt8(mapping.containerPort & 0xff)]
            let key =
                mapping.address.map { Element.key($0.networkOrder, [mapping.number], port) }
                ?? Element.key([mapping.number], port)
            let isOne = mapping.address != nil
            let target = Element(
                key, .data(Element.key(address.address.networkOrder, inner)), comment: owner.tag)
            let source = Element(key, .verdict(verdict(for: address)), comment: owner.tag)
            elements.append((isOne ? sets.one : sets.any, target))
            elements.append((isOne ? sets.oneSource : sets.anySource, source))
        }
        return elements
    }

    private func verdict(for address: IPPrefix) -> Verdict {
        if masqueradesAll { return .goto(PortRules.everything.name) }
        return masquerades ? .goto(PortRules.chain(for: address).name) : .accept
    }

    /// Who has a port already.
    private func conflict(_ rules: inout Ruleset) throws(KernelError) -> KernelError? {
        for mapping in mappings {
            for (set, element) in elements(of: mapping) {
                guard let other = try rules.elements([element.key], of: set)[0] else { continue }
                return KernelError(
                    "map port " + mapping.description, .fileExists,
                    detail: "it is mapped for \"\(other.comment ?? "")\"")
            }
        }
        return nil
    }
}

extension Portmap.Mapping {
    /// `8080/tcp to 80`.
    var description: String {
        (address.map { "\($0) " } ?? "") + "\(hostPort)/" + name + " to \(containerPort)"
    }
}
