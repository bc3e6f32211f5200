internal import CLinux
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// The last filter on the packets that a link sends, which lets all pass.
///
/// A packet that comes back from another link's queue is marked to skip filters, and would skip
/// those of the link's other end too; the look at this one takes the mark away.
public struct LastFilter: Resource {
    /// The link's name.
    public let link: String
    /// The namespace the link is in.
    public let side: Side
    /// Whose it is.
    public let sharing: Sharing

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
        let found = try kernel.filters(of: link, in: side, at: Place.egress).contains {
            ($0.payload.uint32(at: 16) ?? 0) >> 16 == Self.preference
        }
        return found ? self : nil
    }

    /// Adds the filter.
    public func write(_ kernel: Kernel, over found: LastFilter?) throws(KernelError) {
        guard found == nil else { return }
        var message = Message(
            "add \(description)", type: RTM_NEWTFILTER, flags: .create,
            header(try kernel.index(of: link, in: side)))
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

    /// Removes the filter.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.presentIndex(of: link, in: side), try read(kernel) != nil
        else { return }
        let message = Message("remove \(description)", type: RTM_DELTFILTER, header(index))
        try unlessAbsent { () throws(KernelError) in try kernel.request(side, message) }
    }

    /// There is nothing about it that could differ.
    public func differences(from found: LastFilter) -> [Difference] { [] }

    private func header(_ index: UInt32) -> tcmsg {
        tcmsg(
            index: index, parent: Place.egress,
            info: Self.preference << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian))
    }
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
