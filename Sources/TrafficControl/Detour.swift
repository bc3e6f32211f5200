internal import CLinux
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// A filter on the packets that a link sends, which has those that went past its egress chain go
/// through it after all.
///
/// The kernel marks a packet that comes back from an IFB to skip nftables' egress hook, and the
/// mark stays until some link has sent it. So what another container sends through its own queue
/// would pass by this one's. The last filter of that queue has left a sign on the packet; this one
/// hands what has it to the ingress of the IFB that it should have been sent to, which takes the
/// mark away, and the group's chain `detour` there sends it to the link once more.
public struct Detour: Resource {
    /// The link's name.
    public let link: String
    /// The IFB that packets are handed to.
    public let target: String
    /// Whose it is.
    public let sharing: Sharing
    /// Whether the filter as found hands packets to a link that is not there any more.
    private var isAstray = false

    /// Before most other filters, which would see a packet before its detour and after it.
    ///
    /// Not the first: the kernel numbers filters that come without a number downwards from there.
    package static let preference: UInt32 = 8
    /// Not the first number, which others of this kind at the same place would want.
    private static let handle: UInt32 = 0x7368

    /// The detour of a link, which has a clsact qdisc, over an IFB.
    public init(of link: String, over target: String, _ sharing: Sharing) {
        self.link = link
        self.target = target
        self.sharing = sharing
    }

    /// `detour of veth0`.
    public var description: String { "detour of \(link)" }

    /// The filter, or nil if there is none in its place.
    public func read(_ kernel: Kernel) throws(KernelError) -> Detour? {
        for filter in try kernel.filters(of: link, at: Place.egress) {
            let attributes = filter.attributes(after: tcmsg.self)
            guard filter.payload.uint32(at: 8) == Self.handle,
                (filter.payload.uint32(at: 16) ?? 0) >> 16 == Self.preference,
                attributes[Int(TCA_KIND)]?.text == "bpf"
            else { continue }
            let action = attributes[Int(TCA_OPTIONS)]?.nested[Int(TCA_BPF_ACT)]?.nested[1]?.nested
            let numbers = action?[Int(TCA_ACT_OPTIONS)]?.nested[Int(TCA_MIRRED_PARMS)]?.payload
            let index = try kernel.presentIndex(of: target, in: .host)
            var found = self
            found.isAstray = numbers?.uint32(at: 24) != index
            return found
        }
        return nil
    }

    /// Loads the program and adds the filter.
    public func write(_ kernel: Kernel, over found: Detour?) throws(KernelError) {
        let over = try kernel.index(of: target, in: .host)
        let program = linux_load_detour(UInt32(Tree.waited.minor), over)
        guard program >= 0 else { throw KernelError(lastOf: "load the program of \(description)") }
        defer { try? FileDescriptor(rawValue: program).close() }
        var redirection = tc_mirred()
        redirection.action = TC_ACT_STOLEN
        redirection.eaction = TCA_INGRESS_REDIR
        redirection.ifindex = over
        var message = Message(
            "add \(description)", type: RTM_NEWTFILTER, flags: .create,
            header(try kernel.index(of: link, in: .host)))
        message.put(Int(TCA_KIND), "bpf")
        message.nest(Int(TCA_OPTIONS)) { options in
            options.put(Int(TCA_BPF_FD), program)
            options.put(Int(TCA_BPF_NAME), "swift-cni over \(target)")
            options.nest(Int(TCA_BPF_ACT)) { actions in
                actions.nest(1) { action in
                    action.put(Int(TCA_ACT_KIND), "mirred")
                    action.nest(Int(TCA_ACT_OPTIONS)) {
                        $0.put(Int(TCA_MIRRED_PARMS), redirection)
                    }
                }
            }
        }
        try kernel.request(.host, message)
    }

    /// Removes the filter.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.presentIndex(of: link, in: .host) else { return }
        var message = Message("remove \(description)", type: RTM_DELTFILTER, header(index))
        message.put(Int(TCA_KIND), "bpf")
        do throws(KernelError) {
            try unlessAbsent { () throws(KernelError) in try kernel.request(.host, message) }
        } catch  where error.errno == .invalidArgument {
            return  // no clsact, or another kind of filter in its place
        }
    }

    /// How `found` misses this.
    public func differences(from found: Detour) -> [Difference] {
        found.isAstray
            ? [Difference("\(description): goes to", wanted: target, found: "another link")] : []
    }

    private func header(_ index: UInt32) -> tcmsg {
        tcmsg(
            index: index, parent: Place.egress, handle: Self.handle,
            info: Self.preference << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian))
    }
}
