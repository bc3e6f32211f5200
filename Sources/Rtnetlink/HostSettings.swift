internal import Addressing
internal import CLinux
internal import Netlink
internal import Plan
internal import SystemPackage

/// What a link of the host has there and loses when it is moved, for an ADD that fails to put back.
struct HostSettings {
    /// The link as it was.
    let state: LinkState
    private let addresses: [Address]
    private let routes: [ListedRoute]

    /// The settings of a link of the host.
    ///
    /// One without addresses has no routes that anybody made: only then they are asked for.
    init(of state: LinkState, _ kernel: Kernel) throws(KernelError) {
        self.state = state
        // A link's own address of IPv6 the kernel makes itself.
        addresses = try kernel.addresses(of: state.index, state.name, in: .host)
            .filter { $0.prefix.family == .v4 || !$0.prefix.address.isLinkLocal }
        routes = addresses.isEmpty ? [] : try kernel.madeRoutes(outOf: state.index, in: .host)
    }

    /// Gives them to the link that is back, under its name, up if it was.
    func restore(_ kernel: Kernel) throws(KernelError) {
        guard let back = try kernel.link(state.name, in: .host) else { return }
        var message = Message(
            "restore link \(state.name)", type: RTM_SETLINK, ifinfomsg(index: back.index))
        if let alias = state.alias { message.put(IFLA_IFALIAS, alias) }
        if let master = state.master { message.put(IFLA_MASTER, master) }
        if state.alias != nil || state.master != nil { try kernel.request(.host, message) }
        for address in addresses { try address.write(kernel, over: nil) }
        for var route in routes {
            // The kernel gives it another index where its own is taken meanwhile.
            route.link = back.index
            try route.write(kernel, over: nil)
        }
    }
}
