public import Addressing
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

/// What makes packets of a container a class's and sends them to the tree: an element of a map,
/// whose comment says whose it is, and a chain of nftables on the host's end of its veth pair, or
/// in the container on its own end.
public struct Steering: Resource {
    /// The owner's tag.
    public private(set) var owner: String
    /// The link that the packets pass.
    public let port: String
    /// The namespace it is in: the host's end, or the container's own.
    public let side: Side
    /// Which packets.
    public let direction: Direction
    /// The class they get.
    public private(set) var id: ClassID
    /// Those of them that get another one; the first that a packet is in counts.
    public var selections: [Selection] = []
    /// The link whose tree has the classes: the port itself, or another that packets are sent to.
    public let link: String
    /// Whether they have to be sent there.
    public var isForwarding: Bool
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
    /// What has passed, as the kernel shows it.
    public private(set) var count: Count?
    /// Whether the rules as found are others.
    private var hasOtherRules = false
    /// Whether the rules as found send packets to a link that is not there any more.
    private var isAstray = false

    /// Packets and bytes.
    public struct Count: Sendable, Equatable {
        /// Packets.
        public let packets: UInt64
        /// Their bytes, link headers included.
        public let bytes: UInt64
    }

    /// The longest tag of an owner, in bytes.
    public static let longestOwner = Element.longestComment

    /// The steering of one direction of a port.
    public init(
        _ direction: Direction, of port: String, in side: Side = .host, to id: ClassID,
        on link: String, table: String, owner: String, _ sharing: Sharing
    ) {
        self.direction = direction
        self.port = port
        self.side = side
        self.id = id
        self.link = link
        isForwarding = link != port
        self.table = table
        self.owner = owner
        self.sharing = sharing
    }

    /// `egress of veth0`.
    public var description: String { "\(direction) of \(port)" }

    /// What the port has, whoever owns it.
    public func read(_ kernel: Kernel) throws(KernelError) -> Steering? {
        let index = try kernel.presentIndex(of: link, in: side) ?? 0
        return try kernel.withRules(side) { (rules) throws(KernelError) in
            guard let element = try rules.elements([key], of: map).first ?? nil,
                var found = Steering(element, like: self)
            else { return nil }
            var target = index
            if isForwarding, let bytes = try rules.target(of: chain) {
                target = bytes[...].uint32(at: 0) ?? 0
                found.isAstray = target != index
            }
            found.hasOtherRules =
                try rules.hasExactly(self.rules(link: target), in: chain) != true
            return found
        }
    }

    /// The element alone, which says whose class the port has; no look at the rules.
    public func readElement(_ kernel: Kernel) throws(KernelError) -> Steering? {
        try kernel.withRules(side) { (rules) throws(KernelError) in
            (try rules.elements([key], of: map).first ?? nil).flatMap {
                Steering($0, like: self)
            }
        }
    }

    /// Puts the element and the chain in place, in one transaction.
    public func write(_ kernel: Kernel, over found: Steering?) throws(KernelError) {
        let list = rules(link: try kernel.index(of: link, in: side))
        try kernel.withRules(side) { (rules) throws(KernelError) in
            if found == nil {
                // A chain is rarely there without its element, and removing one costs milliseconds.
                do throws(KernelError) {
                    return try rules.commit(
                        batch(list, replacesChain: false, replacesElement: false))
                } catch  where error.errno == .fileExists {}
            }
            try rules.commit(batch(list, replacesChain: true, replacesElement: found != nil))
        }
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
        try kernel.withRules(side) { (rules) throws(KernelError) in
            guard let element = try rules.elements([key], of: map).first ?? nil,
                element.comment == owner
            else { return }
            var both = Batch()
            both.remove(chain)
            both.remove([Element(key)], from: map)
            do throws(KernelError) {
                try rules.commit(both)
            } catch  where error.errno == .noSuchFileOrDirectory {
                // Some kernels take a chain away with its device.
                var one = Batch()
                one.remove([Element(key)], from: map)
                try unlessAbsent { () throws(KernelError) in try rules.commit(one) }
            }
        }
    }

    /// How `found` misses this.
    public func differences(from found: Steering) -> [Difference] {
        [
            Difference(in: "\(description): owner", wanted: owner, found: found.owner),
            Difference(in: "\(description): class", wanted: id, found: found.id),
            found.hasOtherRules
                ? Difference("\(description): rules of \(chain)", wanted: "ours", found: "others")
                : nil,
            found.isAstray
                ? Difference("\(description): goes to", wanted: link, found: "another link") : nil,
        ].compactMap { $0 }
    }

    private var key: [UInt8] { Element.interfaceName(port) }

    var map: NamedSet { Steering.map(direction, table) }

    static func map(_ direction: Direction, _ table: String) -> NamedSet {
        NamedSet(
            "\(direction)_class", in: Table(.netdev, table), of: [.interfaceName],
            to: .data([.classID]), isCounting: true)
    }

    var chain: Chain {
        Chain("\(direction.letter)-\(port)", in: Table(.netdev, table), hook)
    }

    /// What the container sends comes in at the host's end, and the other way round.
    var hook: Chain.Hook {
        (direction == .egress) == (side == .host)
            ? .ingress(of: port, priority: 0) : .egress(of: port, priority: 0)
    }

    fileprivate init?(_ element: Element, like other: Steering) {
        guard case .data(let bytes)? = element.value, let number = bytes[...].uint32(at: 0) else {
            return nil
        }
        self = other
        owner = element.comment ?? ""
        id = ClassID(handle: number)
        count = element.count.map { Count(packets: $0.packets, bytes: $0.bytes) }
    }
}

extension Kernel {
    /// What of an owner a table steers, found by its comment in the whole map; of all owners
    /// without one.
    public func steering(
        of owner: String?, _ direction: Direction, on link: String, table: String
    ) throws(KernelError) -> [Steering] {
        let elements = try withRules(.host) { (rules) throws(KernelError) in
            try rules.elements(of: Steering.map(direction, table)) ?? []
        }
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
