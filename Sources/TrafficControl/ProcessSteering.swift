internal import CLinux
public import Netlink
internal import Nftables
public import Plan
public import Rtnetlink
internal import SystemPackage

/// What makes packets that processes of the host send through a link a class's, and sends them to the
/// group's tree: in a table `inet` of the group's name the host's output is classed by the
/// sender's cgroup, and a chain on the link sends on what has got one of these classes.
public struct ProcessSteering: Resource {
    /// The processes of a cgroup, and their class.
    public struct Processes: Sendable, Equatable {
        /// What tells the processes apart.
        public enum Selector: Sendable, Equatable {
            /// The class identity of a cgroup of version 1, in net_cls.classid.
            case netClass(UInt32)
            /// A cgroup of version 2, by its inode's number, and how deep below the root it is.
            case cgroup(UInt64, level: Int)
        }

        /// What tells them apart.
        public let selector: Selector
        /// Their class.
        public let id: ClassID
        /// The class's name.
        public let name: String

        /// The processes of a cgroup, and their class.
        public init(_ selector: Selector, _ id: ClassID, _ name: String) {
            self.selector = selector
            self.id = id
            self.name = name
        }
    }

    /// The host's link that the packets leave by.
    public let uplink: String
    /// The link whose tree has the classes.
    public let link: String
    /// The group's table.
    public let table: String
    /// The processes that have a class.
    public let processes: [Processes]
    /// Whose it is: the group's.
    public var sharing: Sharing { .shared }
    private var hasOtherRules = false
    private var misses: [Processes] = []

    /// The deepest cgroup below the root that can be told.
    public static let deepest = 8

    /// The steering of a link.
    public init(
        _ processes: [Processes], of uplink: String, to link: String, table: String
    ) {
        self.processes = processes
        self.uplink = uplink
        self.link = link
        self.table = table
    }

    /// `processes' packets through eth0`.
    public var description: String { "processes' packets through \(uplink)" }

    /// What there is; nil without the chain on the link.
    public func read(_ kernel: Kernel) throws(KernelError) -> ProcessSteering? {
        let index = try kernel.presentIndex(of: link, in: .host) ?? 0
        return try kernel.withRules(.host) { (rules) throws(KernelError) in
            guard
                let isSending = try rules.hasExactly(sendingRules(index), in: sending)
            else { return nil }
            var found = self
            let isClassing = try rules.hasExactly(classingRules, in: classing)
            found.hasOtherRules = !isSending || isClassing != true
            for one in processes {
                let (map, key) = (one.selector.map(table), one.selector.key)
                let value = (try rules.elements([key], of: map).first ?? nil)?.value
                let isClass = try rules.elements([one.id.bytes], of: classes).first ?? nil
                if value != .data(one.id.bytes) || isClass == nil { found.misses.append(one) }
            }
            return found
        }
    }

    /// Puts the chains and the elements in place, in one transaction.
    public func write(_ kernel: Kernel, over found: ProcessSteering?) throws(KernelError) {
        let index = try kernel.index(of: link, in: .host)
        let missing = found?.misses ?? processes
        try kernel.withRules(.host) { (rules) throws(KernelError) in
            var batch = Batch()
            for table in [classing.table, sending.table] { batch.add(table) }
            for map in [Selector.netClass(0).map(table), Selector.cgroup(0, level: 1).map(table)] {
                batch.add(map)
            }
            batch.add(classes)
            for (chain, list) in [(classing, classingRules), (sending, sendingRules(index))]
            where try rules.hasExactly(list, in: chain) != true {
                batch.add(chain)
                batch.remove(chain)
                batch.add(chain)
                for rule in list { batch.add(rule) }
            }
            for one in missing {
                let (map, key) = (one.selector.map(table), one.selector.key)
                if try rules.elements([key], of: map).first ?? nil != nil {
                    batch.remove([Element(key)], from: map)
                }
                batch.add([Element(key, .data(one.id.bytes), comment: one.name)], to: map)
                batch.add([Element(one.id.bytes)], to: classes)
            }
            try rules.commit(batch)
        }
    }

    /// Takes the elements of these processes' names away, and with the last one all of it.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        try kernel.withRules(.host) { (rules) throws(KernelError) in
            var batch = Batch()
            var isLast = true
            for map in [Selector.netClass(0).map(table), Selector.cgroup(0, level: 1).map(table)] {
                for element in try rules.elements(of: map) ?? [] {
                    guard processes.contains(where: { $0.name == element.comment }) else {
                        isLast = false
                        continue
                    }
                    batch.remove([Element(element.key)], from: map)
                }
            }
            for one in processes
            where try rules.elements([one.id.bytes], of: classes).first ?? nil != nil {
                batch.remove([Element(one.id.bytes)], from: classes)
            }
            if isLast {
                if try rules.has(sending) { batch.remove(sending) }
                if try rules.contains(classing.table) { batch.remove(classing.table) }
            }
            if !batch.isEmpty { try rules.commit(batch) }
        }
    }

    /// How `found` misses this.
    public func differences(from found: ProcessSteering) -> [Difference] {
        var all = found.misses.map {
            Difference("class \($0.id) of \($0.name)", wanted: "in the maps", found: "not")
        }
        if found.hasOtherRules {
            all.append(Difference("\(description): rules", wanted: "ours", found: "others"))
        }
        return all
    }

    private typealias Selector = Processes.Selector

    private var classing: Chain {
        // Before what routes again by the mark, as nothing here does.
        Chain("output", in: Table(.inet, table), .output(.filter, priority: -150))
    }

    private var sending: Chain {
        Chain("u-\(uplink)", in: Table(.netdev, table), .egress(of: uplink, priority: 0))
    }

    private var classes: NamedSet {
        NamedSet("process_classes", in: Table(.netdev, table), of: [.classID])
    }

    /// Each kind of cgroup is looked up, the deepest last: what is found last counts.
    private var classingRules: [Rule] {
        let word = Register(word: 0)
        let rules: [[Expression]] =
            [
                [
                    .meta(.netClass, to: word),
                    .map(word, by: Selector.netClass(0).map(table).name, to: word),
                    .setMeta(.priority, from: word),
                ]
            ]
            + (1...Self.deepest).map { level in
                [
                    .senderCgroup(level: level, to: word),
                    .map(word, by: Selector.cgroup(0, level: 1).map(table).name, to: word),
                    .setMeta(.priority, from: word),
                ]
            }
        return rules.map { Rule(in: classing, $0) }
    }

    private func sendingRules(_ index: UInt32) -> [Rule] {
        let word = Register(word: 0)
        return [
            Rule(
                in: sending,
                [
                    .meta(.priority, to: word), .lookup(word, in: classes.name),
                    .immediate(index.bytes, to: word), .forward(word),
                ])
        ]
    }
}

extension ProcessSteering.Processes.Selector {
    fileprivate func map(_ table: String) -> NamedSet {
        let table = Table(.inet, table)
        return switch self {
        case .netClass:
            NamedSet("net_cls_class", in: table, of: [.number], to: .data([.classID]))
        case .cgroup:
            NamedSet("cgroup_class", in: table, of: [.cgroup], to: .data([.classID]))
        }
    }

    fileprivate var key: [UInt8] {
        switch self {
        case .netClass(let number): number.bytes
        case .cgroup(let inode, _):
            unsafe withUnsafeBytes(of: inode) { bytes in unsafe Array(bytes) }
        }
    }
}

/// The number of the cgroup of version 2 at a path below the root, or nil if there is none.
public func cgroupNumber(of path: String) -> UInt64? {
    let number = unsafe linux_cgroup(path)
    return number == 0 ? nil : number
}
