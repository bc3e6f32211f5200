public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// A link of the host that is lent to the container.
///
/// Its alias there is its name on the host, as another implementation has it. An alternative name says to
/// whom it is lent: by that it is found, wherever it is and whatever it is called by then. Another one
/// says what it was called, by which it is named again when it comes back.
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
    /// What the result of ADD says of it; nil where there is none.
    public var former: FormerInterface?

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
        // What is on the host is lent to nobody; another implementation's DEL leaves the marks.
        let own = marks(of: state.name)
        let settings = try HostSettings(of: state, kernel)
        try kernel.setMarks(state.marks.filter { !own.contains($0) }, of: state, areSet: false)
        try kernel.setMarks(own, of: state, areSet: true)
        kernel.lent = settings
        do throws(KernelError) {
            try kernel.request(.host, message)
        } catch {
            // The kernel moves first and names then: what stopped in between goes back.
            if let stray = try kernel.link(state.name, in: .container), stray.mac == state.mac,
                try kernel.link(index: state.index, in: .host)?.name != state.name
            {
                try? kernel.moveHome(stray, as: state.name, up: state.isUp)
                try? settings.restore(kernel)
            }
            if let here = try? kernel.link(state.name, in: .host) {
                try? kernel.setMarks(own, of: here, areSet: false)
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

    /// Moves the link back to the host, down as its driver left it, or just as it was if this same process
    /// has lent it.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard kernel.hasContainer, let state = try lent(kernel) else {
            return try restoreName(kernel)
        }
        guard let original = originalName(of: state) else {
            throw KernelError(
                "move link \(state.name) back to the host", .noSuchDevice,
                detail: "nothing is left that says what it was called there")
        }
        let settings = kernel.lent.flatMap { $0.state.name == original ? $0 : nil }
        if try kernel.link(original, in: .host) != nil {
            throw KernelError(
                "move link \(state.name) back to the host", .fileExists,
                detail: "the host has another link \(original)")
        }
        try kernel.moveHome(state, as: original, up: settings?.state.isUp == true)
        try kernel.forget(state.name, in: .container)
        if let back = try kernel.link(alternativeName: mark, in: .host) {
            try kernel.setMarks(marks(in: back), of: back, areSet: false)
        }
        try settings?.restore(kernel)
    }

    /// The link in the container: the marked one, or one that another implementation lent, which
    /// marks none, and of which something must say that it is this one: any link can have an alias.
    private func lent(_ kernel: Kernel) throws(KernelError) -> LinkState? {
        if let marked = try kernel.link(alternativeName: mark, in: .container) { return marked }
        guard let state = try kernel.link(name, in: .container), state.marks.isEmpty,
            let alias = state.alias, isLinkName(alias)
        else { return nil }
        let isMeant =
            switch device {
            case .named(let original): alias == original
            case .withMAC(let mac): state.mac == mac
            case .oneOf: try former?.fits(state, kernel) ?? false
            }
        return isMeant ? state : nil
    }

    /// The alternative names of the link while it is lent.
    private func marks(of original: String) -> [String] { [mark, "\(mark).\(original)"] }

    /// Those of them that it has.
    private func marks(in state: LinkState) -> [String] {
        state.marks.filter { $0 == mark || $0.hasPrefix("\(mark).") }
    }

    /// What the link was called on the host: its second mark says so, or the configuration, or its alias,
    /// which is the easiest to change in the container.
    private func originalName(of state: LinkState) -> String? {
        let noted = marks(in: state).lazy.map { String($0.dropFirst(mark.count + 1)) }
            .first { isLinkName($0) }
        if let noted { return noted }
        // A device may be named by an alternative name, too.
        if case .named(let original) = device, !state.alternativeNames.contains(original) {
            return original
        }
        return state.alias.flatMap { isLinkName($0) ? $0 : nil }
    }

    /// The settings in which `found` misses this state.
    public func differences(from found: MovedLink) -> [Difference] {
        [Difference(in: "\(description): address", wanted: mac, found: found.mac)].compactMap { $0 }
    }

    /// Gives a link its name again that the kernel moved back when its container's namespace ended,
    /// under whatever name it had there; one whose name somebody else has by then keeps what it has.
    ///
    /// One that still has its name, as an ADD that was killed before the move leaves it, is as it was but
    /// for the marks.
    private func restoreName(_ kernel: Kernel) throws(KernelError) {
        if let marked = try kernel.link(alternativeName: mark, in: .host) {
            if let original = originalName(of: marked),
                try !restore(original, of: marked, kernel)
            {
                return
            }
            try kernel.setMarks(marks(in: marked), of: marked, areSet: false)
        } else if case .named(let original) = device,
            try kernel.link(original, in: .host) == nil,
            let state = try kernel.allLinks(in: .host).first(where: { cameHome($0, original) })
        {
            _ = try restore(original, of: state, kernel)
        }
    }

    /// Whether a link that is not marked is one that another implementation lent, and that is on the host
    /// as the kernel leaves it there: down, and under its name in the container or one of the kernel's.
    private func cameHome(_ state: LinkState, _ original: String) -> Bool {
        guard state.alias == original, !state.isUp, state.marks.isEmpty else { return false }
        let isKernels =
            state.name.hasPrefix("dev")
            && state.name.utf8.dropFirst(3).allSatisfy { (0x30...0x39).contains($0) }
        return state.name == name || isKernels
    }

    /// Gives a link of the host its name again, and takes the alias away that says it; whether the name
    /// was free.
    private func restore(
        _ original: String, of state: LinkState, _ kernel: Kernel
    ) throws(KernelError) -> Bool {
        let hasName = state.name == original
        if !hasName {
            guard try kernel.link(original, in: .host) == nil else { return false }
            var rename = Message(
                "name link \(original)", type: RTM_SETLINK, ifinfomsg(index: state.index))
            rename.put(IFLA_IFNAME, original)
            let down = Message(
                "set link \(state.name) down", type: RTM_SETLINK,
                ifinfomsg(index: state.index, clear: UInt32(IFF_UP)))
            try kernel.perform(.host, [down, rename])
        }
        if !hasName || state.alias == original {
            var clear = Message(
                "clear alias of \(original)", type: RTM_SETLINK, ifinfomsg(index: state.index))
            clear.put(IFLA_IFALIAS, bytes: [])
            try kernel.request(.host, clear)
        }
        return true
    }

    /// What every mark starts with.
    public static let markPrefix = "lent"
}

extension LinkState {
    /// Its alternative names that say to whom it is lent.
    fileprivate var marks: [String] {
        alternativeNames.filter { $0.hasPrefix(MovedLink.markPrefix) }
    }
}

/// Whether a link can have this name.
private func isLinkName(_ text: String) -> Bool {
    (1...LinkState.longestName).contains(text.utf8.count)
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

    /// Gives a link of the host alternative names, or takes them away.
    fileprivate func setMarks(
        _ marks: [String], of link: LinkState, areSet: Bool
    ) throws(KernelError) {
        let changed = marks.filter { link.alternativeNames.contains($0) != areSet }
        guard !changed.isEmpty else { return }
        var message = Message(
            areSet ? "mark link \(link.name)" : "unmark link \(link.name)",
            type: areSet ? RTM_NEWLINKPROP : RTM_DELLINKPROP,
            flags: areSet ? [.create, .exclusive] : [], ifinfomsg(index: link.index))
        message.nest(IFLA_PROP_LIST | Int(NLA_F_NESTED)) { list in
            for name in changed { list.put(IFLA_ALT_IFNAME, name) }
        }
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
