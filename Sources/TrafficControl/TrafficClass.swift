internal import CLinux
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// A class of an HTB: what some packets may take of a link's rate.
public struct TrafficClass: Resource {
    /// The link's name.
    public let link: String
    /// The namespace the link is in.
    public let side: Side
    /// The class.
    public let id: ClassID
    /// The class it borrows from, or the qdisc.
    public let parent: ClassID
    /// Whose it is.
    public let sharing: Sharing
    /// Whether it must not be there before.
    public var isExclusive = false
    /// Whether one that is there is right whatever its numbers.
    public var isAsFound = false
    /// What it is always given.
    public var rate: Rate
    /// What it may take at most, borrowing what others leave.
    public var ceil: Rate
    /// What may pass at once at `rate`; nil for what the rate needs.
    public var burst: Burst?
    /// Who is offered what is left first: 0 to 7, 0 being first.
    public var priority = 0
    /// Whether packets wait in it, so that no other class may be in it.
    public var isLeaf = true
    /// Whether it goes with all the classes in it, if it is erased.
    public var takesChildren = false
    /// What may pass at once at `ceil`, and what it may send in its turn in bytes, as the kernel shows them.
    private var found: (ceilBurst: Burst, quantum: UInt32)?
    /// Whether other classes borrow from it, as the kernel shows it.
    public private(set) var hasChildren = false
    /// What was in an attachment's class as it was found, and goes with it: to be put back if need be.
    private var contents: [any Resource<Kernel>] = []

    /// A class of a guaranteed rate and a most.
    public init(
        _ id: ClassID, of parent: ClassID, on link: String, in side: Side = .host,
        rate: Rate, ceil: Rate, _ sharing: Sharing
    ) {
        self.id = id
        self.parent = parent
        self.link = link
        self.side = side
        self.rate = rate
        self.ceil = ceil
        self.sharing = sharing
    }

    /// What others in it have is counted against its numbers.
    public var isChangedBack: Bool { true }

    /// `class 1:10 on shp-e`.
    public var description: String { "class \(id) on \(link)" }

    /// The class as it is, or nil.
    public func read(_ kernel: Kernel) throws(KernelError) -> TrafficClass? {
        guard let index = try kernel.presentIndex(of: link, in: side) else { return nil }
        let message = Message(
            "find \(description)", type: RTM_GETTCLASS, flags: .echo, answer: .acknowledgement,
            tcmsg(index: index, handle: id.handle))
        var found = try ifPresent { () throws(KernelError) in
            try kernel.request(side, message).lazy.compactMap {
                TrafficClass($0, on: link, in: side, sharing)
            }.first
        }
        guard sharing == .owned, let there = found else { return found }
        found?.contents = try there.contents(kernel)
        return found
    }

    /// A link's classes that are in no other one, each with what is in it.
    static func whole(of link: String, in side: Side, _ kernel: Kernel) throws(KernelError)
        -> [TrafficClass]
    {
        var found: [TrafficClass] = []
        for var one in try kernel.trafficClasses(of: link, in: side) where one.parent.minor == 0 {
            one.contents = try one.contents(kernel)
            found.append(one)
        }
        return found
    }

    /// The leaf, or the classes in it with all that is in them.
    private func contents(_ kernel: Kernel) throws(KernelError) -> [any Resource<Kernel>] {
        guard hasChildren else {
            let leaf = try? Qdisc(.fifo(limit: 0), at: id, on: link, in: side, .owned).read(kernel)
            return [leaf].compactMap { $0 }
        }
        var all: [any Resource<Kernel>] = []
        for child in try kernel.trafficClasses(of: link, in: side) where child.parent == id {
            all.append(child)
            all += try child.contents(kernel)
        }
        return all
    }

    /// Makes the class, or changes it while its packets go on.
    public func write(_ kernel: Kernel, over found: TrafficClass?) throws(KernelError) {
        var found = found
        if let there = found {
            // A class keeps its parent for life, and packets wait in those that are in it.
            let isMoved = there.parent != parent
            if there.hasChildren, isMoved || isCrowded(there) {
                try there.eraseChildren(kernel)
            }
            if isMoved {
                try there.erase(kernel)
                found = nil
            }
        }
        let verb = found == nil ? "add" : "change"
        var flags: Message.Flags = .create
        if isExclusive, found == nil { flags.insert(.exclusive) }
        var message = Message(
            "\(verb) \(description)", type: RTM_NEWTCLASS, flags: flags,
            tcmsg(
                index: try kernel.index(of: link, in: side), parent: parent.handle,
                handle: id.handle))
        message.put(Int(TCA_KIND), "htb")
        message.nest(Int(TCA_OPTIONS)) { options in
            if rate.isWide { options.put(Int(TCA_HTB_RATE64), rate.bytesPerSecond) }
            if ceil.isWide { options.put(Int(TCA_HTB_CEIL64), ceil.bytesPerSecond) }
            options.put(Int(TCA_HTB_PARMS), parameters)
        }
        do throws(KernelError) {
            try kernel.request(side, message)
        } catch  where error.errno == .fileExists && isExclusive {
            // The name's number, and nobody's name: it has lost that with the whole ruleset.
            guard let now = try read(kernel), isLikelyThis(now) else { throw error }
            var other = self
            other.isExclusive = false
            return try other.write(kernel, over: now)
        }
        for one in contents { try one.restore(kernel) }
    }

    /// Whether a class without a name, found where this one's name leads, is this one: nothing about it
    /// differs, or as a tenant's it has others in it.
    private func isLikelyThis(_ found: TrafficClass) -> Bool {
        guard found.parent == parent else { return false }
        return Tree.tenants.contains(id.minor) && found.hasChildren
            || differences(from: found).isEmpty
    }

    /// Removes the class, and its leaf and packets with it.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.presentIndex(of: link, in: side) else { return }
        let message = Message(
            "remove \(description)", type: RTM_DELTCLASS, tcmsg(index: index, handle: id.handle))
        do throws(KernelError) {
            try unlessAbsent { () throws(KernelError) in try kernel.request(side, message) }
        } catch  where error.errno == .resourceBusy {
            if side == .host { try ClassFilter(id, of: "", on: link, .owned).erase(kernel) }
            if takesChildren { try eraseChildren(kernel) }
            try kernel.request(side, message)
        }
    }

    private func isCrowded(_ found: TrafficClass) -> Bool {
        isLeaf && found.hasChildren && sharing == .owned
    }

    private func eraseChildren(_ kernel: Kernel) throws(KernelError) {
        for child in try kernel.trafficClasses(of: link, in: side) where child.parent == id {
            if child.hasChildren { try child.eraseChildren(kernel) }
            try child.erase(kernel)
        }
    }

    /// The numbers in which `found` misses this class.
    public func differences(from found: TrafficClass) -> [Difference] {
        guard !isAsFound else { return [] }
        let wanted = effectiveBurst.kept(at: rate)
        let got = found.burst ?? wanted
        return [
            Difference(in: "\(description): parent", wanted: parent, found: found.parent),
            isCrowded(found)
                ? Difference("\(description): classes in it", wanted: "none", found: "some") : nil,
            // The leaf goes with the first class that is made in it.
            !isLeaf && !found.hasChildren && !found.contents.isEmpty
                ? Difference("\(description): leaf", wanted: "absent", found: "present") : nil,
            Difference(
                in: "\(description): rate", wanted: rate.rounded, found: found.rate.rounded),
            Difference(
                in: "\(description): ceil", wanted: ceil.rounded, found: found.ceil.rounded),
            Difference(
                in: "\(description): priority", wanted: priority, found: found.priority),
            Difference(
                in: "\(description): burst", wanted: wanted,
                found: wanted.isAbout(got) ? wanted : got),
        ].compactMap { $0 } + turnDifferences(from: found)
    }

    private func turnDifferences(from found: TrafficClass) -> [Difference] {
        guard let got = found.found else { return [] }
        let wanted = ceilBurst.kept(at: ceil)
        return [
            Difference(
                in: "\(description): burst at the ceiling", wanted: wanted,
                found: wanted.isAbout(got.ceilBurst) ? wanted : got.ceilBurst),
            // Only packets that wait in a class have turns, and the kernel changes no others.
            found.hasChildren
                ? nil
                : Difference(
                    in: "\(description): quantum", wanted: quantum, found: got.quantum),
        ].compactMap { $0 }
    }

    /// The burst, raised to what the rate needs.
    package var effectiveBurst: Burst { burst?.raised(for: rate) ?? .fitting(rate) }

    /// Bytes that a class may send in its turn: 5 ms of its rate, and one frame at least.
    ///
    /// Turns are whole packets; only if the largest fits in is what is left shared out in proportion.
    package var quantum: UInt32 {
        UInt32(min(4_000_000, max(1514, rate.bytes(inMicroseconds: 5000))))
    }

    /// The burst at the ceiling.
    package var ceilBurst: Burst { max(effectiveBurst, .fitting(ceil)) }

    private var parameters: tc_htb_opt {
        var options = tc_htb_opt()
        options.rate = tc_ratespec(rate)
        options.ceil = tc_ratespec(ceil)
        options.buffer = rate.ticks(forBytes: effectiveBurst.bytes)
        options.cbuffer = ceil.ticks(forBytes: ceilBurst.bytes)
        options.quantum = quantum
        options.prio = UInt32(priority)
        return options
    }

    init?(_ reply: Reply, on link: String, in side: Side, _ sharing: Sharing) {
        guard reply.type == RTM_NEWTCLASS, let header = reply.header(tcmsg.self) else {
            return nil
        }
        let attributes = reply.attributes(after: tcmsg.self)
        guard attributes[Int(TCA_KIND)]?.text == "htb",
            let options = attributes[Int(TCA_OPTIONS)]?.nested,
            let numbers = options[Int(TCA_HTB_PARMS)]?.value(tc_htb_opt.self)
        else { return nil }
        let wideRate = options[Int(TCA_HTB_RATE64)]?.uint64 ?? UInt64(numbers.rate.rate)
        let wideCeil = options[Int(TCA_HTB_CEIL64)]?.uint64 ?? UInt64(numbers.ceil.rate)
        let id = ClassID(handle: header.tcm_handle)
        let isTop = header.tcm_parent == Place.root
        self.init(
            id, of: isTop ? ClassID(id.major, 0) : ClassID(handle: header.tcm_parent), on: link,
            in: side, rate: Rate(bytesPerSecond: wideRate), ceil: Rate(bytesPerSecond: wideCeil),
            sharing)
        priority = Int(numbers.prio)
        burst = Burst(bytes: rate.bytes(inTicks: numbers.buffer))
        found = (Burst(bytes: ceil.bytes(inTicks: numbers.cbuffer)), numbers.quantum)
        hasChildren = numbers.level > 0
    }
}

extension Resource<Kernel> {
    /// Brings back what may be as it was.
    fileprivate func restore(_ kernel: Kernel) throws(KernelError) {
        let found = try read(kernel)
        if let found, differences(from: found).isEmpty { return }
        try write(kernel, over: found)
    }
}

extension Rate {
    /// The rate as the kernel holds it, in whole bytes.
    var rounded: Rate { Rate(bytesPerSecond: bytesPerSecond) }
}

extension Kernel {
    /// The HTB classes of a link.
    public func trafficClasses(
        of link: String, in side: Side
    ) throws(KernelError) -> [TrafficClass] {
        guard let index = try presentIndex(of: link, in: side) else { return [] }
        return try request(side, classList(link, index)).compactMap {
            TrafficClass($0, on: link, in: side, .shared)
        }
    }

    /// What the HTB classes of a link are guaranteed, without the rest that is known of them: there may be
    /// thousands.
    public func guarantees(
        on link: String, in side: Side
    ) throws(KernelError) -> [(id: ClassID, parent: ClassID, rate: Rate)] {
        guard let index = try presentIndex(of: link, in: side) else { return [] }
        var found: [(id: ClassID, parent: ClassID, rate: Rate)] = []
        for reply in try request(side, classList(link, index)) {
            let options = reply.attributes(after: tcmsg.self)[Int(TCA_OPTIONS)]?.nested
            guard let header = reply.header(tcmsg.self),
                let rate = options?[Int(TCA_HTB_PARMS)]?.value(tc_htb_opt.self)?.rate.rate
            else { continue }
            // The old field is full where there is a wide one.
            let wide = rate == .max ? options?[Int(TCA_HTB_RATE64)]?.uint64 : nil
            found.append(
                (
                    ClassID(handle: header.tcm_handle), ClassID(handle: header.tcm_parent),
                    Rate(bytesPerSecond: wide ?? UInt64(rate))
                ))
        }
        return found
    }

    /// Whether a link's tree has classes besides that of the whole link and the default one.
    ///
    /// The kernel lists as many as fit its first datagram, and a third one answers the question.
    func hasClasses(_ link: String, in side: Side) throws(KernelError) -> Bool {
        guard let index = try presentIndex(of: link, in: side) else { return false }
        return try beginning(side, of: classList(link, index)).contains {
            guard let one = TrafficClass($0, on: link, in: side, .shared) else { return false }
            return one.id != Tree.link && one.id != Tree.standard
        }
    }

    /// Asks for the classes of the qdisc at a link's root.
    ///
    /// Without a parent the kernel would look for classes at every leaf as well, and begin anew for every
    /// datagram of its answer.
    private func classList(_ link: String, _ index: UInt32) -> Message {
        Message(
            "list classes of \(link)", type: RTM_GETTCLASS, flags: .dump,
            tcmsg(index: index, parent: Tree.root.handle))
    }

    /// The index of a link, or nil if there is no such link.
    func presentIndex(of link: String, in side: Side) throws(KernelError) -> UInt32? {
        try ifPresent { () throws(KernelError) in try index(of: link, in: side) }
    }
}
