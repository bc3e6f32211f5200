import Netlink
import Nftables
import PluginRuntime

/// What each owner has, found by the owner alone: a map from the owner's link and a number, counted
/// from 0, to what it is.
///
/// A map of the kernel is asked by whole keys. With this one DEL knows the keys of what it removes
/// from the others, and need not list them.
struct Claims: Sendable {
    let map: NamedSet

    init(_ name: String, in table: Table, of value: [DataType]) {
        map = NamedSet(name, in: table, of: [.interfaceName, .mark], to: .data(value))
    }

    /// The claim of a number.
    func element(_ number: Int, _ value: [UInt8], of owner: Owner) -> Element {
        Element(Self.key(of: owner, number), .data(value), comment: owner.tag)
    }

    static func key(of owner: Owner, _ number: Int) -> [UInt8] {
        Element.key(Element.interfaceName(owner.hostEnd), word(UInt32(number)))
    }

    /// Four bytes of the host's order.
    static func word(_ number: UInt32) -> [UInt8] {
        unsafe withUnsafeBytes(of: number) { bytes in unsafe Array(bytes) }
    }

    /// The number in four bytes of the host's order.
    static func number(_ word: some Collection<UInt8>) -> UInt32 {
        UInt32(littleEndian: word.reversed().reduce(0) { $0 << 8 | UInt32($1) })
    }
}

extension Ruleset {
    /// The claims of an owner in each of some maps.
    mutating func claims(of owner: Owner, in maps: [Claims]) throws(KernelError) -> [[Element]] {
        var found = maps.map { _ in [Element]() }
        var open = Array(maps.indices)
        var count = 2
        while !open.isEmpty {
            var questions: [Question] = []
            for index in open {
                let next = found[index].count
                questions += (next..<next + count).map {
                    .element(maps[index].map, Claims.key(of: owner, $0))
                }
            }
            let answers = try find(questions)
            for (place, index) in open.enumerated() {
                let part = answers[place * count..<(place + 1) * count]
                found[index] += part.compactMap { $0?.element }
            }
            // The numbers are without gaps: one that is missing ends them.
            open = open.enumerated().filter { place, _ in
                answers[(place + 1) * count - 1] != nil
            }.map(\.element)
            count = max(32, 2 * count)
        }
        let tag = owner.tag
        return found.map { $0.filter { $0.comment == tag } }
    }

    /// The elements of some sets of a table that have these keys.
    ///
    /// Of many the sets are read as a whole: the less time a DEL takes to read, the less often somebody
    /// changes the ruleset meanwhile.
    mutating func elements(
        _ asked: [(set: NamedSet, key: [UInt8])]
    ) throws(KernelError) -> Findings {
        guard asked.count > 1024 else {
            return try findings(asked.map { .element($0.set, $0.key) })
        }
        var findings = Findings()
        var read: Set<NamedSet> = []
        for (set, _) in asked where read.insert(set).inserted {
            for element in try elements(of: set) ?? [] {
                findings[.element(set, element.key)] = Finding(element)
            }
        }
        return findings
    }

    /// The claims that some owners have in each of some maps; reads them all.
    mutating func claims(
        in maps: [Claims], of isStale: (String) -> Bool
    ) throws(KernelError) -> [[Element]] {
        var found: [[Element]] = []
        for claims in maps {
            let elements = try elements(of: claims.map) ?? []
            found.append(elements.filter { $0.comment.map(isStale) ?? false })
        }
        return found
    }

    /// Whose claims there are in some maps.
    mutating func owners(in maps: [Claims]) throws(KernelError) -> [Owner] {
        var owners: [Owner] = []
        var tags: Set<String> = []
        for element in try claims(in: maps, of: { _ in true }).joined() {
            guard let tag = element.comment, tags.insert(tag).inserted, let owner = Owner(tag: tag)
            else { continue }
            owners.append(owner)
        }
        return owners
    }
}

/// Removes with the last element that leads to a chain the chain, and with the last of all the table.
///
/// The kernel counts what leads to a chain, so nobody need look for it.
struct Departure {
    private struct Leaving {
        let chain: Chain
        let rules: Int
        /// Whether the chain is there for all, and goes only with the table.
        let isFixed: Bool
        var verdicts = 0
    }

    private let table: Table
    private let fixed: Int
    private var leaving: [Leaving] = []
    /// How many other chains the batch removes.
    var removed = 0

    /// - Parameters:
    ///   - table: The table that is left.
    ///   - fixed: How many chains and sets the table has for all.
    ///   - chains: Those of the chains that elements lead to, which shows that there are elements.
    init(from table: Table, fixed: Int, _ chains: [(chain: Chain, rules: [Rule])] = []) {
        self.table = table
        self.fixed = fixed
        leaving = chains.map { Leaving(chain: $0.chain, rules: $0.rules.count, isFixed: true) }
    }

    /// Notes that so many fewer elements lead to a chain.
    mutating func note(_ chain: Chain, _ rules: @autoclosure () -> [Rule], verdicts: Int) {
        if let index = leaving.firstIndex(where: { $0.chain.name == chain.name }) {
            leaving[index].verdicts += verdicts
        } else {
            let count = rules().count
            leaving.append(
                Leaving(chain: chain, rules: count, isFixed: false, verdicts: verdicts))
        }
    }

    /// Adds to a batch, which removes those elements, the chains that nothing leads to any more.
    ///
    /// - Returns: Whether the table goes.
    @discardableResult
    func complete(_ batch: inout Batch, _ rules: inout Ruleset) throws(KernelError) -> Bool {
        guard !batch.isEmpty else { return false }
        let findings = try rules.findings([.table(table)] + leaving.map { .chain($0.chain) })
        var isUsed = false
        var gone = removed
        for one in leaving {
            guard let uses = findings[one.chain]?.uses else { continue }
            let rest = uses - one.verdicts
            // Somebody may have removed rules: what is left is then counted.
            guard rest <= one.rules, try rules.countRules(of: one.chain) == rest else {
                isUsed = isUsed || one.isFixed
                continue
            }
            guard !one.isFixed else { continue }
            batch.remove(one.chain)
            gone += 1
        }
        guard !isUsed, let uses = findings[table]?.uses, uses - gone <= fixed else { return false }
        batch = Batch()
        batch.remove(table)
        return true
    }
}
