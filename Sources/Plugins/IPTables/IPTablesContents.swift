import Addressing
import Nftables
import PluginRuntime

extension IPTablesRules {
    /// The rules that masquerade what leaves some addresses' networks.
    init(masquerading addresses: [IPPrefix], of owner: Owner) {
        self.init(owner: owner, kind: .masquerade)
        let comment = Expression.comment(
            "name: \(owner.network.quoted) id: \(owner.containerID.quoted)")
        contents = Family.allCases.compactMap { family in
            let own = addresses.filter { $0.family == family }
            guard !own.isEmpty else { return nil }
            let (tables, chain) = (IPTables(family), chain(family))
            var networks: [IPPrefix] = []
            for address in own where !networks.contains(address.network) {
                networks.append(address.network)
            }
            var content = Content(family: family)
            content.entries = own.map { address in
                Rule(
                    in: tables.postrouting, owner: owner.tag,
                    IPPrefix(host: address.address).iptables(isSource: true)
                        + [comment, .counter, .verdict(.jump(chain.name))])
            }
            content.rules =
                networks.map { network in
                    Rule(
                        in: chain, owner: owner.tag,
                        network.iptables(isSource: false) + [comment, .counter, .verdict(.accept)])
                } + [
                    Rule(
                        in: chain, owner: owner.tag,
                        family.multicast.iptables(isSource: false, isInverted: true)
                            + [comment, .counter, .masqueradeTarget(chain.table.family)])
                ]
            return content
        }
    }

    /// The rules that lead ports of the host to a container's first address of each family.
    init(_ options: Portmap.Options, to addresses: [IPPrefix], of owner: Owner) {
        self.init(owner: owner, kind: .portMappings)
        for address in addresses {
            let conditions = options.conditions[address.family] ?? .none
            let mappings = options.mappings(of: address.family)
            guard !mappings.isEmpty else { continue }
            ports += mappings.map { Connections.Port($0.number, $0.hostPort) }
            let tables = IPTables(address.family)
            var content = Content(family: address.family)
            content.shared = tables.jumps.map { ($0, false) }
            if options.masquerades {
                if let name = options.markChain {
                    content.foreignChain = Chain(name, in: tables.nat)
                } else {
                    content.shared += tables.marking(bit: options.markBit)
                }
                content.shared += tables.guards.map { ($0, false) }
            }
            content.entries = entries(mappings, conditions, tables)
            content.rules = mappings.flatMap { rules(for: $0, to: address, options, tables) }
            contents.append(content)
        }
    }

    /// What leads connections to the ports into the container's chain, in as few rules as may be.
    private func entries(
        _ mappings: [Portmap.Mapping], _ conditions: PortConditions, _ tables: IPTables
    ) -> [Rule] {
        let comment = Expression.comment(
            "dnat name: \(owner.network.quoted) id: \(owner.containerID.quoted)")
        let target = chain(tables.family).name
        var entries: [Rule] = []
        for name in ["sctp", "tcp", "udp"] {
            var ports: [UInt16] = []
            for mapping in mappings
            where mapping.name == name && !ports.contains(mapping.hostPort) {
                ports.append(mapping.hostPort)
            }
            guard let number = mappings.first(where: { $0.name == name })?.number else { continue }
            for start in stride(from: 0, to: ports.count, by: Expression.mostPorts) {
                let part = ports.dropFirst(start).prefix(Expression.mostPorts)
                let match = Expression.isPort(among: part.map { $0...$0 }, isSource: false)
                entries += conditions.alternatives.map { list in
                    // Links come before the protocol, as iptables has it, addresses behind.
                    Rule(
                        in: tables.hostPorts, owner: owner.tag,
                        list.filter(\.isOfLink).flatMap(\.expressionsOfIPTables)
                            + isProtocol(number)
                            + list.filter(\.isOfAddress).flatMap(\.expressionsOfIPTables)
                            + [comment, match]
                            + list.filter { !$0.isOfLink && !$0.isOfAddress }
                            .flatMap(\.expressionsOfIPTables)
                            + [.counter, .verdict(.jump(target))])
                }
            }
        }
        return entries
    }

    /// What marks connections whose replies would not come back to the host, and what translates all.
    private func rules(
        for mapping: Portmap.Mapping, to address: IPPrefix, _ options: Portmap.Options,
        _ tables: IPTables
    ) -> [Rule] {
        var sources: [IPPrefix?] = []
        if options.masquerades {
            let all = IPPrefix(everythingIn: address.family)
            sources.append(options.masqueradesAll ? all : address.network)
            if address.family == .v4, !options.masqueradesAll {
                sources.append(IPPrefix(host: IPAddress(.v4, bits: 0x7f00_0001)))
            }
        }
        let port: [Expression] =
            mapping.number == Transport.sctp.number
            ? [.isSCTPPort(mapping.hostPort)]
            : [
                .payload(.transport, offset: 2, length: 2, to: Register(word: 0)),
                .compare(Register(word: 0), .equal, mapping.hostPort.networkOrder),
            ]
        let destination =
            mapping.address.map { IPPrefix(host: $0).iptables(isSource: false) } ?? []
        let mark = Expression.verdict(.jump(options.markChain ?? tables.setMark.name))
        let translate = Expression.destinationTarget(
            address.address.networkOrder, port: mapping.containerPort)
        return (sources + [nil]).map { source in
            Rule(
                in: chain(address.family), owner: owner.tag,
                isProtocol(mapping.number) + (source?.iptables(isSource: true) ?? [])
                    + destination + port + [.counter, source == nil ? translate : mark])
        }
    }

    private func isProtocol(_ number: UInt8) -> [Expression] {
        [.meta(.ipProtocol, to: Register(word: 0)), .compare(Register(word: 0), .equal, [number])]
    }
}

extension PortCondition {
    fileprivate var isOfLink: Bool { if case .link = test { true } else { false } }
    fileprivate var isOfAddress: Bool { if case .address = test { true } else { false } }
}

extension String {
    /// The text in quotation marks: names and IDs have none.
    fileprivate var quoted: String { "\"" + self + "\"" }
}
