public import Addressing
internal import CLinux
internal import Netlink
internal import Nftables
internal import Rtnetlink

/// Some of a container's packets, which have a class of their own.
public struct Selection: Sendable, Equatable {
    /// The networks that the far end must be in; empty for any.
    public var prefixes: [IPPrefix] = []
    /// The protocols above IP, IPPROTO_*; empty for any.
    public var protocols: [UInt8] = []
    /// The far end's ports, of TCP, UDP or SCTP; empty for any.
    public var ports: [ClosedRange<UInt16>] = []
    /// The container's own ports; empty for any.
    public var localPorts: [ClosedRange<UInt16>] = []
    /// The class they get.
    public let id: ClassID

    /// All packets, until its other properties are set.
    public init(_ id: ClassID) { self.id = id }
}

extension Steering {
    private static let word = Register(word: 0)

    /// The rules of the port's chain, which send packets to a link.
    func rules(link index: UInt32) -> [Rule] {
        if let foundRules { return foundRules }
        guard way == .rules else { return [] }
        let all = isCommon ? [[.verdict(.goto("\(direction)"))]] : ownRules(link: index)
        return all.map { Rule(in: chain, $0) }
    }

    /// What must not wait for its turn passes, the rest goes to the tree, with the class of the first
    /// selection that it is in.
    func ownRules(link index: UInt32) -> [[Expression]] {
        let word = Self.word
        let send: [Expression] =
            isForwarding
            ? [.immediate(index.bytes, to: word), .forward(word)] : [.verdict(.accept)]
        let isReceiving = hook.number == Int(NF_NETDEV_INGRESS.rawValue)
        let own: [Expression] =
            [
                .meta(isReceiving ? .inputName : .outputName, to: word),
                .map(word, by: map.name, to: word), .setMeta(.priority, from: word),
            ] + marking(id)
        var rules = urgent + unshaped
        if selections.isEmpty {
            rules.append(own + send)
        } else {
            rules.append(own)
            for selection in selections {
                let given: [Expression] =
                    [
                        .immediate(selection.id.bytes, to: word),
                        .setMeta(.priority, from: word),
                    ] + marking(selection.id)
                for match in matches(selection) { rules.append(match + given + send) }
            }
            rules.append(send)
        }
        return rules
    }

    /// Address resolution and neighbour discovery do not wait.
    private var urgent: [[Expression]] {
        let word = Self.word
        let neighbours: [[Expression]] = Selector.neighbourMessages.map { type in
            etherType(UInt16(ETH_P_IPV6)) + [
                .payload(.network, offset: 6, length: 1, to: word),
                .compare(word, .equal, [UInt8(IPPROTO_ICMPV6)]),
                .payload(.network, offset: 40, length: 1, to: word),
                .compare(word, .equal, [type]), .verdict(.accept),
            ]
        }
        return [etherType(UInt16(ETH_P_ARP)) + [.verdict(.accept)]] + neighbours
    }

    /// What the subnets say passes by the tree.
    private var unshaped: [[Expression]] {
        var rules: [[Expression]] = []
        for family in Family.allCases {
            let except = exceptTo.filter { $0.family == family }
            let only = onlyTo.filter { $0.family == family }
            if !except.isEmpty { rules.append(remote(except, family) + [.verdict(.accept)]) }
            guard !onlyTo.isEmpty else { continue }
            rules.append(remote(only, family, inverted: true) + [.verdict(.accept)])
        }
        return rules
    }

    /// The conditions of a selection, a rule's for each family of addresses.
    private func matches(_ selection: Selection) -> [[Expression]] {
        let word = Self.word
        var rest: [Expression] = []
        if !selection.protocols.isEmpty {
            let numbers = Ranges(.ipProtocol, selection.protocols.map { ([$0], [$0]) })
            rest += [.meta(.ipProtocol, to: word), .range(word, in: numbers)]
        }
        let far = direction == .egress ? 2 : 0
        for (ports, offset) in [(selection.ports, far), (selection.localPorts, 2 - far)]
        where !ports.isEmpty {
            let ranges = Ranges(.port, ports.map { ($0.lowerBound.bytes, $0.upperBound.bytes) })
            rest += [
                .payload(.transport, offset: offset, length: 2, to: word),
                .range(word, in: ranges),
            ]
        }
        guard !selection.prefixes.isEmpty else { return [rest] }
        var matches: [[Expression]] = []
        for family in Family.allCases {
            let prefixes = selection.prefixes.filter { $0.family == family }
            if !prefixes.isEmpty { matches.append(remote(prefixes, family) + rest) }
        }
        return matches
    }

    /// Writes a class's number into the bits of the mark that are given.
    private func marking(_ id: ClassID) -> [Expression] {
        guard let mask = markMask else { return [] }
        let value = id.bits(of: mask)
        return [
            .meta(.mark, to: Self.word),
            .bitwise(Self.word, mask: (~mask).bytes, flip: value.bytes, to: Self.word),
            .setMeta(.mark, from: Self.word),
        ]
    }

    private func etherType(_ number: UInt16) -> [Expression] {
        [
            .payload(.link, offset: 12, length: 2, to: Self.word),
            .compare(Self.word, .equal, number.bytes),
        ]
    }

    /// Whether the packet is of a family, and its far end in one of some networks, or in none.
    private func remote(
        _ prefixes: [IPPrefix], _ family: Family, inverted: Bool = false
    ) -> [Expression] {
        let isV4 = family == .v4
        let start = etherType(UInt16(isV4 ? ETH_P_IP : ETH_P_IPV6))
        guard !prefixes.isEmpty else { return start }
        let length = isV4 ? 4 : 16
        // The container's egress is about where packets go, its ingress about where they are from.
        let offset = (isV4 ? 12 : 8) + (direction == .egress ? length : 0)
        let networks = prefixes.map { ($0.first.networkOrder, $0.last.networkOrder) }
        let ranges = Ranges(isV4 ? .ipv4 : .ipv6, networks)
        return start + [
            .payload(.network, offset: offset, length: length, to: Self.word),
            .range(Self.word, in: ranges, inverted: inverted),
        ]
    }
}

extension UInt16 {
    /// The number's bytes in the network's order.
    fileprivate var bytes: [UInt8] { [UInt8(self >> 8), UInt8(self & 0xff)] }
}
