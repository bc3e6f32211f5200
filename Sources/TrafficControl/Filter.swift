internal import CLinux
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// The last filter on the packets that a link sends, or on those that it receives.
///
/// A packet that comes back from another link's queue is marked to skip filters, and would skip
/// those of the link's other end too; the look at this one takes the mark away. A packet that comes
/// from another container's queue has passed by the chain of the steering, and is steered here; a
/// kernel that takes no programs lets it pass. Where nftables cannot steer, all packets are steered here.
public struct LastFilter: Resource {
    /// The link's name.
    public let link: String
    /// The namespace the link is in.
    public let side: Side
    /// Whose it is.
    public let sharing: Sharing
    /// What becomes of packets that no chain has seen; nil to let all pass.
    public var steering: Steering?
    /// Which packets of the link's, as its container sees them.
    public let direction: Direction
    /// The program's name as found, or nil for a filter that lets all pass.
    private var name: String?
    /// The link that the program as found sends packets to.
    private var target: UInt32?
    /// The program as found, where it is another one, to be put back if need be.
    private var program: HeldProgram?
    /// Whether it sends packets to a link that is not there any more.
    private var isAstray = false

    /// The last places among the filters, one for each direction: those of u32 with one preference are listed
    /// together, whether they hang at ingress or at egress.
    package var preference: UInt32 { direction == .ingress ? 65535 : 65534 }

    /// How many filters of u32 there are as found.
    private var count = 0

    /// The filter of a container's host end, which has a clsact qdisc.
    public init(
        of link: String, in side: Side = .host, _ direction: Direction,
        _ sharing: Sharing
    ) {
        self.link = link
        self.side = side
        self.direction = direction
        self.sharing = sharing
    }

    /// The filter that steers.
    public init(_ steering: Steering, _ sharing: Sharing) {
        self.init(of: steering.port, in: steering.side, steering.direction, sharing)
        self.steering = steering
    }

    /// `last filter of veth0`, `last filter of veth0 on egress`: as the container sees it.
    public var description: String {
        "last filter of \(link)" + (direction == .ingress ? "" : " on \(direction)")
    }

    /// What the container receives the host's end sends.
    private var place: UInt32 { direction == .ingress ? Place.egress : Place.ingress }

    /// The filter, or nil if there is none in its place, or a stranger's where ours need not be.
    public func read(_ kernel: Kernel) throws(KernelError) -> LastFilter? {
        let all = try find(kernel)
        guard let options = all.first else { return nil }
        var found = self
        found.count = all.count
        found.name = options[Int(TCA_BPF_NAME)]?.text
        let actions = found.name == nil ? all.last?[Int(TCA_U32_ACT)] : options[Int(TCA_BPF_ACT)]
        let action = actions?.nested[1]?.nested[Int(TCA_ACT_OPTIONS)]?.nested
        found.target = action?[Int(TCA_MIRRED_PARMS)]?.value(tc_mirred.self)?.ifindex
        if let steering, let target = found.target {
            let index = try kernel.presentIndex(of: steering.link, in: side)
            found.isAstray = target != index
        }
        guard found.name != nil else { return found }
        if steering == nil || !differences(from: found).isEmpty {
            found.program = options[Int(TCA_BPF_ID)]?.uint32.flatMap(HeldProgram.init)
        }
        return found
    }

    /// The options of the filters in its place; none if there is none, or if it is a stranger's.
    private func find(_ kernel: Kernel) throws(KernelError) -> [Attributes] {
        var all: [Attributes] = []
        for reply in try kernel.filters(of: link, in: side, at: place)
        where reply.filterPreference == preference {
            let attributes = reply.attributes(after: tcmsg.self)
            // The list has heads before the filters themselves, without what filters have.
            guard let options = attributes[Int(TCA_OPTIONS)]?.nested else { continue }
            let isOurs =
                attributes[Int(TCA_KIND)]?.text == "bpf"
                ? options[Int(TCA_BPF_NAME)]?.text.hasPrefix(Self.namePrefix) == true
                : options[Int(TCA_U32_CLASSID)]?.uint32 == Tree.link.handle
            if isOurs { all.append(options) }
        }
        return all
    }

    /// Adds the filter, or changes what it does.
    public func write(_ kernel: Kernel, over found: LastFilter?) throws(KernelError) {
        let index = try kernel.index(of: link, in: side)
        if let program, let name, let target {
            return try put(program.descriptor, name, to: target, on: index, kernel)
        }
        if let steering, steering.way != .filters,
            try steer(steering, index, kernel, over: found)
        {
            return
        }
        if let steering, steering.way == .program {
            // The kernel has programs, or there would be another way; it does not take this one.
            throw KernelError("add \(description)", .notSupported, detail: "the program")
        }
        let target = try redirected.map { (link) throws(KernelError) in
            try kernel.index(of: link, in: side)
        }
        if let found {
            if target == nil || found.count == Selector.steered.count && found.target == target {
                return
            }
            try found.erase(kernel)
        }
        let selectors = target == nil ? [Selector.all] : Selector.steered
        try kernel.perform(
            side, selectors.indices.map { message(selectors, $0, to: target, on: index) })
    }

    /// The link that filters of u32 send packets to, if they do.
    private var redirected: String? { steering?.way == .filters ? steering?.link : nil }

    /// The message that adds one of several filters of u32; the last one sends packets on.
    private func message(
        _ selectors: [Selector], _ number: Int, to target: UInt32?, on index: UInt32
    ) -> Message {
        var header = header(index)
        if target != nil { header.tcm_handle = UInt32(number + 1) }
        var message = Message(
            "add \(description)", type: RTM_NEWTFILTER, flags: .create, header)
        message.put(Int(TCA_KIND), "u32")
        message.nest(Int(TCA_OPTIONS)) { options in
            options.put(Int(TCA_U32_CLASSID), Tree.link.handle)
            options.put(Int(TCA_U32_SEL), bytes: selectors[number].bytes)
            if let target, number == selectors.count - 1 {
                options.redirect(Int(TCA_U32_ACT), to: target)
            }
        }
        return message
    }

    /// Puts the program in place.
    ///
    /// - Returns: Whether the kernel has taken it.
    private func steer(
        _ steering: Steering, _ index: UInt32, _ kernel: Kernel, over found: LastFilter?
    ) throws(KernelError) -> Bool {
        let program = steering.classifier
        let target = try kernel.index(of: steering.link, in: side)
        let result = try program.loaded { (descriptor) throws(KernelError) in
            // Another kind of filter cannot be changed into this one.
            if let found, found.name == nil { try found.erase(kernel) }
            do throws(KernelError) {
                let name = Self.name(of: program, to: steering.link)
                try put(descriptor, name, to: target, on: index, kernel)
                return true
            } catch  where error.errno == .noSuchFileOrDirectory {
                // There is no such kind of filter, or no such action.
                return false
            }
        }
        return result ?? false
    }

    private func put(
        _ program: Int32, _ name: String, to target: UInt32, on index: UInt32, _ kernel: Kernel
    ) throws(KernelError) {
        var header = header(index)
        header.tcm_handle = 1
        var message = Message(
            "add \(description)", type: RTM_NEWTFILTER, flags: .create, header)
        message.put(Int(TCA_KIND), "bpf")
        message.nest(Int(TCA_OPTIONS)) { options in
            options.put(Int(TCA_BPF_FD), program)
            options.put(Int(TCA_BPF_NAME), name)
            options.redirect(Int(TCA_BPF_ACT), to: target)
        }
        try kernel.request(side, message)
    }

    /// What tc(8) shows of the program.
    private static func name(of program: Classifier, to link: String) -> String {
        "\(namePrefix)\(link), \(String(program.digest, radix: 16))"
    }

    private static let namePrefix = "swift-cni to "

    /// Removes the filter.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.presentIndex(of: link, in: side), try !find(kernel).isEmpty
        else { return }
        let message = Message("remove \(description)", type: RTM_DELTFILTER, header(index))
        try unlessAbsent { () throws(KernelError) in try kernel.request(side, message) }
    }

    /// Whether the program is another one; a kernel that takes none has no other filter either, unless
    /// all packets are steered here.
    public func differences(from found: LastFilter) -> [Difference] {
        guard let steering else { return [] }
        let astray =
            found.isAstray
            ? Difference(
                "\(description): goes to", wanted: steering.link, found: "another link") : nil
        switch (steering.way, found.name) {
        case (.rules, nil): return []
        case (.program, nil):
            return [Difference(description, wanted: "a program", found: "filters of u32")]
        case (.filters, nil):
            let isWhole = found.count == Selector.steered.count && found.target != nil
            return [
                isWhole
                    ? nil : Difference(description, wanted: "ours", found: "others"), astray,
            ].compactMap { $0 }
        case (.filters, _?):
            return [Difference(description, wanted: "filters of u32", found: "a program")]
        case (.rules, let name?), (.program, let name?):
            let wanted = Self.name(of: steering.classifier, to: steering.link)
            return [
                Difference(in: "\(description): program", wanted: wanted, found: name), astray,
            ].compactMap { $0 }
        }
    }

    private func header(_ index: UInt32) -> tcmsg {
        tcmsg(
            index: index, parent: place,
            info: preference << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian))
    }
}

extension Message {
    /// The action of a filter that sends what matches to another link.
    fileprivate mutating func redirect(_ attribute: Int, to target: UInt32) {
        nest(attribute) { actions in
            actions.nest(1) { action in
                action.put(Int(TCA_ACT_KIND), "mirred")
                action.nest(Int(TCA_ACT_OPTIONS)) { parameters in
                    var redirection = tc_mirred()
                    redirection.action = TC_ACT_STOLEN
                    redirection.eaction = TCA_EGRESS_REDIR
                    redirection.ifindex = target
                    parameters.put(Int(TCA_MIRRED_PARMS), redirection)
                }
            }
        }
    }
}

/// A program of the kernel's that stays there as long as this does.
private final class HeldProgram: Sendable {
    let descriptor: Int32

    /// The program of a number, if there is one.
    init?(_ id: UInt32) {
        descriptor = linux_hold_program(id)
        guard descriptor >= 0 else { return nil }
    }

    deinit { try? FileDescriptor(rawValue: descriptor).close() }
}

extension Reply {
    /// The preference of the filter that it is about.
    var filterPreference: UInt32? { header(tcmsg.self).map { $0.tcm_info >> 16 } }
}

extension Kernel {
    /// The filters at one of the two places of a link's clsact qdisc.
    func filters(
        of link: String, in side: Side, at place: UInt32
    ) throws(KernelError) -> [Reply] {
        guard let index = try presentIndex(of: link, in: side) else { return [] }
        let message = Message(
            "list filters of \(link)", type: RTM_GETTFILTER, flags: .dump,
            tcmsg(index: index, parent: place))
        let replies = try ifPresent { () throws(KernelError) in try request(side, message) }
        return (replies ?? []).filter { $0.type == RTM_NEWTFILTER }
    }
}
