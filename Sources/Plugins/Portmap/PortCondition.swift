import Addressing
import Nftables

/// What a connection must be like for a port to be mapped.
struct PortCondition: Sendable, Equatable {
    enum Test: Sendable, Equatable {
        /// Its source or its destination is in one of these networks.
        case address(isSource: Bool, [IPPrefix])
        /// Its source port or its destination port is one of these.
        case port(isSource: Bool, [ClosedRange<UInt16>])
        /// It is of one of these protocols.
        case transport([UInt8])
        /// It comes in or goes out by a link; a name that ends with `*` stands for all that begin so.
        case link(isInput: Bool, String)
        /// Its first packet has a mark, as far as the mask goes.
        case mark(UInt32, mask: UInt32)
        /// It is in one of these states.
        case state(ConnectionStates)
    }

    let test: Test
    /// Whether it must not be so.
    let isInverted: Bool

    /// Whether a mapping of a protocol can meet it at all.
    func admits(_ number: UInt8) -> Bool {
        guard case .transport(let numbers) = test else { return true }
        return numbers.contains(number) != isInverted
    }

    /// The condition in expressions of nftables; none for a protocol, which each mapping has.
    var expressions: [Expression] {
        let comparison: Expression.Comparison = isInverted ? .different : .equal
        switch test {
        case .transport: return []
        case .address(let isSource, let networks):
            guard let family = networks.first?.family else { return [] }
            guard networks.count > 1 else {
                return family.isThePackets
                    + networks[0].isAddress(isSource: isSource, comparison)
            }
            let size = family.bitWidth / 8
            let ranges = Ranges(
                family == .v4 ? .ipv4 : .ipv6,
                networks.map { ($0.first.networkOrder, $0.last.networkOrder) })
            return family.isThePackets + [
                .payload(
                    .network, offset: family.sourceOffset + (isSource ? 0 : size), length: size,
                    to: first),
                .range(first, in: ranges, inverted: isInverted),
            ]
        case .port(let isSource, let ports):
            let load = Expression.payload(
                .transport, offset: isSource ? 0 : 2, length: 2, to: first)
            if ports.count == 1, ports[0].count == 1 {
                return [load, .compare(first, comparison, ports[0].lowerBound.networkOrder)]
            }
            // One range as `nft` writes it.
            if ports.count == 1 {
                let (lower, upper) = (
                    ports[0].lowerBound.networkOrder, ports[0].upperBound.networkOrder
                )
                return [load]
                    + (isInverted
                        ? [.outside(first, lower, upper)]
                        : [.compare(first, .atLeast, lower), .compare(first, .atMost, upper)])
            }
            let ranges = Ranges(
                .port, ports.map { ($0.lowerBound.networkOrder, $0.upperBound.networkOrder) })
            return [load, .range(first, in: ranges, inverted: isInverted)]
        case .link(let isInput, let name): return link(isInput, name, comparison)
        case .mark(let value, let mask):
            let cut = Expression.bitwise(
                first, mask: Claims.word(mask), flip: Claims.word(0), to: first)
            return [.meta(.mark, to: first)] + (mask == .max ? [] : [cut])
                + [.compare(first, comparison, Claims.word(value))]
        case .state(let states):
            return [
                .conntrack(.state, to: first),
                .bitwise(
                    first, mask: Claims.word(states.rawValue), flip: Claims.word(0), to: first),
                .compare(first, isInverted ? .equal : .different, Claims.word(0)),
            ]
        }
    }

    /// The condition as `iptables` writes it, which has one address in a rule.
    var expressionsOfIPTables: [Expression] {
        switch test {
        case .address(let isSource, let networks):
            return networks.first?.iptables(isSource: isSource, isInverted: isInverted) ?? []
        case .port(let isSource, let ports):
            return [.isPort(among: ports, isSource: isSource, isInverted: isInverted)]
        case .state(let states): return [.isInState(states, isInverted: isInverted)]
        case .link, .mark, .transport: return expressions
        }
    }

    /// The conditions of which one must be met: one for each address.
    var alternatives: [PortCondition] {
        guard case .address(let isSource, let networks) = test, !isInverted else { return [self] }
        return networks.map {
            PortCondition(test: .address(isSource: isSource, [$0]), isInverted: false)
        }
    }

    private var first: Register { Register(word: 0) }

    private func link(
        _ isInput: Bool, _ name: String, _ comparison: Expression.Comparison
    ) -> [Expression] {
        let bytes =
            name.utf8.last == UInt8(ascii: "*")
            ? Array(name.utf8.dropLast()) : Element.interfaceName(name)
        return [
            .meta(isInput ? .inputName : .outputName, to: first),
            .compare(first, comparison, bytes),
        ]
    }
}

/// All that a network asks of a family's connections before its ports are mapped.
struct PortConditions: Sendable, Equatable {
    /// The conditions, all of which must be met.
    let all: [PortCondition]
    /// How they were written, by which networks that ask for the same are known.
    let text: String

    /// No conditions.
    static let none = PortConditions(all: [], text: "")

    var isEmpty: Bool { all.isEmpty }

    /// Whether a mapping of a protocol can meet them at all.
    func admit(_ number: UInt8) -> Bool { all.allSatisfy { $0.admits(number) } }

    /// How many lists `alternatives` has.
    var countOfAlternatives: Int {
        all.reduce(1) { min($0 * $1.alternatives.count, 1 << 16) }
    }

    /// The rules that `iptables` would write need these conditions, one list for each.
    var alternatives: [[PortCondition]] {
        all.reduce([[]]) { lists, condition in
            lists.flatMap { list in condition.alternatives.map { list + [$0] } }
        }
    }
}

extension UInt16 {
    /// The two bytes of a port in a packet.
    var networkOrder: [UInt8] { [UInt8(self >> 8), UInt8(self & 0xff)] }
}
