internal import CLinux
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// A filter at a tree that gives what came by a port its class, where nothing on the way could.
///
/// The kernel looks through those of all ports in turn. One goes with its class.
public struct ClassFilter: Resource {
    /// The last place among the filters of a tree.
    package static let preference: UInt32 = 65535

    /// The class.
    public let id: ClassID
    /// The link that the packets came by.
    public private(set) var port: String
    /// The link of the tree.
    public let link: String
    /// Where filters of the link hang.
    private let place: UInt32
    /// Whose it is.
    public let sharing: Sharing

    /// The filter of a port's packets.
    public init(_ id: ClassID, of port: String, on link: String, _ sharing: Sharing) {
        self.init(id, of: port, on: link, at: Tree.root.handle, sharing)
    }

    init(_ id: ClassID, of port: String, on link: String, at place: UInt32, _ sharing: Sharing) {
        self.id = id
        self.port = port
        self.link = link
        self.place = place
        self.sharing = sharing
    }

    /// `filter to class 1:10 on shp-e`.
    public var description: String { "filter to class \(id) on \(link)" }

    /// The filter that leads to the class, or nil.
    public func read(_ kernel: Kernel) throws(KernelError) -> ClassFilter? {
        try find(kernel)?.filter
    }

    private func find(
        _ kernel: Kernel
    ) throws(KernelError) -> (handle: UInt32, filter: ClassFilter)? {
        for reply in try kernel.filters(of: link, in: .host, at: place)
        where reply.filterPreference == Self.preference {
            let options = reply.attributes(after: tcmsg.self)[Int(TCA_OPTIONS)]?.nested
            guard options?[Int(TCA_U32_CLASSID)]?.uint32 == id.handle,
                let handle = reply.header(tcmsg.self)?.tcm_handle
            else { continue }
            var found = self
            // A port that has gone has no name.
            found.port = options?[Int(TCA_U32_INDEV)]?.text ?? ""
            return (handle, found)
        }
        return nil
    }

    /// Adds the filter, in the place of one of another port.
    public func write(_ kernel: Kernel, over found: ClassFilter?) throws(KernelError) {
        if let found { try found.erase(kernel) }
        var message = Message(
            "add \(description)", type: RTM_NEWTFILTER, flags: .create,
            header(try kernel.index(of: link, in: .host)))
        message.put(Int(TCA_KIND), "u32")
        message.nest(Int(TCA_OPTIONS)) { options in
            options.put(Int(TCA_U32_CLASSID), id.handle)
            options.put(Int(TCA_U32_INDEV), port)
            options.put(Int(TCA_U32_SEL), bytes: Selector.all.bytes)
        }
        try kernel.request(.host, message)
    }

    /// Removes the filter.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.presentIndex(of: link, in: .host),
            let handle = try find(kernel)?.handle
        else { return }
        var header = header(index)
        header.tcm_handle = handle
        let message = Message("remove \(description)", type: RTM_DELTFILTER, header)
        try unlessAbsent { () throws(KernelError) in try kernel.request(.host, message) }
    }

    /// Whether it is about another port.
    public func differences(from found: ClassFilter) -> [Difference] {
        [Difference(in: "\(description): port", wanted: port, found: found.port)].compactMap { $0 }
    }

    private func header(_ index: UInt32) -> tcmsg {
        tcmsg(
            index: index, parent: place,
            info: Self.preference << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian))
    }
}
