public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// A link of the host that is lent to the container.
///
/// Its alias there is its name on the host, by which it is named again when it comes back. An
/// alternative name says to whom it is lent: by that it is found, wherever it is and whatever it is
/// called by then.
public struct MovedLink: Resource {
    /// How a link of the host is found.
    public enum Device: Sendable, Equatable {
        /// By its name.
        case named(String)
        /// By its hardware address.
        case withMAC(MACAddress)
        /// The first that exists of these names.
        case oneOf([String])
    }

    /// Its name in the container.
    public let name: String
    /// Which link of the host it is.
    public let device: Device
    /// Its alternative name as long as it is lent.
    public let mark: String
    /// Its hardware address as a result has it.
    public var mac: MACAddress?

    /// A link of the host, under a name in the container.
    public init(_ name: String, from device: Device, mark: String) {
        self.name = name
        self.device = device
        self.mark = mark
    }

    /// The attachment's own as long as it lasts.
    public var sharing: Sharing { .owned }

    /// It must not be there before.
    public var isExclusive: Bool { true }

    /// `link eth0`.
    public var description: String { "link \(name)" }

    /// The link as it is in the container, or nil.
    public func read(_ kernel: Kernel) throws(KernelError) -> MovedLink? {
        guard let state = try kernel.link(name, in: .container) else { return nil }
        var found = self
        found.mac = state.mac
        return found
    }

    /// Moves the link from the host into the container.
    public func write(_ kernel: Kernel, over found: MovedLink?) throws(KernelError) {
        guard let state = try kernel.device(device) else {
            throw KernelError("find host device", .noSuchDevice, detail: "\(device)")
        }
        let operation = "move link \(state.name) to \(name) in the container"
        if try kernel.link(name, in: .container) != nil {
            throw KernelError(operation, .fileExists)
        }
        var message = Message(operation, type: RTM_SETLINK, ifinfomsg(index: state.index))
        message.put(IFLA_NET_NS_FD, UInt32(try kernel.containerDescriptor().rawValue))
        message.put(IFLA_IFNAME, name)
        message.put(IFLA_IFALIAS, state.name)
        // What is on the host is lent to nobody; another implementation's DEL leaves the mark.
        for old in state.alternativeNames where old != mark && old.hasPrefix(Self.markPrefix) {
            try kernel.setMark(old, of: state, isSet: false)
        }
        try kernel.setMark(mark, of: state, isSet: true)
        do throws(KernelError) {
            try kernel.request(.host, message)
        } catch {
            // The kernel moves first and names then: what stopped in between goes back.
            if let stray = try kernel.link(state.name, in: .container), stray.mac == state.mac,
                try kernel.link(index: state.index, in: .host)?.name != state.name
            {
                try? kernel.moveHome(stray, as: state.name)
            }
            if let here = try? kernel.link(state.name, in: .host) {
                try? kernel.setMark(mark, of: here, isSet: false)
            }
            throw error
        }
        do throws(KernelError) {
            _ = try kernel.link(name, in: .container)
        } catch {
            try? erase(kernel)
            throw error
        }
    }

    /// Moves the link back to the host, down as its driver left it, or up again if this same process
    /// saw it up there.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard kernel.hasContainer, let state = try lent(kernel) else {
            return try restoreName(kernel)
        }
        guard let original = state.alias, isLinkName(original) else { return }
        let wasUp = try kernel.known(original, in: .host)?.isUp == true
        if try kernel.link(original, in: .host) != nil {
            throw KernelError(
                "move link \(state.name) back to the host", .fileExists,
                detail: "the host has another link \(original)")
        }
        try kernel.moveHome(state, as: original, up: wasUp)
        try kernel.forget(state.name, in: .container)
        if let back = try kernel.link(alternativeName: mark, in: .host) {
            try kernel.setMark(mark, of: back, isSet: false)
        }
    }

    /// The link in the container: the marked one, or one that another implementation lent, which
    /// marks none.
    private func lent(_ kernel: Kernel) throws(KernelError) -> LinkState? {
        if let marked = try kernel.link(alternativeName: mark, in: .container) { return marked }
        guard let state = try kernel.link(name, in: .container),
            !state.alternativeNames.contains(where: { $0.hasPrefix(Self.markPrefix) })
        else { return nil }
        if case .named(let original) = device, state.alias != original { return nil }
        return state
    }

    /// The settings in which `found` misses this state.
    public func differences(from found: MovedLink) -> [Difference] {
        [Difference(in: "\(description): address", wanted: mac, found: found.mac)].compactMap { $0 }
    }

    /// Gives a link its name again that the kernel moved back when its container's namespace ended,
    /// under whatever name it had there; one whose name somebody else has by then keeps what it has.
    private func restoreName(_ kernel: Kernel) throws(KernelError) {
        let marked = try kernel.link(alternativeName: mark, in: .host)
        var candidate = marked
        if candidate == nil, case .named(let original) = device,
            try kernel.link(original, in: .host) == nil
        {
            candidate = try kernel.allLinks(in: .host).first { $0.alias == original }
        }
        guard let state = candidate else { return }
        if let original = state.alias, isLinkName(original) {
            if state.name != original {
                guard try kernel.link(original, in: .host) == nil else { return }
                var rename = Message(
                    "name link \(original)", type: RTM_SETLINK, ifinfomsg(index: state.index))
                rename.put(IFLA_IFNAME, original)
                let down = Message(
                    "set link \(state.name) down", type: RTM_SETLINK,
                    ifinfomsg(index: state.index, clear: UInt32(IFF_UP)))
                try kernel.perform(.host, [down, rename])
            }
            var clear = Message(
                "clear alias of \(original)", type: RTM_SETLINK, ifinfomsg(index: state.index))
            clear.put(IFLA_IFALIAS, bytes: [])
            try kernel.request(.host, clear)
        }
        if marked != nil { try kernel.setMark(mark, of: state, isSet: false) }
    }

    /// What every mark starts with.
    public static let markPrefix = "lent"
}

/// Whether a link can have this name.
private func isLinkName(_ text: String) -> Bool {
    (1..<Int(IFNAMSIZ)).contains(text.utf8.count)
        && text.utf8.allSatisfy { $0 > UInt8(ascii: " ") && $0 != UInt8(ascii: "/") }
}

extension MovedLink.Device: CustomStringConvertible {
    /// `up0`, or the hardware address, or the names.
    public var description: String {
        switch self {
        case .named(let name): name
        case .withMAC(let mac): mac.description
        case .oneOf(let names): names.joined(separator: ", ")
        }
    }
}

extension Kernel {
    /// The link of the host that is meant, or nil.
    fileprivate func device(_ device: MovedLink.Device) throws(KernelError) -> LinkState? {
        switch device {
        case .named(let name): return try link(name, in: .host)
        case .withMAC(let mac):
            guard let found = try allLinks(in: .host).first(where: { $0.mac == mac }) else {
                return nil
            }
            return try link(found.name, in: .host)
        case .oneOf(let names):
            for name in names {
                if let found = try link(name, in: .host) { return found }
            }
            return nil
        }
    }

    /// A link by an alternative name, or nil; before Linux 5.5 there are none.
    fileprivate func link(
        alternativeName: String, in side: Side
    ) throws(KernelError) -> LinkState? {
        var message = Message("find link \(alternativeName)", type: RTM_GETLINK, ifinfomsg())
        message.put(IFLA_ALT_IFNAME, alternativeName)
        do throws(KernelError) {
            return try link(&message, in: side)
        } catch  where [.invalidArgument, .notSupportedOnSocket].contains(error.errno) {
            return nil
        }
    }

    /// Gives a link of the host an alternative name, or takes it away.
    fileprivate func setMark(
        _ mark: String, of link: LinkState, isSet: Bool
    ) throws(KernelError) {
        guard link.alternativeNames.contains(mark) != isSet else { return }
        var message = Message(
            isSet ? "mark link \(link.name)" : "unmark link \(link.name)",
            type: isSet ? RTM_NEWLINKPROP : RTM_DELLINKPROP,
            flags: isSet ? [.create, .exclusive] : [], ifinfomsg(index: link.index))
        message.nest(IFLA_PROP_LIST | Int(NLA_F_NESTED)) { $0.put(IFLA_ALT_IFNAME, mark) }
        try tolerating(.notSupportedOnSocket) { () throws(KernelError) in
            try request(.host, message)
        }
    }

    /// Moves a link from the container to the host, under a name that is free there.
    fileprivate func moveHome(
        _ state: LinkState, as name: String, up: Bool = false
    ) throws(KernelError) {
        var message = Message(
            "move link \(state.name) back to the host as \(name)", type: RTM_SETLINK,
            ifinfomsg(index: state.index, set: up ? UInt32(IFF_UP) : 0))
        message.put(IFLA_NET_NS_FD, UInt32(homeDescriptor.rawValue))
        message.put(IFLA_IFNAME, name)
        message.put(IFLA_IFALIAS, bytes: [])
        try request(.container, message)
    }
}
