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

    /// The network whose configuration names the processes; their names begin with it.
    public let network: String
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
    private var state = State()

    /// The deepest cgroup below the root that can be told.
    public static let deepest = 8

    /// The steering of a link.
    public init(
        _ processes: [Processes], of network: String, by uplink: String, to link: String,
        table: String
    ) {
        self.processes = processes
        self.network = network
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
            guard try rules.has(sending) else { return nil }
            var found = self
            found.state = try state(index, &rules)
            return found
        }
    }

    /// What is not as it should be.
    private struct State {
        /// Chains of others' rules, or that are not there.
        var others: [Chain] = []
        /// Processes that are not in the maps.
        var misses: [Processes] = []
        /// What the processes' names stand beside in the maps, and should not any more.
        var stale: [(map: NamedSet, element: Element)] = []
        /// Chains on links that they do not leave by any more.
        var former: [Chain] = []
    }

    private func state(
        _ index: UInt32, _ rules: inout Ruleset
    ) throws(KernelError) -> State {
        var state = State()
        for (chain, list) in [(classing, classingRules), (sending, sendingRules(index))]
        where try rules.hasExactly(list, in: chain) != true { state.others.append(chain) }
        let elements = try Self.elements(table, &rules)
        for one in processes {
            let (map, key) = (one.selector.map(table), one.selector.key)
            let there = elements.first { $0.map == map && $0.element.key == key }?.element
            let isClass = try rules.elements([one.id.bytes], of: classes).first ?? nil
            if there?.value != .data(one.id.bytes) || there?.comment != one.name || isClass == nil {
                state.misses.append(one)
            }
            state.stale += elements.filter {
                $0.element.comment == one.name && ($0.map != map || $0.element.key != key)
            }
        }
        // Another network's processes may leave by another link.
        if elements.allSatisfy({ $0.element.comment?.hasPrefix(network + " ") ?? false }) {
            state.former = try Self.chains(table, &rules).filter { $0.name != sending.name }
        }
        return state
    }

    /// Puts the chains and the elements in place, in one transaction.
    public func write(_ kernel: Kernel, over found: ProcessSteering?) throws(KernelError) {
        let index = try kernel.index(of: link, in: .host)
        try kernel.withRules(.host) { (rules) throws(KernelError) in
            let state = try state(index, &rules)
            var batch = Batch()
            for table in [classing.table, sending.table] { batch.add(table) }
            for map in Self.maps(table) { batch.add(map) }
            batch.add(classes)
            for (chain, list) in [(classing, classingRules), (sending, sendingRules(index))]
            where state.others.contains(chain) {
                batch.add(chain)
                batch.remove(chain)
                batch.add(chain)
                for rule in list { batch.add(rule) }
            }
            for chain in state.former { batch.remove(chain) }
            var removed = state.stale
            for one in state.misses {
                let (map, key) = (one.selector.map(table), one.selector.key)
                if !removed.contains(where: { $0.map == map && $0.element.key == key }),
                    try rules.elements([key], of: map).first ?? nil != nil
                {
                    removed.append((map, Element(key)))
                }
            }
            for (map, element) in removed { batch.remove([Element(element.key)], from: map) }
            for one in state.misses {
                let (map, key) = (one.selector.map(table), one.selector.key)
                batch.add([Element(key, .data(one.id.bytes), comment: one.name)], to: map)
                batch.add([Element(one.id.bytes)], to: classes)
            }
            try rules.commit(batch)
        }
    }

    /// Takes the elements of these processes' names away, and with the last one all of it.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        try Self.erase(processes.map { ($0.id, $0.name) }, table: table, kernel)
    }

    /// Takes what processes have in a group's table away, wherever they leave, and with the last ones all
    /// there is for processes.
    public static func erase(
        _ names: [(id: ClassID, name: String)], table: String, _ kernel: Kernel
    ) throws(KernelError) {
        try kernel.withRules(.host) { (rules) throws(KernelError) in
            var batch = Batch()
            var isLast = true
            for (map, element) in try elements(table, &rules) {
                guard names.contains(where: { $0.name == element.comment }) else {
                    isLast = false
                    continue
                }
                batch.remove([Element(element.key)], from: map)
            }
            let classes = classes(table)
            for (id, _) in names
            where try rules.elements([id.bytes], of: classes).first ?? nil != nil {
                batch.remove([Element(id.bytes)], from: classes)
            }
            if isLast {
                for chain in try chains(table, &rules) { batch.remove(chain) }
                if try isOurs(Table(.inet, table), &rules) { batch.remove(Table(.inet, table)) }
            }
            if !batch.isEmpty { try rules.commit(batch) }
        }
    }

    /// Removes the table that classes what the host sends, if no processes are in its maps.
    static func eraseTable(_ table: String, _ kernel: Kernel) throws(KernelError) {
        try kernel.withRules(.host) { (rules) throws(KernelError) in
            guard try isOurs(Table(.inet, table), &rules), try elements(table, &rules).isEmpty
            else { return }
            var batch = Batch()
            batch.remove(Table(.inet, table))
            try rules.commit(batch)
        }
    }

    /// Whether a table has the chain and the maps for processes, and nothing else.
    private static func isOurs(
        _ table: Table, _ rules: inout Ruleset
    ) throws(KernelError) -> Bool {
        guard try rules.contains(table), try rules.chains(of: table) == [classing(table.name).name]
        else { return false }
        return try Set(rules.sets(of: table)) == Set(maps(table.name).map(\.name))
    }

    /// How `found` misses this.
    public func differences(from found: ProcessSteering) -> [Difference] {
        var all = found.state.misses.map {
            Difference("class \($0.id) of \($0.name)", wanted: "in the maps", found: "not")
        }
        all += found.state.stale.map {
            Difference(
                "class of \($0.element.comment ?? "")", wanted: "once in the maps", found: "more")
        }
        all += found.state.former.map {
            Difference($0.description, wanted: "absent", found: "present")
        }
        if !found.state.others.isEmpty {
            all.append(Difference("\(description): rules", wanted: "ours", found: "others"))
        }
        return all
    }

    private typealias Selector = Processes.Selector

    private var classing: Chain { Self.classing(table) }

    private static func classing(_ table: String) -> Chain {
        // Before what routes again by the mark, as nothing here does.
        Chain("output", in: Table(.inet, table), .output(.filter, priority: -150))
    }

    /// What the names of chains on links begin with.
    static let chainPrefix = "u-"

    private var sending: Chain {
        Chain(
            Self.chainPrefix + uplink, in: Table(.netdev, table),
            .egress(of: uplink, priority: 0))
    }

    /// The chains on links that there are in a group's table.
    private static func chains(
        _ table: String, _ rules: inout Ruleset
    ) throws(KernelError) -> [Chain] {
        let table = Table(.netdev, table)
        return try rules.chains(of: table).filter { $0.hasPrefix(chainPrefix) }
            .map { Chain($0, in: table) }
    }

    /// The name of the set of the processes' classes.
    static let classesName = "process_classes"

    private var classes: NamedSet { Self.classes(table) }

    private static func classes(_ table: String) -> NamedSet {
        NamedSet(classesName, in: Table(.netdev, table), of: [.classID])
    }

    private static func maps(_ table: String) -> [NamedSet] {
        [Selector.netClass(0).map(table), Selector.cgroup(0, level: 1).map(table)]
    }

    private static func elements(
        _ table: String, _ rules: inout Ruleset
    ) throws(KernelError) -> [(map: NamedSet, element: Element)] {
        var all: [(map: NamedSet, element: Element)] = []
        for map in maps(table) {
            all += (try rules.elements(of: map) ?? []).map { (map, $0) }
        }
        return all
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
