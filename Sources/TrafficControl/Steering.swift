public import Addressing
public import Netlink
internal import Nftables
public import Plan
public import Rtnetlink
internal import SystemPackage

/// Which way packets go, as the container sees it.
public enum Direction: Sendable, CaseIterable, CustomStringConvertible {
    /// What the container sends, which the host's end receives.
    case egress
    /// What the container receives.
    case ingress

    /// `egress` or `ingress`.
    public var description: String { self == .egress ? "egress" : "ingress" }
    /// A letter for names: `e` or `i`.
    public var letter: String { self == .egress ? "e" : "i" }
}

/// What makes packets of a container a class's and sends them to the tree.
///
/// It is an element of a map, whose comment says whose it is, and a chain of nftables on the host's end of
/// its veth pair, or in the container on its own end. In other ways filters do what the chain does.
public struct Steering: Sendable, CustomStringConvertible {
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
    /// How they are sent there.
    public var way = SteeringWay.rules
    /// The table's name.
    public let table: String
    /// The mark's bits that get the class's number as well; nil for none.
    public var markMask: UInt32?
    /// The only networks whose packets it is about; empty for all.
    public var onlyTo: [IPPrefix] = []
    /// Networks whose packets it is not about.
    public var exceptTo: [IPPrefix] = []
    /// Whose it is.
    let sharing: Sharing
    /// What has passed, as the kernel shows it.
    public private(set) var count: Count?
    /// The rules as found, where they are others, to be put back if need be.
    private(set) var foundRules: [Rule]?
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
    func read(_ kernel: Kernel) throws(KernelError) -> Steering? {
        let index = try kernel.presentIndex(of: link, in: side) ?? 0
        return try kernel.withRules(side) { (rules) throws(KernelError) in
            guard let element = try rules.elements([key], of: map).first ?? nil,
                var found = Steering(element, like: self)
            else { return nil }
            guard way == .rules else {
                guard try rules.has(chain) else { return found }
                found.way = .rules
                found.foundRules = try rules.foundRules(of: chain)
                return found
            }
            let there = try rules.compare(chain) { self.rules(link: $0 ?? index) }
            found.hasOtherRules = there?.isSame != true
            if found.hasOtherRules { found.foundRules = try rules.foundRules(of: chain) }
            if isForwarding, !isCommon, let link = there?.link { found.isAstray = link != index }
            return found
        }
    }

    /// Puts the element and the chain in place.
    func add(
        to batch: inout Batch, link index: UInt32, replacesChain: Bool, replacesElement: Bool
    ) {
        batch.add(map)
        if replacesChain {
            batch.add(chain)
            batch.remove(chain)
        }
        if way == .rules { batch.add(chain, exclusively: true) }
        if replacesElement { batch.remove([Element(key)], from: map) }
        batch.add([Element(key, .data(id.bytes), comment: owner)], to: map)
        for rule in rules(link: index) { batch.add(rule) }
    }

    /// Takes the element away, and the chain unless the kernel has done so with its device.
    func remove(from batch: inout Batch, withChain: Bool) {
        if withChain { batch.remove(chain) }
        batch.remove([Element(key)], from: map)
    }

    /// How `found` misses this.
    func differences(from found: Steering) -> [Difference] {
        [
            Difference(in: "\(description): owner", wanted: owner, found: found.owner),
            Difference(in: "\(description): class", wanted: id, found: found.id),
            found.hasOtherRules
                ? Difference("\(description): rules of \(chain)", wanted: "ours", found: "others")
                : nil,
            found.way == way
                ? nil : Difference("\(description): \(chain)", wanted: "absent", found: "present"),
            found.isAstray
                ? Difference("\(description): goes to", wanted: link, found: "another link") : nil,
        ].compactMap { $0 }
    }

    var key: [UInt8] { Element.interfaceName(port) }

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

    init?(_ element: Element, like other: Steering) {
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
    /// Whether there is a chain on a port, as the best way has it.
    public func hasChain(_ steering: Steering) throws(KernelError) -> Bool {
        try withRules(steering.side) { (rules) throws(KernelError) in
            try rules.has(steering.chain)
        }
    }

    /// What of an owner a table steers, found by its comment in the whole map; of all owners
    /// without one.
    public func steering(
        of owner: String?, _ direction: Direction, on link: String, in side: Side = .host,
        table: String
    ) throws(KernelError) -> [Steering] {
        let elements = try withRules(side) { (rules) throws(KernelError) in
            try rules.elements(of: Steering.map(direction, table)) ?? []
        }
        var found: [Steering] = []
        for element in elements where owner == nil || element.comment == owner {
            let port = String(decoding: element.key.prefix { $0 != 0 }, as: UTF8.self)
            let sample = Steering(
                direction, of: port, in: side, to: Tree.root, on: link, table: table, owner: "",
                .owned)
            if let steering = Steering(element, like: sample) { found.append(steering) }
        }
        return found
    }
}
