internal import Addressing
public import CNI
internal import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// What a plugin with an interface in the container alone is configured with.
public protocol ContainerLinkOptions: Sendable {
    /// The name resolution that comes before IPAM's.
    var dns: AddResult.DNS? { get }
}

/// A plugin whose interface is in the container alone: it says what the interface is, and the
/// addresses and routes are as everywhere.
public protocol ContainerLinkPlugin: InterfacePlugin where Options: ContainerLinkOptions {}

extension ContainerLinkPlugin {
    /// There is none.
    public static var hasHostEnd: Bool { false }

    /// Says whose the addresses are.
    public static func complete(
        _ attachment: inout Attachment, _ options: Options
    ) throws(CNIError) {
        attachment.claimAddresses(dns: options.dns)
    }

    /// The interface up, its addresses and routes.
    public static func network(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        settings(attachment)
    }

    /// The interface up, its addresses and routes, whatever is configured.
    public static func settings(
        _ attachment: Attachment, detectsDuplicates: Bool = true
    ) -> Plan<Kernel> {
        let interface = attachment.interface
        let addresses = attachment.addresses
        let hasV6 = addresses.contains { $0.address.family == .v6 }
        return Plan {
            // An interface that comes up announces the addresses that it has by then.
            if !addresses.isEmpty {
                if !attachment.isForeign { Sysctl.announcesAddresses(of: interface) }
                if hasV6 { Sysctl.forIPv6(of: attachment, hasAddress: true) }
                for address in addresses {
                    Address(
                        address.address, on: interface, in: .container,
                        detectsDuplicates: detectsDuplicates)
                }
            }
            LinkUp(interface, in: .container)
            for route in attachment.result.routes {
                Route(route, by: attachment.gateway(for: route), on: interface)
            }
        }
    }

    /// Waits until the addresses can be used and lists the interface.
    public static func finish(
        _ attachment: inout Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) {
        try finish(&attachment, kernel)
    }

    /// Waits until the addresses can be used and lists the interface, whatever is configured.
    public static func finish(
        _ attachment: inout Attachment, _ kernel: Kernel
    ) throws(CNIError) {
        let interface = attachment.interface
        let hasV6 = attachment.addresses.contains { $0.address.family == .v6 }
        let link = try wrapping { () throws(KernelError) in
            if hasV6 { try kernel.waitForAddressesIfRunning(of: interface) }
            return try kernel.known(interface, in: .container)
        }
        attachment.result.interfaces = [
            .init(
                name: interface, mac: link?.mac.map { "\($0)" } ?? "", sandbox: attachment.netns)
        ]
    }
}

extension Attachment {
    /// A link of the container's own for this attachment.
    public func link(
        _ kind: ContainerLink.Kind, on lower: ContainerLink.Lower? = nil
    ) -> ContainerLink {
        var link = ContainerLink(interface, kind, on: lower, firstName: hostEnd)
        link.alias = tag
        link.former = former
        return link
    }

    /// Says that the addresses are those of the result's only interface.
    public mutating func claimAddresses(dns: AddResult.DNS?) {
        result.interfaces = []
        for index in result.addresses.indices { result.addresses[index].interface = 0 }
        result.override(dns: dns)
    }
}

extension Kernel {
    /// Waits for the addresses, and forgives a link that carries nothing: nobody answers there.
    fileprivate func waitForAddressesIfRunning(of interface: String) throws(KernelError) {
        do throws(KernelError) {
            try waitForAddresses(of: interface)
        } catch  where error.errno == .timedOut {
            guard try link(interface, in: .container)?.isOperational == true else { return }
            throw error
        }
    }
}
