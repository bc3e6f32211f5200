internal import CLinux
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// The last filter on the packets that a link sends.
///
/// A packet that comes back from another link's queue is marked to skip filters, and would skip
/// those of the link's other end too; the look at this one takes the mark away. A packet that comes
/// from another container's queue has passed by the chain of the steering, and is steered here; a
/// kernel that takes no programs lets it pass.
public struct LastFilter: Resource {
    /// The link's name.
    public let link: String
    /// The namespace the link is in.
    public let side: Side
    /// Whose it is.
    public let sharing: Sharing
    /// What becomes of packets that no chain has seen; nil to let all pass.
    public var steering: Steering?
    /// The program's name as found, or nil for a filter that lets all pass.
    private var name: String?
    /// The link that the program as found sends packets to.
    private var target: UInt32?
    /// The program as found, where it is another one, to be put back if need be.
    private var program: HeldProgram?
    /// Whether it sends packets to a link that is not there any more.
    private var isAstray = false

    /// The last place among the filters.
    package static let preference: UInt32 = 65535

    /// The filter of a link, which has a clsact qdisc.
    public init(of link: String, in side: Side = .host, _ sharing: Sharing) {
        self.link = link
        self.side = side
        self.sharing = sharing
    }

    /// `last filter of veth0`.
    public var description: String { "last filter of \(link)" }

    /// The filter, or nil if there is none in its place.
    public func read(_ kernel: Kernel) throws(KernelError) -> LastFilter? {
        guard let options = try find(kernel) else { return nil }
        var found = self
        found.name = options[Int(TCA_BPF_NAME)]?.text
        guard found.name != nil else { return found }
        let action = options[Int(TCA_BPF_ACT)]?.nested[1]?.nested[Int(TCA_ACT_OPTIONS)]?.nested
        found.target = action?[Int(TCA_MIRRED_PARMS)]?.payload.uint32(at: 24)
        if let steering, let target = found.target {
            let index = try kernel.presentIndex(of: steering.link, in: side)
            found.isAstray = target != index
        }
        if steering == nil || !differences(from: found).isEmpty {
            found.program = options[Int(TCA_BPF_ID)]?.uint32.flatMap(HeldProgram.init)
        }
        return found
    }

    /// The options of the filter, or nil if there is none in its place.
    private func find(_ kernel: Kernel) throws(KernelError) -> Attributes? {
        for reply in try kernel.filters(of: link, in: side, at: Place.egress)
        where (reply.payload.uint32(at: 16) ?? 0) >> 16 == Self.preference {
            let attributes = reply.attributes(after: tcmsg.self)
            let isProgram = attributes[Int(TCA_KIND)]?.text == "bpf"
            let options = attributes[Int(TCA_OPTIONS)]?.nested
            // The list has a head before the filter itself, without options.
            guard let options, !isProgram || options[Int(TCA_BPF_NAME)] != nil else { continue }
            return options
        }
        return nil
    }

    /// Adds the filter, or changes what it does.
    public func write(_ kernel: Kernel, over found: LastFilter?) throws(KernelError) {
        let index = try kernel.index(of: link, in: side)
        if let program, let name, let target {
            return try put(program.descriptor, name, to: target, on: index, kernel)
        }
        if let steering, try steer(steering, index, kernel, over: found) { return }
        guard try find(kernel) == nil else { return }
        var message = Message(
            "add \(description)", type: RTM_NEWTFILTER, flags: .create, header(index))
        message.put(Int(TCA_KIND), "u32")
        message.nest(Int(TCA_OPTIONS)) { options in
            options.put(Int(TCA_U32_CLASSID), Tree.link.handle)
            var selector = tc_u32_sel()
            selector.flags = UInt8(TC_U32_TERMINAL)
            selector.nkeys = 1
            // The selector and its one key, which is all zero: every packet matches.
            var bytes = unsafe withUnsafeBytes(of: selector) { unsafe Array($0) }
            bytes += [UInt8](repeating: 0, count: MemoryLayout<tc_u32_key>.size)
            options.put(Int(TCA_U32_SEL), bytes: bytes)
        }
        try kernel.request(side, message)
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
            options.nest(Int(TCA_BPF_ACT)) { actions in
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
        try kernel.request(side, message)
    }

    /// What tc(8) shows of the program.
    private static func name(of program: Classifier, to link: String) -> String {
        "swift-cni to \(link), \(String(program.digest, radix: 16))"
    }

    /// Removes the filter.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.presentIndex(of: link, in: side), try find(kernel) != nil
        else { return }
        let message = Message("remove \(description)", type: RTM_DELTFILTER, header(index))
        try unlessAbsent { () throws(KernelError) in try kernel.request(side, message) }
    }

    /// Whether the program is another one; a kernel that takes none has no other filter either.
    public func differences(from found: LastFilter) -> [Difference] {
        guard let steering, let name = found.name else { return [] }
        let wanted = Self.name(of: steering.classifier, to: steering.link)
        return [
            Difference(in: "\(description): program", wanted: wanted, found: name),
            found.isAstray
                ? Difference(
                    "\(description): goes to", wanted: steering.link, found: "another link") : nil,
        ].compactMap { $0 }
    }

    private func header(_ index: UInt32) -> tcmsg {
        tcmsg(
            index: index, parent: Place.egress,
            info: Self.preference << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian))
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
