import Addressing
public import CNI
public import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Joins the container to the host by a veth pair of its own: all its packets are routed.
public enum PTP: InterfacePlugin {
    /// The plugin's name.
    public static let name = "ptp"

    /// The host's end has the gateways' addresses.
    public static let hasHostEnd = true

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// The keys of the ptp plugin.
    public struct Options: Sendable {
        package let masquerade: MasqueradeOptions
        let mtu: Int?
        let dns: AddResult.DNS?

        init(_ keys: inout Keys) throws(CNIError) {
            masquerade = try keys.masquerade()
            mtu = try keys.mtu()
            _ = try keys.ipamType()
            dns = try keys.dns()
        }
    }

    /// Reads the configuration.
    public static func options(_ call: Call) throws(CNIError) -> Options {
        try call.requireIPAM("ptp needs IPAM")
        var keys = Keys(call.configuration.json)
        let options = try Options(&keys)
        return options
    }

    /// The pair of links.
    public static func interfaces(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        let containerEnd = Link.Peer(attachment.interface, in: .container, mac: attachment.mac)
        var hostEnd = Link(attachment.hostEnd, .veth(peer: containerEnd), in: .host, .owned)
        hostEnd.alias = attachment.tag
        hostEnd.mac = attachment.hostMAC
        hostEnd.mtu = options.mtu
        hostEnd.ignoresRouterAdvertisements = true
        hostEnd.linkLocal = .own
        hostEnd.isUp = true
        return Plan { hostEnd }
    }

    /// Says whose the addresses are.
    public static func complete(
        _ attachment: inout Attachment, _ options: Options
    ) throws(CNIError) {
        for index in attachment.result.addresses.indices {
            attachment.result.addresses[index].interface = 1
        }
        attachment.result.override(dns: options.dns)
    }

    /// Routes between both ends: the container reaches even its own network by the gateway, and
    /// the host reaches each address by its link.
    public static func network(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        let (hostEnd, interface) = (attachment.hostEnd, attachment.interface)
        let addresses = attachment.addresses
        let hasV6 = addresses.contains { $0.address.family == .v6 }
        return Plan {
            attachment.masquerade(options.masquerade)
            for address in addresses {
                if let gateway = address.gateway {
                    Address(IPPrefix(host: gateway), on: hostEnd, in: .host)
                }
                Route(
                    to: IPPrefix(host: address.address.address), by: nil, on: hostEnd, in: .host)
            }
            Sysctl.forIPv6(
                of: attachment, detectsDuplicates: attachment.isForeign ? nil : false,
                hasAddress: hasV6)
            LinkUp(interface, in: .container)
            for address in addresses { PTP.containerEnd(address, interface) }
            for route in attachment.result.routes {
                Route(route, by: attachment.gateway(for: route), on: interface)
            }
            for path in Sysctl.forwarding(addresses) { Sysctl(path, "1", in: .host, .shared) }
        }
    }

    /// Waits until the pair works and lists the interfaces: host's end, container's end.
    public static func finish(
        _ attachment: inout Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) {
        let hostEnd = attachment.hostEnd
        try wrapping { () throws(KernelError) in try kernel.waitForHostEnd(hostEnd) }
        attachment.result.interfaces = [
            .init(name: hostEnd, mac: attachment.hostMAC.map { "\($0)" } ?? ""),
            .init(
                name: attachment.interface, mac: attachment.mac.map { "\($0)" } ?? "",
                sandbox: attachment.netns),
        ]
    }

    /// Removes rules of owners that are no more.
    public static func sweep(
        _ kernel: Kernel, _ isStale: (Owner) -> Bool
    ) throws(KernelError) {
        try Masquerade.remove(from: kernel) { tag in Owner(tag: tag).map(isStale) ?? false }
        try IPTablesRules.remove(.masquerade, from: kernel, isStale)
    }

    /// Removes rules of the reference's containers that are no more.
    public static func collectForeign(
        _ kernel: Kernel, of network: String,
        except valid: Set<NetworkConfiguration.ValidAttachment>
    ) throws(KernelError) {
        try ReferenceTables.collect(.masquerade, kernel, of: network, except: valid)
    }

    /// Throws code 50 if there have to be rules and cannot.
    public static func requireKernel(_ options: Options, _ kernel: Kernel) throws(CNIError) {
        if options.masquerade.isOn { try kernel.requireRules() }
    }

    /// An address in the container, and the way to its network.
    private static func containerEnd(
        _ address: AddResult.Address, _ interface: String
    ) -> [any Resource<Kernel>] {
        var own = Address(address.address, on: interface, in: .container)
        guard let gateway = address.gateway else { return [own] }
        own.bringsPrefixRoute = false
        var toGateway = Route(
            to: IPPrefix(host: gateway), by: nil, on: interface, in: .container)
        toGateway.source = address.address.address
        var toNetwork = Route(
            to: address.address.network, by: gateway, on: interface, in: .container)
        toNetwork.source = address.address.address
        return [own, toGateway, toNetwork]
    }
}
