public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// A link that is in the container alone, made where it stays.
///
/// It may stand on another link, of the host or of the container.
public struct ContainerLink: Resource {
    /// The link that another stands on.
    public struct Lower: Sendable, Equatable, CustomStringConvertible {
        /// Its name; nil for the link of the default route when the upper one is made.
        public var name: String?
        /// The namespace it is in.
        public var side: Side

        /// The link of a name, or of the default route.
        public init(_ name: String?, in side: Side) {
            self.name = name
            self.side = side
        }

        /// Its name.
        public var description: String { name ?? "none" }
    }

    /// Its name.
    public let name: String
    /// What makes it.
    public private(set) var kind: Kind
    /// What it stands on; nil for a kind that stands on nothing.
    public private(set) var lower: Lower?
    /// The name it is made under where its own may be taken on the host: the kernel looks for the
    /// name in the namespace that asks, before Linux 6.14.
    public let firstName: String
    /// Its MTU in bytes at first, which others may change; nil for the lower link's.
    public var mtu: Int?
    /// Its hardware address; nil leaves it to the kernel.
    public var mac: MACAddress?
    /// The bridge in the container that it is a port of.
    public var master: String?
    /// Its alias, which says whose it is.
    public var alias: String?
    /// What the result of ADD says of it; nil where there is none.
    public var former: FormerInterface?

    /// A link of a kind.
    public init(_ name: String, _ kind: Kind, on lower: Lower? = nil, firstName: String) {
        self.name = name
        self.kind = kind
        self.lower = lower
        self.firstName = firstName
    }

    /// The attachment's own.
    public var sharing: Sharing { .owned }

    /// It must not be there before.
    public var isExclusive: Bool { true }

    /// `link eth0`.
    public var description: String { "link \(name)" }

    /// The link as it is, or nil if there is none of the name.
    public func read(_ kernel: Kernel) throws(KernelError) -> ContainerLink? {
        guard let state = try kernel.link(name, in: .container) else { return nil }
        guard state.kind == kind.name else {
            throw KernelError(
                description, .fileExists, detail: "\"\(name)\" is not a \(kind.name)")
        }
        var found = self
        found.kind = kind.found(in: state.settings)
        found.mac = state.mac
        found.alias = state.alias
        found.master = try state.master.flatMap { (index) throws(KernelError) in
            try kernel.name(of: index, otherwise: master, in: .container)
        }
        if let lower, lower.name != nil {
            found.lower?.name = try state.peer.flatMap { (index) throws(KernelError) in
                try kernel.name(of: index, otherwise: lower.name, in: lower.side)
            }
        }
        return found
    }

    /// Makes the link; one that is there is not changed.
    public func write(_ kernel: Kernel, over found: ContainerLink?) throws(KernelError) {
        guard found == nil else { return }
        let temporary = lower?.side == .host ? firstName : name
        try create(kernel, as: temporary)
        var isNamed = false
        do throws(KernelError) {
            let index = try kernel.index(of: temporary, in: .container)
            var message = Message(
                "name \(description)", type: RTM_SETLINK, ifinfomsg(index: index))
            if temporary != name { message.put(IFLA_IFNAME, name) }
            if let alias { message.put(IFLA_IFALIAS, alias) }
            if case .tap = kind { put(into: &message) }
            if let master {
                message.put(IFLA_MASTER, try kernel.index(of: master, in: .container))
            }
            try kernel.request(.container, message)
            isNamed = true
            try kernel.forget(temporary, in: .container)
            _ = try kernel.link(name, in: .container)
        } catch {
            // To the outside a link is made whole or not at all.
            _ = try? remove(isNamed ? name : temporary, kernel)
            throw error
        }
    }

    /// Removes the link if it is this owner's, or may be.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard kernel.hasContainer else { return }
        if try !remove(name, kernel) { _ = try remove(firstName, kernel) }
    }

    /// The settings in which `found` misses this state.
    public func differences(from found: ContainerLink) -> [Difference] {
        let named = lower?.name == nil ? nil : lower
        return kind.differences(from: found.kind, of: description)
            + [
                Difference(in: "\(description): master", wanted: named, found: found.lower),
                Difference(in: "\(description): bridge", wanted: master, found: found.master),
                Difference(in: "\(description): address", wanted: mac, found: found.mac),
                Difference(in: "\(description): alias", wanted: alias, found: found.alias),
            ].compactMap { $0 }
    }

    /// Removes a link of this kind that carries this owner's tag, or none and may be its; whether there
    /// was one.
    ///
    /// An alias that is no tag is the container's own, which can write what it likes.
    @discardableResult
    private func remove(_ name: String, _ kernel: Kernel) throws(KernelError) -> Bool {
        guard let state = try kernel.link(name, in: .container), state.kind == kind.name else {
            return false
        }
        if alias == nil || state.alias != alias {
            if alias != nil, state.alias.flatMap(ownerWords) != nil { return false }
            if name == self.name, let former, try !former.fits(state, kernel) { return false }
        }
        try kernel.removeLinks([state.index], in: .container)
        try kernel.forget(name, in: .container)
        return true
    }

    private func create(_ kernel: Kernel, as name: String) throws(KernelError) {
        if case .tap(let settings) = kind {
            return try kernel.makeTap(name, settings, in: .container)
        }
        var message = Message(
            "add \(description)", type: RTM_NEWLINK, flags: [.create, .exclusive], ifinfomsg())
        message.put(IFLA_IFNAME, name)
        if let lower {
            let below = try kernel.below(lower)
            guard (0...(kind.mayExceedLower ? .max : below.mtu)).contains(mtu ?? 0) else {
                throw KernelError(
                    "add \(description)", .invalidArgument,
                    detail: "invalid MTU \(mtu ?? 0), must be [0, master MTU(\(below.mtu))]")
            }
            message.put(IFLA_LINK, below.index)
            if lower.side == .host {
                message.put(IFLA_NET_NS_FD, UInt32(try kernel.containerDescriptor().rawValue))
            }
        }
        put(into: &message)
        message.nest(IFLA_LINKINFO) { info in
            info.put(IFLA_INFO_KIND, kind.name)
            info.nest(IFLA_INFO_DATA) { kind.put(into: &$0) }
        }
        try kernel.request(lower?.side ?? .container, message)
    }

    private func put(into message: inout Message) {
        if let mtu { message.put(IFLA_MTU, UInt32(mtu)) }
        if let mac { message.put(IFLA_ADDRESS, bytes: mac.bytes) }
    }
}

extension Kernel {
    /// The link that another is to stand on.
    fileprivate func below(_ lower: ContainerLink.Lower) throws(KernelError) -> LinkState {
        if let name = lower.name {
            guard let link = try link(name, in: lower.side) else {
                throw KernelError("find master \(name)", .noSuchDevice)
            }
            return link
        }
        guard let index = try defaultRouteLink(in: lower.side),
            let link = try link(index: index, in: lower.side)
        else {
            throw KernelError(
                "find master", .noSuchDevice, detail: "no default route interface found")
        }
        return link
    }
}
