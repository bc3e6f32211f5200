internal import CLinux
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// The last filter on the packets that a link sends, which lets all pass.
///
/// A packet that comes back from another link's queue is marked to skip filters, and would skip
/// those of the link's other end too; the look at this one takes the mark away. Of all packets the
/// kernel notes the number that it gives, as their tc_index.
public struct LastFilter: Resource {
    /// The link's name.
    public let link: String
    /// What is noted of a packet: the number's lower half.
    public private(set) var result: ClassID
    /// Whose it is.
    public let sharing: Sharing
    /// Whether there is a program in its place, as an earlier version of this project has put there.
    private var isProgram = false

    /// The last place among the filters.
    package static let preference: UInt32 = 65535
    /// What the names of such programs begin with.
    private static let formerName = "swift-cni to "

    /// The filter of a link, which has a clsact qdisc.
    public init(of link: String, noting result: ClassID = Tree.link, _ sharing: Sharing) {
        self.link = link
        self.result = result
        self.sharing = sharing
    }

    /// `last filter of veth0`.
    public var description: String { "last filter of \(link)" }

    /// The filter, or nil if there is none in its place.
    public func read(_ kernel: Kernel) throws(KernelError) -> LastFilter? {
        for reply in try kernel.filters(of: link, at: Place.egress)
        where (reply.payload.uint32(at: 16) ?? 0) >> 16 == Self.preference {
            let attributes = reply.attributes(after: tcmsg.self)
            // The list has heads before the filters themselves, without options or with others.
            guard let options = attributes[Int(TCA_OPTIONS)]?.nested else { continue }
            var found = self
            switch attributes[Int(TCA_KIND)]?.text {
            case "u32":
                guard let number = options[Int(TCA_U32_CLASSID)]?.uint32 else { continue }
                found.result = ClassID(handle: number)
            case "bpf":
                guard options[Int(TCA_BPF_NAME)]?.text.hasPrefix(Self.formerName) == true
                else { continue }
                found.isProgram = true
            default: continue
            }
            return found
        }
        return nil
    }

    /// Adds the filter, in the place of what is there.
    public func write(_ kernel: Kernel, over found: LastFilter?) throws(KernelError) {
        // The program of an earlier version does not come back: all that it did is done otherwise.
        guard !isProgram else { return }
        let index = try kernel.index(of: link, in: .host)
        var message = Message(
            "add \(description)", type: RTM_NEWTFILTER, flags: .create, header(index))
        message.put(Int(TCA_KIND), "u32")
        message.nest(Int(TCA_OPTIONS)) { options in
            options.put(Int(TCA_U32_CLASSID), result.handle)
            var selector = tc_u32_sel()
            selector.flags = UInt8(TC_U32_TERMINAL)
            selector.nkeys = 1
            // The selector and its one key, which is all zero: every packet matches.
            var bytes = unsafe withUnsafeBytes(of: selector) { unsafe Array($0) }
            bytes += [UInt8](repeating: 0, count: MemoryLayout<tc_u32_key>.size)
            options.put(Int(TCA_U32_SEL), bytes: bytes)
        }
        try kernel.perform(.host, found == nil ? [message] : [removal(index), message])
    }

    /// Removes the filter.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.presentIndex(of: link, in: .host), try read(kernel) != nil
        else { return }
        try unlessAbsent { () throws(KernelError) in
            try kernel.request(.host, removal(index))
        }
    }

    /// Whether no container is in the tree of the link.
    public func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        try Qdisc(.htb(standard: 0), on: link, .shared).isUnused(kernel)
    }

    /// Whether it is another filter.
    public func differences(from found: LastFilter) -> [Difference] {
        [
            Difference(in: "\(description): number", wanted: result, found: found.result),
            Difference(
                in: "\(description): kind", wanted: "u32", found: found.isProgram ? "bpf" : "u32"),
        ].compactMap { $0 }
    }

    private func removal(_ index: UInt32) -> Message {
        Message("remove \(description)", type: RTM_DELTFILTER, header(index))
    }

    private func header(_ index: UInt32) -> tcmsg {
        tcmsg(
            index: index, parent: Place.egress,
            info: Self.preference << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian))
    }
}

extension Kernel {
    /// The filters at one of the two places of the clsact qdisc of a link of the host.
    func filters(of link: String, at place: UInt32) throws(KernelError) -> [Reply] {
        guard let index = try presentIndex(of: link, in: .host) else { return [] }
        let message = Message(
            "list filters of \(link)", type: RTM_GETTFILTER, flags: .dump,
            tcmsg(index: index, parent: place))
        let replies = try ifPresent { () throws(KernelError) in try request(.host, message) }
        return (replies ?? []).filter { $0.type == RTM_NEWTFILTER }
    }
}
