internal import CLinux
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// A queueing discipline: at a link's root, below a class, or where filters hang.
public struct Qdisc: Resource {
    /// What it does.
    public enum Kind: Sendable, Equatable, CustomStringConvertible {
        /// A tree of classes; packets that name none go to the default one.
        case htb(standard: UInt16)
        /// Splits packets into frames, of which none may be larger than the burst in bytes, and holds at most so
        /// many bytes of them.
        case splitting(burst: UInt32, limit: UInt32)
        /// Holds at most so many bytes.
        case fifo(limit: UInt32)
        /// Lets so much pass, and holds at most so many bytes.
        case bucket(Rate, Burst, limit: UInt32)
        /// Only a place for filters.
        case clsact

        /// The kernel's name of the kind.
        var name: String {
            switch self {
            case .htb: "htb"
            case .splitting, .bucket: "tbf"
            case .fifo: "bfifo"
            case .clsact: "clsact"
            }
        }

        /// The kind and its number, as `tc` prints them.
        public var description: String {
            switch self {
            case .htb(let standard): "htb default " + String(standard, radix: 16)
            case .splitting(let burst, let limit): "tbf burst \(burst) limit \(limit)"
            case .fifo(let limit): "bfifo limit " + limit.description
            case .bucket(let rate, let burst, let limit):
                "tbf rate \(rate) burst \(burst) limit \(limit)"
            case .clsact: "clsact"
            }
        }
    }

    /// The link's name.
    public let link: String
    /// The namespace the link is in.
    public let side: Side
    /// The class it is the leaf of; nil for the link itself.
    public let parent: ClassID?
    /// What it does.
    public private(set) var kind: Kind
    /// Whose it is.
    public let sharing: Sharing
    /// The classes of a tree that is there instead of this one, to be put back if need be.
    private var contents: [TrafficClass] = []

    /// A qdisc of a link.
    public init(
        _ kind: Kind, at parent: ClassID? = nil, on link: String, in side: Side = .host,
        _ sharing: Sharing
    ) {
        self.kind = kind
        self.parent = parent
        self.link = link
        self.side = side
        self.sharing = sharing
    }

    /// The leaf that a class of such numbers needs.
    ///
    /// It has room for `milliseconds` of the ceiling, and holds frames instead of 64 kB packets where one of those would
    /// hold up the others for a millisecond, or be more than the class's turn. `mtu` is that of the links that the
    /// class's packets pass, in bytes.
    public static func leaf(
        of id: ClassID, rate: Rate, ceil: Rate, milliseconds: Int = standardMilliseconds,
        mtu: Int = standardMTU, on link: String, in side: Side = .host, _ sharing: Sharing
    ) -> Qdisc {
        let frame = UInt64(min(max(mtu, standardMTU), 65_535) + headers)
        let bytes = ceil.bytes(inMicroseconds: UInt64(milliseconds) * 1000)
        let limit = UInt32(min(max(bytes, leastRoom, 2 * frame), UInt64(Int32.max)))
        let kind: Kind =
            ceil.bitsPerSecond < 500_000_000 || rate.bitsPerSecond < 100_000_000
            ? .splitting(burst: UInt32(max(leastBurst, 2 * frame)), limit: limit)
            : .fifo(limit: limit)
        return Qdisc(kind, at: id, on: link, in: side, sharing)
    }

    /// A ceiling without classes, at a link's root.
    public static func bucket(
        _ rate: Rate, _ burst: Burst? = nil, milliseconds: Int = standardMilliseconds,
        on link: String, in side: Side = .host, _ sharing: Sharing
    ) -> Qdisc {
        // What is larger than the burst is lost: two jumbo frames must fit.
        let least = Burst(bits: 2 * 9018 * 8)
        let burst = max(least, burst?.raised(for: rate) ?? .fitting(rate))
        let bytes = rate.bytes(inMicroseconds: UInt64(milliseconds) * 1000)
        let limit = UInt32(min(max(bytes, leastRoom), UInt64(Int32.max)))
        return Qdisc(.bucket(rate, burst, limit: limit), on: link, in: side, sharing)
    }

    /// How long a packet may wait at the ceiling where nobody says, in ms.
    public static let standardMilliseconds = 16
    /// The largest packet of most links, in bytes.
    public static let standardMTU = 1500
    /// Ethernet's header with two VLAN tags.
    private static let headers = 22
    /// The bytes that every queue has room for.
    private static let leastRoom: UInt64 = 12 * 1514

    /// How long a packet may wait in it at a ceiling, in ms; nil where its room is the least there is, which
    /// tells nothing.
    public func milliseconds(at ceil: Rate) -> Int? {
        let (limit, frames): (UInt32, UInt32) =
            switch kind {
            case .splitting(let burst, let limit): (limit, burst)
            case .fifo(let limit), .bucket(_, _, let limit): (limit, 0)
            case .htb, .clsact: (0, 0)
            }
        guard UInt64(limit) > max(Self.leastRoom, UInt64(frames)) else { return nil }
        let time = Double(limit) * 1000 / Double(ceil.bytesPerSecond)
        return Int(min(max(1, time.rounded()), 10_000))
    }

    /// The largest packet that it lets pass, in bytes, where that is what it is made for.
    public var mtu: Int? {
        guard case .splitting(let burst, _) = kind else { return nil }
        return Int(burst / 2) - Self.headers
    }

    /// The rate of what only splits packets: beyond what any link has.
    package static let splittingRate = Rate(bitsPerSecond: 100_000_000_000)
    /// The bytes that it lets pass at once, where two frames are no more.
    private static let leastBurst: UInt64 = 4600

    /// By what a tree would divide rates into turns.
    ///
    /// Every class has a quantum of its own, so that it does not count; nobody else chooses this number,
    /// which tells whose a tree is.
    private static let quantumDivisor: UInt32 = 100_000

    /// `root qdisc of shp-e`, `leaf of class 1:10 on shp-e`, `clsact of veth0`.
    public var description: String {
        if let parent { return "leaf of class \(parent) on \(link)" }
        return "\(kind == .clsact ? kind.name : "root qdisc") of \(link)"
    }

    /// The qdisc as it is; nil if there is none or, at a root, one that nobody has chosen.
    public func read(_ kernel: Kernel) throws(KernelError) -> Qdisc? {
        guard let index = try kernel.presentIndex(of: link, in: side) else { return nil }
        // Of a qdisc that nobody has chosen nothing is told, but that there is no error.
        let message = Message(
            "find \(description)", type: RTM_GETQDISC, flags: .echo, answer: .acknowledgement,
            tcmsg(index: index, parent: place))
        let reply = try ifPresent { () throws(KernelError) in
            try kernel.request(side, message).first
        }
        guard let reply, reply.type == RTM_NEWQDISC,
            let handle = reply.header(tcmsg.self)?.tcm_handle, handle != 0
        else { return nil }
        let attributes = reply.attributes(after: tcmsg.self)
        let name = attributes[Int(TCA_KIND)]?.text ?? ""
        let options = attributes[Int(TCA_OPTIONS)]
        var found = self
        switch name {
        case "htb":
            let numbers = options?.nested[Int(TCA_HTB_INIT)]?.value(tc_htb_glob.self)
            found.kind = .htb(standard: UInt16(truncatingIfNeeded: numbers?.defcls ?? 0))
            guard sharing == .owned else { break }
            guard handle == Tree.root.handle, numbers?.rate2quantum == Self.quantumDivisor
            else { throw foreign(name, handle) }
            guard found.kind != kind else { break }
            found.contents = try TrafficClass.whole(of: link, in: side, kernel)
            guard found.isLikelyOurs else { throw foreign(name, handle) }
        case "tbf":
            let numbers =
                options?.nested[Int(TCA_TBF_PARMS)]?.value(tc_tbf_qopt.self) ?? tc_tbf_qopt()
            let limit = numbers.limit
            if parent == nil {
                guard handle == Tree.root.handle else { throw foreign(name, handle) }
                let wide = options?.nested[Int(TCA_TBF_RATE64)]?.uint64
                let rate = Rate(bytesPerSecond: wide ?? UInt64(numbers.rate.rate))
                let burst = Burst(bytes: rate.bytes(inTicks: numbers.buffer))
                found.kind = .bucket(rate, burst, limit: limit)
            } else {
                let burst = max(
                    Self.leastBurst, Qdisc.splittingRate.bytes(inTicks: numbers.buffer))
                found.kind = .splitting(burst: UInt32(clamping: burst), limit: limit)
            }
        case "bfifo": found.kind = .fifo(limit: options?.uint32 ?? 0)
        case "clsact": found.kind = .clsact
        default: throw foreign(name, handle)
        }
        return found
    }

    private func foreign(_ name: String, _ handle: UInt32) -> KernelError {
        KernelError(
            description, .fileExists,
            detail: "there is a qdisc of somebody else's: \(name) \(ClassID(handle: handle))")
    }

    /// Puts the qdisc in its place.
    public func write(_ kernel: Kernel, over found: Qdisc?) throws(KernelError) {
        let index = try kernel.index(of: link, in: side)
        var messages: [Message] = []
        // A leaf of another kind must go first: one handle, one kind. A tree keeps its default class for life.
        if let found, found.kind.name != kind.name || isOtherTree(found) {
            messages.append(removal(index))
        }
        messages.append(creation(index))
        do throws(KernelError) {
            try kernel.perform(side, messages)
        } catch  where sharing == .shared && found == nil {
            // Another ADD may have made it between the look and the message.
            guard let now = try read(kernel), differences(from: now).isEmpty else { throw error }
        }
        for one in contents { try one.write(kernel, over: nil) }
    }

    private func isOtherTree(_ found: Qdisc) -> Bool {
        if case .htb = kind { found.kind != kind && found.kind.name == kind.name } else { false }
    }

    /// Whether a container's own tree is there: classes of a container's number, of which all packets are
    /// in one or in those that rules say.
    private var isLikelyOurs: Bool {
        guard case .htb(let standard) = kind else { return false }
        // Between the tree and its class somebody may have been killed.
        let own = contents.map(\.id.minor)
        return own.allSatisfy(Tree.containers.contains)
            && (standard == 0 || own.isEmpty || own.contains(standard))
    }

    /// Takes the qdisc away.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.presentIndex(of: link, in: side) else { return }
        let message = removal(index)
        do throws(KernelError) {
            try unlessAbsent { () throws(KernelError) in try kernel.request(side, message) }
        } catch  where error.errno == .invalidArgument {
            return  // there is only what nobody has chosen
        }
    }

    /// Whether no one has a class in the tree, or no filter hangs in the place for them.
    public func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        switch kind {
        case .htb:
            return try kernel.trafficClasses(of: link, in: side).allSatisfy {
                $0.id == Tree.link || $0.id == Tree.standard
            }
        case .clsact:
            for place in [Place.ingress, Place.egress] {
                guard try kernel.filters(of: link, in: side, at: place).isEmpty else {
                    return false
                }
            }
            return true
        case .splitting, .fifo, .bucket: return false
        }
    }

    /// How `found` misses this qdisc.
    public func differences(from found: Qdisc) -> [Difference] {
        if case .bucket(let rate, let burst, let limit) = kind,
            case .bucket(let foundRate, let foundBurst, let foundLimit) = found.kind
        {
            return [
                Difference(
                    in: "\(description): rate", wanted: rate.rounded, found: foundRate.rounded),
                Difference(
                    in: "\(description): burst", wanted: burst,
                    found: burst.kept(at: rate).isAbout(foundBurst) ? burst : foundBurst),
                Difference(in: "\(description): limit", wanted: limit, found: foundLimit),
            ].compactMap { $0 }
        }
        // At that rate the kernel's word of a burst is a few ticks, and none of the least.
        if case .splitting(let burst, let limit) = kind,
            case .splitting(let foundBurst, let foundLimit) = found.kind, limit == foundLimit,
            max(burst, foundBurst) - min(burst, foundBurst) <= max(burst, foundBurst) / 3
        {
            return []
        }
        return [Difference(in: description, wanted: kind, found: found.kind)].compactMap { $0 }
    }

    private var place: UInt32 {
        parent?.handle ?? (kind == .clsact ? Place.clsact : Place.root)
    }

    private func creation(_ index: UInt32) -> Message {
        let handle: UInt32 =
            switch (kind, parent) {
            case (.clsact, _): Place.clsactHandle
            case (_, let parent?): UInt32(parent.minor) << 16
            case (_, nil): Tree.root.handle
            }
        var message = Message(
            "add \(description)", type: RTM_NEWQDISC, flags: [.create, .replace],
            tcmsg(index: index, parent: place, handle: handle))
        message.put(Int(TCA_KIND), kind.name)
        switch kind {
        case .htb(let standard):
            message.nest(Int(TCA_OPTIONS)) { options in
                var numbers = tc_htb_glob()
                numbers.version = UInt32(TC_HTB_PROTOVER)
                numbers.rate2quantum = Self.quantumDivisor
                numbers.defcls = UInt32(standard)
                options.put(Int(TCA_HTB_INIT), numbers)
            }
        case .splitting(let burst, let limit):
            message.nest(Int(TCA_OPTIONS)) { options in
                let rate = Qdisc.splittingRate
                var numbers = tc_tbf_qopt()
                numbers.rate = tc_ratespec(rate)
                numbers.limit = limit
                numbers.buffer = rate.ticks(forBytes: UInt64(burst))
                options.put(Int(TCA_TBF_PARMS), numbers)
                options.put(Int(TCA_TBF_RATE64), rate.bytesPerSecond)
                options.put(Int(TCA_TBF_BURST), burst)
            }
        case .bucket(let rate, let burst, let limit):
            message.nest(Int(TCA_OPTIONS)) { options in
                var numbers = tc_tbf_qopt()
                numbers.rate = tc_ratespec(rate)
                numbers.limit = limit
                numbers.buffer = rate.ticks(forBytes: burst.bytes)
                options.put(Int(TCA_TBF_PARMS), numbers)
                if rate.isWide { options.put(Int(TCA_TBF_RATE64), rate.bytesPerSecond) }
                options.put(Int(TCA_TBF_BURST), UInt32(clamping: burst.bytes))
            }
        case .fifo(let limit): message.put(Int(TCA_OPTIONS), tc_fifo_qopt(limit: limit))
        case .clsact: break
        }
        return message
    }

    private func removal(_ index: UInt32) -> Message {
        Message(
            "remove \(description)", type: RTM_DELQDISC, tcmsg(index: index, parent: place))
    }
}

extension Kernel {
    /// Whether there is a qdisc at a link's root that looks like one an attachment has of its own: a tree of its
    /// one class, or a ceiling.
    public func hasOwnQdisc(_ link: String, in side: Side) throws(KernelError) -> Bool {
        do throws(KernelError) {
            return try Qdisc(.htb(standard: 0), on: link, in: side, .owned).read(self) != nil
        } catch  where error.errno == .fileExists {
            return false
        }
    }
}

/// The numbers that the trees of this project use.
public enum Tree {
    /// The qdisc at the root.
    public static let root = ClassID(1, 0)
    /// The class of the whole link, which the others borrow from.
    public static let link = ClassID(1, 1)
    /// Beyond what any link has: what a group has that no configuration gives a rate.
    public static let unlimited = Rate(bitsPerSecond: 1_000_000_000_000)
    /// The class of packets that no class is known for.
    public static let standard = ClassID(1, 0xfffe)
    /// The minor numbers of containers' classes.
    public static let containers: ClosedRange<UInt16> = 0x10...0xefff
    /// The minor numbers of tenants' classes.
    public static let tenants: ClosedRange<UInt16> = 0xf000...0xfffd
}
