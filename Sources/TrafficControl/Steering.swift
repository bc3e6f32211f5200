public import Addressing
internal import CLinux
public import Netlink
internal import Nftables
public import Plan
public import Rtnetlink
internal import SystemPackage

/// Which way packets go, as the container sees it.
public enum Direction: Sendable, Equatable, CustomStringConvertible {
    /// What the container sends, which the host's end receives.
    case egress
    /// What the container receives.
    case ingress

    /// `egress` or `ingress`.
    public var description: String { self == .egress ? "egress" : "ingress" }
    /// A letter for names: `e` or `i`.
    public var letter: String { self == .egress ? "e" : "i" }
}

/// What makes packets of a container one class's and sends them to the tree: an element of a map,
/// whose comment says whose it is, and a chain of nftables on the host's end.
public struct Steering: Resource {
    /// The owner's tag.
    public private(set) var owner: String
    /// The host's end of the container's veth pair.
    public let port: String
    /// Which packets.
    public let direction: Direction
    /// The class they get.
    public private(set) var id: ClassID
    /// The link whose tree has the class.
    public let link: String
    /// The table's name.
    public let table: String
    /// The mark's bits that get the class's number as well; nil for none.
    public var markMask: UInt32?
    /// The only networks whose packets it is about; empty for all.
    public var onlyTo: [IPPrefix] = []
    /// Networks whose packets it is not about.
    public var exceptTo: [IPPrefix] = []
    /// Whose it is.
    public let sharing: Sharing
    /// The rules as found; nil where they are as they should be.
    private var foundRules: [[String]]?
    /// Whether the rules as found send packets to a link that is not there any more.
    private var isAstray = false

    /// The longest tag of an owner, in bytes.
    public static let longestOwner = Element.longestComment

    /// The steering of one direction of a port.
    public init(
        _ direction: Direction, of port: String, to id: ClassID, on link: String, table: String,
        owner: String, _ sharing: Sharing
    ) {
        self.direction = direction
        self.port = port
        self.id = id
        self.link = link
        self.table = table
        self.owner = owner
        self.sharing = sharing
    }

    /// `egress of veth0`.
    public var description: String { "\(direction) of \(port)" }

    /// What the port has, whoever owns it.
    public func read(_ kernel: Kernel) throws(KernelError) -> Steering? {
        var ruleset = try kernel.ruleset()
        guard let element = try ruleset.elements([key], of: map).first ?? nil,
            var found = Steering(element, like: self)
        else { return nil }
        found.foundRules = try ruleset.rules(of: chain) ?? []
        if found.foundRules?.isEmpty == false {
            let index = try kernel.presentIndex(of: link, in: .host)
            found.isAstray = try ruleset.immediates(of: chain).last != index?.bytes
        }
        return found
    }

    /// Puts the element and the chain in place, in one transaction.
    public func write(_ kernel: Kernel, over found: Steering?) throws(KernelError) {
        let rules = rules(link: try kernel.index(of: link, in: .host))
        var ruleset = try kernel.ruleset()
        if found == nil {
            // A chain is rarely there without its element, and removing one costs milliseconds.
            do throws(KernelError) {
                return try ruleset.commit(
                    batch(rules, replacesChain: false, replacesElement: false))
            } catch  where error.errno == .fileExists {}
        }
        try ruleset.commit(batch(rules, replacesChain: true, replacesElement: found != nil))
    }

    private func batch(_ rules: [Rule], replacesChain: Bool, replacesElement: Bool) -> Batch {
        var batch = Batch()
        batch.add(chain.table)
        batch.add(map)
        if replacesChain {
            batch.add(chain)
            batch.remove(chain)
        }
        batch.add(chain, exclusively: true)
        if replacesElement { batch.remove([Element(key)], from: map) }
        batch.add([Element(key, .data(id.bytes), comment: owner)], to: map)
        for rule in rules { batch.add(rule) }
        return batch
    }

    /// Takes the chain and the element away.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        var ruleset = try kernel.ruleset()
        guard let element = try ruleset.elements([key], of: map).first ?? nil,
            element.comment == owner
        else { return }
        var both = Batch()
        both.remove(chain)
        both.remove([Element(key)], from: map)
        do throws(KernelError) {
            try ruleset.commit(both)
        } catch  where error.errno == .noSuchFileOrDirectory {
            // Some kernels take a chain away with its device.
            var one = Batch()
            one.remove([Element(key)], from: map)
            try unlessAbsent { () throws(KernelError) in
                try ruleset.commit(one)
            }
        }
    }

    /// How `found` misses this.
    public func differences(from found: Steering) -> [Difference] {
        let wanted = rules(link: 0).map(\.names)
        let isSame = found.foundRules.map { $0 == wanted } ?? true
        return [
            Difference(in: "\(description): owner", wanted: owner, found: found.owner),
            Difference(in: "\(description): class", wanted: id, found: found.id),
            isSame
                ? nil
                : Difference(
                    "\(description): rules of \(chain)", wanted: wanted.count.description,
                    found: found.foundRules?.isEmpty == true ? "none" : "others"),
            found.isAstray
                ? Difference("\(description): goes to", wanted: link, found: "another link") : nil,
        ].compactMap { $0 }
    }

    private var key: [UInt8] { Element.interfaceName(port) }

    private var map: NamedSet { Steering.map(direction, table) }

    static func map(_ direction: Direction, _ table: String) -> NamedSet {
        NamedSet(
            "\(direction)_class", in: Table(.netdev, table), of: [.interfaceName],
            to: .data([.classID]))
    }

    private var chain: Chain {
        // What the container sends comes in at the host's end, and the other way round.
        let hook: Chain.Hook =
            direction == .egress
            ? .ingress(of: port, priority: 0) : .egress(of: port, priority: 0)
        return Chain("\(direction.letter)-\(port)", in: Table(.netdev, table), hook)
    }

    fileprivate init?(_ element: Element, like other: Steering) {
        guard case .data(let bytes)? = element.value, let number = bytes[...].uint32(at: 0) else {
            return nil
        }
        self = other
        owner = element.comment ?? ""
        id = ClassID(handle: number)
    }

    /// The rules: what must not wait for its turn passes, the rest goes to the tree.
    private func rules(link index: UInt32) -> [Rule] {
        let word = Register(word: 0)
        let toTree: [Expression] =
            [
                .meta(direction == .egress ? .inputName : .outputName, to: word),
                .map(word, by: map.name, to: word),
                .setMeta(.priority, from: word),
            ] + marking(word) + [
                .immediate(index.bytes, to: word),
                .forward(word),
            ]
        var rules = [Rule(in: chain, etherType(UInt16(ETH_P_ARP)) + [.verdict(.accept)])]
        for type: UInt8 in [135, 136] {
            rules.append(
                Rule(
                    in: chain,
                    etherType(UInt16(ETH_P_IPV6)) + [
                        .payload(.network, offset: 6, length: 1, to: word),
                        .compare(word, .equal, [UInt8(IPPROTO_ICMPV6)]),
                        .payload(.network, offset: 40, length: 1, to: word),
                        .compare(word, .equal, [type]), .verdict(.accept),
                    ]))
        }
        for prefix in exceptTo {
            rules.append(Rule(in: chain, remote(prefix) + [.verdict(.accept)]))
        }
        for prefix in onlyTo { rules.append(Rule(in: chain, remote(prefix) + toTree)) }
        if onlyTo.isEmpty { rules.append(Rule(in: chain, toTree)) }
        return rules
    }

    /// Writes the class's number into the bits of the mark that are given.
    private func marking(_ word: Register) -> [Expression] {
        guard let mask = markMask else { return [] }
        let value = UInt32(id.minor) << UInt32(mask.trailingZeroBitCount) & mask
        return [
            .meta(.mark, to: word),
            .bitwise(word, mask: (~mask).bytes, flip: value.bytes, to: word),
            .setMeta(.mark, from: word),
        ]
    }

    private func etherType(_ number: UInt16) -> [Expression] {
        let word = Register(word: 0)
        return [
            .payload(.link, offset: 12, length: 2, to: word),
            .compare(word, .equal, [UInt8(number >> 8), UInt8(number & 0xff)]),
        ]
    }

    /// Whether the packet's far end is in a network.
    private func remote(_ prefix: IPPrefix) -> [Expression] {
        let network = prefix.network
        let bytes = network.address.networkOrder
        let isV4 = bytes.count == 4
        // The container's egress is about where packets go, its ingress about where they are from.
        let offset = (isV4 ? 12 : 8) + (direction == .egress ? bytes.count : 0)
        let register = Register(word: 0)
        var mask = [UInt8](repeating: 0, count: bytes.count)
        for bit in 0..<prefix.length { mask[bit / 8] |= 0x80 >> UInt8(bit % 8) }
        return etherType(UInt16(isV4 ? ETH_P_IP : ETH_P_IPV6)) + [
            .payload(.network, offset: offset, length: bytes.count, to: register),
            .bitwise(
                register, mask: mask, flip: [UInt8](repeating: 0, count: bytes.count),
                to: register),
            .compare(register, .equal, bytes),
        ]
    }
}

extension UInt32 {
    /// The number's bytes in the host's order.
    fileprivate var bytes: [UInt8] { unsafe withUnsafeBytes(of: self) { unsafe Array($0) } }
}

extension ClassID {
    fileprivate var bytes: [UInt8] { handle.bytes }
}

extension Kernel {
    /// Opens the host's nftables.
    func ruleset() throws(KernelError) -> Ruleset {
        try returnHome()
        return try Ruleset()
    }

    /// What of an owner a table steers, found by its comment in the whole map.
    public func steering(
        of owner: String?, _ direction: Direction, on link: String, table: String
    ) throws(KernelError) -> [Steering] {
        var ruleset = try ruleset()
        let elements = try ruleset.elements(of: Steering.map(direction, table)) ?? []
        var found: [Steering] = []
        for element in elements where owner == nil || element.comment == owner {
            let port = String(decoding: element.key.prefix { $0 != 0 }, as: UTF8.self)
            let sample = Steering(
                direction, of: port, to: Tree.root, on: link, table: table, owner: "", .owned)
            if let steering = Steering(element, like: sample) { found.append(steering) }
        }
        return found
    }
}
