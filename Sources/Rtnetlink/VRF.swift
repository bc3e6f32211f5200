internal import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// A virtual routing and forwarding device of the container: a routing table for its members.
public struct VRF: Resource {
    /// Its name.
    public let name: String
    /// The number of its routing table; nil for the lowest that no other VRF has.
    public let table: UInt32?

    /// A VRF of the container.
    public init(_ name: String, table: UInt32?) {
        self.name = name
        self.table = table
    }

    /// Other interfaces may be its members.
    public var sharing: Sharing { .shared }

    /// `VRF red`.
    public var description: String { "VRF \(name)" }

    /// The VRF as it is, or nil if there is none of the name.
    ///
    /// - Throws: EEXIST if the name is another link's, or the table another one.
    public func read(_ kernel: Kernel) throws(KernelError) -> VRF? {
        guard let state = try kernel.link(name, in: .container) else { return nil }
        guard state.kind == "vrf", let found = state.table else {
            throw KernelError(description, .fileExists, detail: "Netlink \(name) is not a VRF")
        }
        guard table == nil || table == found else {
            throw KernelError(
                description, .fileExists,
                detail: "VRF \(name) already exist with different routing table \(found)")
        }
        return VRF(name, table: found)
    }

    /// Creates the VRF, up.
    public func write(_ kernel: Kernel, over found: VRF?) throws(KernelError) {
        guard found == nil else { return }
        let table = if let table { table } else { try freeTable(kernel) }
        var message = Message(
            "add \(description)", type: RTM_NEWLINK, flags: [.create, .exclusive],
            ifinfomsg(set: UInt32(IFF_UP)))
        message.put(IFLA_IFNAME, name)
        message.nest(IFLA_LINKINFO) { info in
            info.put(IFLA_INFO_KIND, "vrf")
            info.nest(IFLA_INFO_DATA) { $0.put(IFLA_VRF_TABLE, table) }
        }
        try tolerating(.fileExists) { () throws(KernelError) in
            try kernel.request(.container, message)
        }
    }

    /// Removes the VRF.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let state = try kernel.link(name, in: .container), state.kind == "vrf" else { return }
        try kernel.removeLinks([state.index], in: .container)
        try kernel.forget(name, in: .container)
    }

    /// Whether it has no members.
    public func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        try !kernel.hasPorts(name, in: .container)
    }

    /// A VRF has nothing that could differ and be set.
    public func differences(from found: VRF) -> [Difference] { [] }

    private func freeTable(_ kernel: Kernel) throws(KernelError) -> UInt32 {
        let taken = try kernel.links(kind: "vrf", in: .container).compactMap(\.table)
        var table: UInt32 = 1
        while taken.contains(table) { table += 1 }
        return table
    }
}

/// The container's interface as a member of a VRF.
public struct VRFMember: Resource {
    /// The interface.
    public let link: String
    /// The VRF's name; nil for none.
    public let vrf: String?

    /// An interface that is a member of a VRF.
    public init(_ link: String, of vrf: String?) {
        self.link = link
        self.vrf = vrf
    }

    /// The membership is the attachment's.
    public var sharing: Sharing { .owned }

    /// `member eth0 of VRF red`.
    public var description: String { "member \(link) of VRF \(vrf ?? "")" }

    /// What the interface is a member of.
    ///
    /// - Throws: EEXIST if it has another master.
    public func read(_ kernel: Kernel) throws(KernelError) -> VRFMember? {
        guard let state = try kernel.link(link, in: .container) else {
            throw KernelError("find link \(link)", .noSuchDevice)
        }
        guard let index = state.master else { return VRFMember(link, of: nil) }
        let master = try kernel.link(index: index, in: .container)?.name ?? "\(index)"
        guard vrf == nil || master == vrf else {
            throw KernelError(
                description, .fileExists,
                detail: "interface \(link) has already a master set: \(master)")
        }
        return VRFMember(link, of: master)
    }

    /// Joins or leaves, and gives the interface back what the kernel takes from it meanwhile: IPv6
    /// addresses, and routes, in the VRF's table.
    public func write(_ kernel: Kernel, over found: VRFMember?) throws(KernelError) {
        let index = try kernel.index(of: link, in: .container)
        let table = try vrf.flatMap { (name) throws(KernelError) in
            try kernel.link(name, in: .container)?.table
        }
        let former = try found?.vrf.flatMap { (name) throws(KernelError) in
            try kernel.link(name, in: .container)?.table
        }
        let addresses = try kernel.addresses(of: index, link, in: .container)
        let main = RT_TABLE_MAIN.rawValue
        let routes = try kernel.madeRoutes(outOf: index, in: .container)
            .filter { $0.table == Int(former ?? main) }
        var message = Message(
            vrf == nil ? "release \(link) from its VRF" : "make \(self)", type: RTM_SETLINK,
            ifinfomsg(index: index))
        let master = try vrf.map { (name) throws(KernelError) in
            try kernel.index(of: name, in: .container)
        }
        message.put(IFLA_MASTER, master ?? 0)
        try kernel.request(.container, message)
        for address in addresses where address.prefix.family == .v6 {
            try address.write(kernel, over: nil)
        }
        for var route in routes {
            route.table = Int(table ?? main)
            try route.write(kernel, over: nil)
        }
    }

    /// Leaves the VRF, if the interface is there and a member of it.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.link(link, in: .container)?.master,
            try kernel.link(index: index, in: .container)?.name == vrf
        else { return }
        try VRFMember(link, of: nil).write(kernel, over: self)
    }

    /// Whether the interface is no member.
    public func differences(from found: VRFMember) -> [Difference] {
        [Difference(in: "VRF of \(link)", wanted: vrf ?? "none", found: found.vrf ?? "none")]
            .compactMap { $0 }
    }
}
