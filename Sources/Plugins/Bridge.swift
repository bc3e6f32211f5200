import Addressing
public import CNI
public import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink
import SystemPackage

/// Joins the container to a Linux bridge on the host.
public enum Bridge: InterfacePlugin {
    /// The plugin's name.
    public static let name = "bridge"

    /// The bridge's port is the host's end.
    public static let hasHostEnd = true

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// Reads the configuration and CNI_ARGS.
    public static func options(_ call: Call) throws(CNIError) -> Options { try Options(call) }

    /// The bridge, which the host's containers share, and the pair of links that joins it.
    public static func interfaces(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        var bridge = Link(
            options.bridge, .bridge(filtersVLANs: options.filtersVLANs), in: .host, .shared)
        bridge.mtu = options.mtu
        bridge.promiscuous = options.promiscuous ? true : nil
        // With an address of its own, the bridge does not take its ports'.
        bridge.mac = attachment.bridgeMAC(options.bridge)
        bridge.firstMAC = .random()
        bridge.ignoresRouterAdvertisements = true
        // The first container is reached over IPv6 as soon as it is there.
        bridge.skipsDuplicateDetection = true
        bridge.isUp = true
        if options.checksSpoofing, !attachment.isForeign { bridge.learnsFromLinkLocal = false }

        let containerEnd = Link.Peer(
            attachment.interface, in: .container, mac: options.mac ?? attachment.mac)
        var hostEnd = Link(attachment.hostEnd, .veth(peer: containerEnd), in: .host, .owned)
        hostEnd.alias = attachment.tag
        hostEnd.master = options.bridge
        hostEnd.mac = attachment.hostMAC
        hostEnd.mtu = options.mtu
        hostEnd.hairpin = options.hairpin
        hostEnd.isIsolated = options.isIsolated
        hostEnd.isEnabled = true
        hostEnd.ignoresRouterAdvertisements = true
        hostEnd.linkLocal = .none
        hostEnd.isUp = true

        return Plan {
            bridge
            // In force before there is a port.
            if options.checksSpoofing, !attachment.isForeign {
                SpoofCheck(
                    owner: attachment.owner, port: attachment.hostEnd, mac: containerEnd.mac,
                    checksAddresses: options.checksAddresses)
            }
            hostEnd
            if let vlans = options.vlans(of: attachment.hostEnd, .part) { vlans }
        }
    }

    /// Fills in the gateways, and the default routes if the bridge is to be the default gateway.
    public static func complete(
        _ attachment: inout Attachment, _ options: Options
    ) throws(CNIError) {
        var result = attachment.result
        for index in result.addresses.indices {
            result.addresses[index].interface = 2
            let prefix = result.addresses[index].address
            if options.isGateway, result.addresses[index].gateway == nil {
                result.addresses[index].gateway = prefix.first.advanced(by: 1)
            }
            let everything = IPPrefix(everythingIn: prefix.family)
            let hasDefault = result.routes.contains {
                $0.destination == everything && $0.gateway != nil
            }
            if options.isDefaultGateway, !hasDefault {
                result.routes.append(
                    RouteEntry(everything, gateway: result.addresses[index].gateway))
            }
        }
        result.override(dns: options.dns)
        attachment.result = result
    }

    /// The container's addresses and routes, and the gateway's on the host.
    public static func network(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        let interface = attachment.interface
        let addresses = attachment.addresses
        let hasV6 = addresses.contains { $0.address.family == .v6 }
        return Plan {
            options.gateways(for: addresses)
            if options.checksAddresses, !attachment.isForeign {
                AddressCheck(
                    owner: attachment.owner, port: attachment.hostEnd,
                    addresses: attachment.senders(options.mac ?? attachment.mac))
            }
            attachment.masquerade(
                options.masquerade, mayHaveCheck: !options.checksSpoofing)
            if !options.leavesInterfaceDown {
                // An interface that gets its addresses otherwise is left as the kernel makes it.
                if !addresses.isEmpty {
                    Sysctl.announcesAddresses(of: interface)
                    Sysctl.forIPv6(
                        of: attachment, detectsDuplicates: options.detectsDuplicates,
                        hasAddress: hasV6)
                }
                LinkUp(interface, in: .container)
                for address in addresses {
                    Address(
                        address.address, on: interface, in: .container,
                        detectsDuplicates: options.detectsDuplicates)
                }
                for route in attachment.result.routes {
                    Route(route, by: attachment.gateway(for: route), on: interface)
                }
            }
            if options.isGateway {
                for path in Sysctl.forwarding(addresses) { Sysctl(path, "1", in: .host, .shared) }
            }
        }
    }

    /// Waits until the bridge forwards to the container, announces the container's addresses to
    /// the network, and lists the interfaces: bridge, host's end, container's end.
    public static func finish(
        _ attachment: inout Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) {
        let (hostEnd, interface) = (attachment.hostEnd, attachment.interface)
        let mac = options.mac ?? attachment.mac
        let onHost: [LinkState?] = try wrapping { () throws(KernelError) in
            if !options.leavesInterfaceDown {
                try kernel.waitForHostEnd(hostEnd)
                if options.detectsDuplicates { try kernel.waitForAddresses(of: interface) }
                if let mac, !attachment.addresses.isEmpty {
                    try kernel.confirmMAC(mac, of: interface, in: .container)
                }
            }
            return [
                try kernel.known(options.bridge, in: .host),
                try kernel.known(hostEnd, in: .host),
                try options.gatewayLink.flatMap { (name) throws(KernelError) in
                    try kernel.known(name, in: .host)
                },
            ]
        }
        var interfaces = onHost.compactMap { $0 }.map { link in
            AddResult.Interface(name: link.name, mac: link.mac.map { "\($0)" } ?? "")
        }
        let own = AddResult.Interface(
            name: interface, mac: mac.map { "\($0)" } ?? "", sandbox: attachment.netns)
        interfaces.insert(own, at: min(2, interfaces.count))
        attachment.result.interfaces = interfaces
    }

    /// Removes rules of owners that are no more.
    public static func sweep(
        _ kernel: Kernel, _ isStale: (Owner) -> Bool
    ) throws(KernelError) {
        try IPTablesRules.remove(.masquerade, from: kernel, isStale)
        let isStale = { (tag: String) in Owner(tag: tag).map(isStale) ?? false }
        try Masquerade.remove(from: kernel, isStale)
        try SpoofCheck.remove(from: kernel, isStale)
    }

    /// Removes rules of the reference's containers that are no more.
    public static func collectForeign(
        _ kernel: Kernel, of network: String,
        except valid: Set<NetworkConfiguration.ValidAttachment>
    ) throws(KernelError) {
        try ReferenceTables.collect(.masquerade, kernel, of: network, except: valid)
    }

    /// Throws code 50 if the bridge has as many ports as a bridge can, or if there have to be rules and cannot.
    public static func requireKernel(_ options: Options, _ kernel: Kernel) throws(CNIError) {
        if options.masquerade.isOn || options.checksSpoofing { try kernel.requireRules() }
        let count = try wrapping { () throws(KernelError) in
            try kernel.ports(of: options.bridge, in: .host).count
        }
        guard count >= Kernel.mostBridgePorts else { return }
        throw CNIError(
            .notAvailable, "bridge \(options.bridge): has \(count) ports, the most of a bridge")
    }
}

extension Bridge.Options {
    /// Whether the bridge has to tell VLANs apart.
    package var filtersVLANs: Bool { vlan != 0 || trunk != nil }

    /// The host's interface that is the gateway of a VLAN: the bridge itself sees no VLAN's
    /// packets without one.
    var gatewayLink: String? { isGateway && vlan != 0 && hasIPAM ? "\(bridge).\(vlan)" : nil }

    /// The VLANs of a port; nil where the bridge does not tell VLANs apart for it.
    func vlans(of port: String, _ sharing: Sharing) -> BridgeVLANs? {
        let trunk = trunk ?? []
        guard vlan != 0 || !trunk.isEmpty else { return nil }
        // A trunk without a VLAN of its own has VLAN 1 for packets without a tag.
        let untagged = vlan == 0 ? 1 : vlan
        let tagged = trunk.union(keepsDefaultVLAN ? [1] : []).subtracting([untagged])
        return BridgeVLANs(of: port, untagged: untagged, tagged: tagged, in: .host, sharing)
    }

    /// The gateways' addresses, on the bridge or on the VLAN's interface.
    func gateways(for addresses: [AddResult.Address]) -> [any Resource<Kernel>] {
        guard isGateway else { return [] }
        var steps: [any Resource<Kernel>] = []
        let port = gatewayLink.map(vethName)
        if let link = gatewayLink, let port {
            var end = Link(link, .veth(peer: Link.Peer(port, in: .host)), in: .host, .shared)
            end.mtu = mtu
            end.isUp = true
            end.ignoresRouterAdvertisements = true
            end.skipsDuplicateDetection = true
            var member = Link(port, .veth(peer: Link.Peer(link, in: .host)), in: .host, .shared)
            member.master = bridge
            member.isUp = true
            (end.servedBridge, end.servants) = (bridge, [port])
            (member.servedBridge, member.servants) = (bridge, [port])
            let vlans = BridgeVLANs(
                of: port, untagged: vlan, tagged: keepsDefaultVLAN && vlan != 1 ? [1] : [],
                in: .host, .shared)
            steps = [end, member, vlans]
        }
        for address in addresses {
            guard let gateway = address.gateway,
                let prefix = IPPrefix(gateway, length: address.address.length)
            else { continue }
            steps.append(
                GatewayAddress(
                    prefix: prefix, link: gatewayLink ?? bridge, bridge: bridge, port: port,
                    replacesOthers: forceAddress))
        }
        return steps
    }
}

extension Attachment {
    /// What the container may send from: its addresses, and the one that follows from the hardware
    /// address.
    fileprivate func senders(_ mac: MACAddress?) -> [IPAddress] {
        addresses.map(\.address.address) + [mac?.linkLocal].compactMap { $0 }
    }

    /// The hardware address that a bridge has according to the result; nil where that has it by another name.
    fileprivate func bridgeMAC(_ bridge: String) -> MACAddress? {
        result.interfaces.first { $0.name == bridge && $0.sandbox.isEmpty }
            .flatMap { MACAddress($0.mac) }
    }
}
