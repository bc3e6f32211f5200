public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// A link of the host that is lent to the container.
///
/// Its alias in the container is its name on the host, by which it finds back.
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
    /// Its hardware address as a result has it.
    public var mac: MACAddress?

    /// A link of the host, under a name in the container.
    public init(_ name: String, from device: Device) {
        self.name = name
        self.device = device
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
        do throws(KernelError) {
            try kernel.request(.host, message)
        } catch {
            // The kernel moves first and names then: what stopped in between goes back.
            if let stray = try kernel.link(state.name, in: .container), stray.mac == state.mac,
                try kernel.link(index: state.index, in: .host)?.name != state.name
            {
                try? kernel.moveHome(stray, as: state.name)
            }
            throw error
        }
        _ = try kernel.link(name, in: .container)
    }

    /// Moves the link back to the host, down as its driver left it, or up again if this same process
    /// saw it up there.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard kernel.hasContainer, let state = try kernel.link(name, in: .container) else {
            return try restoreName(kernel)
        }
        // Another plugin's link says more than a name, or nothing.
        guard let original = state.alias, isLinkName(original) else { return }
        let wasUp = try kernel.known(original, in: .host)?.isUp == true
        if try kernel.link(original, in: .host) != nil, original != name {
            throw KernelError(
                "move link \(name) back to the host", .fileExists,
                detail: "the host has another link \(original)")
        }
        try kernel.moveHome(state, as: original, up: wasUp)
        try kernel.forget(name, in: .container)
    }

    /// The settings in which `found` misses this state.
    public func differences(from found: MovedLink) -> [Difference] {
        [Difference(in: "\(description): address", wanted: mac, found: found.mac)].compactMap { $0 }
    }

    /// Gives a link its name again that the kernel moved back when its container's namespace ended,
    /// under whatever name it had there.
    private func restoreName(_ kernel: Kernel) throws(KernelError) {
        guard case .named(let original) = device, try kernel.link(original, in: .host) == nil,
            let state = try kernel.allLinks(in: .host).first(where: { $0.alias == original })
        else { return }
        var down = Message(
            "set link \(state.name) down", type: RTM_SETLINK,
            ifinfomsg(index: state.index, clear: UInt32(IFF_UP)))
        down.put(IFLA_IFALIAS, bytes: [])
        var rename = Message(
            "name link \(original)", type: RTM_SETLINK, ifinfomsg(index: state.index))
        rename.put(IFLA_IFNAME, original)
        try kernel.perform(.host, [down, rename])
    }
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
