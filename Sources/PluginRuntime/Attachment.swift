public import Addressing
public import CNI
public import Rtnetlink

/// A container's interface on a network: what a plugin's plan is made from.
public struct Attachment: Sendable {
    /// Whose everything is.
    public let owner: Owner
    /// The path of the container's namespace.
    public let netns: String
    /// The hardware address of the container's interface; nil where it does not matter.
    public var mac: MACAddress?
    /// The hardware address of the host's end; nil where it does not matter.
    public var hostMAC: MACAddress?
    /// The addresses, routes and name servers: IPAM's answer, then the plugin's.
    public var result: AddResult

    /// What an earlier ADD's result says of the interface; nil where there is none, or not enough.
    public let former: FormerInterface?

    /// The interface in the container.
    public var interface: String { owner.interface }
    /// The host's end of its veth pair, if it has one.
    public private(set) var hostEnd: String
    /// Whether another implementation made it, which tags nothing and sets less.
    public internal(set) var isForeign = false
    /// The tag that its links carry; nil for another implementation's.
    public var tag: String? { isForeign ? nil : owner.tag }

    /// The attachment that a call is about, its addresses not known yet.
    public init(_ call: Call) {
        owner = call.owner
        netns = call.invocation.netns
        hostEnd = owner.hostEnd
        result = AddResult()
        former = call.configuration.previous?.former(call.invocation.interface)
    }

    /// The attachment as an earlier ADD's result describes it, for CHECK.
    ///
    /// - Throws: Code 7 if the result is of another namespace or lacks the interface.
    package init(_ call: Call, previous: AddResult) throws(CNIError) {
        self.init(call)
        result = previous
        let interfaces = previous.interfaces
        let named = interfaces.indices.filter { interfaces[$0].name == interface }
        guard let other = named.last else {
            throw CNIError(
                .invalidConfiguration, "prevResult.interfaces: interface \(interface) is missing")
        }
        guard let own = named.first(where: { interfaces[$0].sandbox == netns }) else {
            throw CNIError(
                .invalidConfiguration,
                "Sandbox in prevResult \(interfaces[other].sandbox) doesn't match configured "
                    + "netns: \(netns)")
        }
        mac = MACAddress(interfaces[own].mac)
        let onHost = interfaces.indices.filter { interfaces[$0].sandbox.isEmpty }
        // Another implementation lists its host's end, whose name is random, just before this one's. A
        // bridge, which comes before that, may be called so as well.
        let ends = onHost.filter { interfaces[$0].name.hasPrefix("veth") }
        let end =
            onHost.first { interfaces[$0].name == owner.hostEnd } ?? ends.last { $0 < own }
            ?? ends.first
        guard let end else { return }
        hostEnd = interfaces[end].name
        isForeign = hostEnd != owner.hostEnd
        hostMAC = MACAddress(interfaces[end].mac)
    }

    /// The addresses of the container's interface.
    public var addresses: [AddResult.Address] { result.addresses(inside: interface) }

    /// The next hop of a route: its own, or the first gateway of its family if the route's scope
    /// reaches beyond the link.
    public func gateway(for route: RouteEntry) -> IPAddress? {
        guard route.gateway == nil, route.scope.map({ $0 < Route.linkScope }) ?? true else {
            return route.gateway
        }
        return addresses.first { $0.gateway?.family == route.destination.family }?.gateway
    }
}

extension AddResult {
    /// The addresses of the interfaces that are meant, and those of which the result does not say whose
    /// they are.
    public func addresses(of isMeant: (Interface) -> Bool) -> [Address] {
        addresses.filter { address in
            guard let index = address.interface, interfaces.indices.contains(index) else {
                return true
            }
            return isMeant(interfaces[index])
        }
    }

    /// The addresses of a container's interface, and those of which the result does not say whose they are.
    fileprivate func addresses(inside interface: String) -> [Address] {
        addresses { $0.name == interface && !$0.sandbox.isEmpty }
    }

    /// What it says of an interface, if it has its hardware address.
    fileprivate func former(_ interface: String) -> FormerInterface? {
        guard
            let mac = interfaces.first(where: { $0.name == interface && !$0.sandbox.isEmpty })
                .flatMap({ MACAddress($0.mac) })
        else { return nil }
        return FormerInterface(mac, addresses(inside: interface).map(\.address.address))
    }
}
