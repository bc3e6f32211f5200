import Addressing
internal import CMd
import CNI
import Netlink
import Nftables
package import PluginRuntime
import Rtnetlink

/// What the Go reference plugins made for a container in tables of nftables, for a DEL or a GC after the
/// programs were swapped.
///
/// What their legacy variant of iptables made is out of nftables' reach.
enum ReferenceTables {
    private static let masquerade = Table(.inet, "cni_plugins_masquerade")
    private static let masqueradeChecks = Chain("masq_checks", in: masquerade)

    /// The tables of a kind, each with the chains that have rules of containers.
    private static func places(_ kind: IPTablesRules.Kind) -> [(table: Table, chains: [Chain])] {
        switch kind {
        case .masquerade: return [(masquerade, [masqueradeChecks])]
        case .portMappings:
            return [TableFamily.ip, .ip6].map { family in
                let table = Table(family, "cni_hostport")
                let names = ["hostports", "hostip_hostports", "masquerading"]
                return (table, names.map { Chain($0, in: table) })
            }
        }
    }

    /// What to look for to see whether there are any.
    static func questions(_ kind: IPTablesRules.Kind) -> [Ruleset.Question] {
        places(kind).map { .table($0.table) }
    }

    /// Removes the rules of an owner; the ports that are free then.
    ///
    /// Those of port mappings say only whose container they are of: where addresses are known, the rules
    /// for others stay, which are those of the container's other networks.
    static func remove(
        of owner: Owner, _ kind: IPTablesRules.Kind, _ addresses: [IPAddress],
        _ rules: inout Ruleset, _ batch: inout Batch
    ) throws(KernelError) -> [Connections.Port] {
        let known = addresses.map(\.networkOrder)
        let prefix = owner.masqueradeHash
        return try remove(kind, &rules, &batch) { rule in
            guard let comment = rule.comment else { return false }
            guard kind == .portMappings else { return comment.hasPrefix(prefix) }
            return comment == owner.containerID
                && (known.isEmpty || (rule.compared + rule.loaded).contains { known.contains($0) })
        }
    }

    /// Removes the rules that the reference made for attachments of a network that are no more.
    ///
    /// In `cni_hostport` a rule says which container it is of, and not which network. What masquerades the
    /// container says both, and the address that the ports lead to: the one goes with the other.
    static func collect(
        _ kind: IPTablesRules.Kind, _ kernel: Kernel, of network: String,
        except valid: Set<NetworkConfiguration.ValidAttachment>
    ) throws(KernelError) {
        let owners = valid.map {
            Owner(network: network, containerID: $0.containerID, interface: $0.interface)
        }
        try collectChains(kind, kernel, of: network, except: owners)
        guard kind == .masquerade else { return }
        let hashes = Set(owners.map(\.masqueradeHash))
        let prefix = Owner.digits(of: network, 16) + "-"
        var freed: [Connections.Port] = []
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            var gone: [(containerID: Substring, address: [UInt8])] = []
            _ = try remove(kind, &rules, &batch) { rule in
                guard let comment = rule.comment, comment.hasPrefix(prefix),
                    !hashes.contains(String(comment.prefix { $0 != "," }))
                else { return false }
                // `…, net: web, if: eth0, id: one`, and first of all what it is from.
                if let id = comment.split(separator: ",").last?.dropFirst(" id: ".utf8.count),
                    let address = rule.compared.first(where: { $0.count > 1 })
                {
                    gone.append((id, address))
                }
                return true
            }
            freed = []
            guard !gone.isEmpty else { return }
            freed = try remove(.portMappings, &rules, &batch) { rule in
                gone.contains { one in
                    rule.comment.map { $0 == one.containerID } == true
                        && (rule.compared + rule.loaded).contains(one.address)
                }
            }
        }
        try kernel.forgetConnections(to: freed)
    }

    /// The same for chains of iptables, whose comments name network and container.
    private static func collectChains(
        _ kind: IPTablesRules.Kind, _ kernel: Kernel, of network: String, except owners: [Owner]
    ) throws(KernelError) {
        let stale = try kernel.withRules { (rules) throws(KernelError) in
            var stale: [Owner] = []
            for family in Family.allCases {
                let start = IPTables(family).start(of: kind)
                for rule in try rules.listedRules(of: start) ?? [] where rule.owner == nil {
                    guard let words = rule.commentOfMatch?.split(separator: "\""),
                        words.count == 4, words[0].hasSuffix("name: "), words[2] == " id: ",
                        words[1] == network
                    else { continue }
                    let id = String(words[3])
                    // Whichever of the container's interfaces it is of: one chain is for all.
                    let owner = Owner(network: network, containerID: id, interface: "")
                    if !owners.contains(where: { $0.containerID == id }), !stale.contains(owner) {
                        stale.append(owner)
                    }
                }
            }
            return stale
        }
        for owner in stale { try IPTablesRules(owner: owner, kind: kind).erase(kernel) }
    }

    /// Removes rules of a kind's chains, and the tables that have none left.
    private static func remove(
        _ kind: IPTablesRules.Kind, _ rules: inout Ruleset, _ batch: inout Batch,
        _ isStale: (ListedRule) -> Bool
    ) throws(KernelError) -> [Connections.Port] {
        var ports: [Connections.Port] = []
        let places = places(kind)
        let looks = try rules.findings(places.map { .table($0.table) })
        for (table, chains) in places where looks[table] != nil {
            var (left, gone) = (0, 0)
            for chain in chains {
                for rule in try rules.listedRules(of: chain) ?? [] {
                    guard isStale(rule) else {
                        left += 1
                        continue
                    }
                    batch.remove(rule: rule.handle, from: chain)
                    gone += 1
                    ports += rule.portsOfMapping
                }
            }
            // The reference makes the whole table anew with every ADD.
            if gone > 0, left == 0 { batch.remove(table) }
        }
        return ports
    }
}

extension ListedRule {
    /// The port of the host that a rule of `cni_hostport` leads to a container.
    fileprivate var portsOfMapping: [Connections.Port] {
        guard let number = compared.first(where: { $0.count == 1 })?.first,
            let port = compared.first(where: { $0.count == 2 }), names.contains("nat")
        else { return [] }
        return [Connections.Port(number, UInt16(port[0]) << 8 | UInt16(port[1]))]
    }
}

extension Owner {
    /// The name that the reference plugins give to what they make for the container: a prefix and
    /// digits of the SHA-512 of network and container ID, whatever the interface.
    package func referenceName(_ prefix: String, length: Int) -> String {
        prefix + Self.digits(of: network + containerID, length - prefix.utf8.count)
    }

    /// What the comment of the reference's masquerading begins with.
    fileprivate var masqueradeHash: String {
        Self.digits(of: network, 16) + "-" + Self.digits(of: interface + ":" + containerID, 16)
    }

    /// The first digits of a text's SHA-512.
    fileprivate static func digits(of text: String, _ count: Int) -> String {
        var digits = [CChar](repeating: 0, count: 2 * Int(SHA512_DIGEST_LENGTH) + 1)
        let text = Array(text.utf8)
        unsafe SHA512Data(text, text.count, &digits)
        return String(
            decoding: digits.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
