package import Addressing
package import Netlink
package import Plan
package import Rtnetlink
import SystemPackage

/// The address under which a host's link is the gateway of a network.
///
/// A link has one IPv4 address, and no two IPv6 addresses whose networks overlap, unless told to
/// replace the other.
package struct GatewayAddress: Resource {
    /// The address, with its network.
    package let prefix: IPPrefix
    /// The link that has it.
    package let link: String
    /// The bridge whose containers use the gateway, and the port by which it has it, if not itself.
    let bridge: String
    let port: String?
    let replacesOthers: Bool

    package var sharing: Sharing { .shared }
    package var description: String { "gateway \(prefix) on \(link)" }

    package func read(_ kernel: Kernel) throws(KernelError) -> GatewayAddress? {
        let present = try kernel.knownAddresses(of: link, in: .host)
        if present.contains(where: { $0.prefix == prefix }) { return self }
        if let other = present.first(where: conflicts), !replacesOthers {
            throw KernelError(
                "add address \(prefix) to \(link)", .fileExists,
                detail: "\"\(link)\" already has an IP address different from \(prefix)"
                    + " (\(other.prefix))")
        }
        return nil
    }

    package func write(_ kernel: Kernel, over found: GatewayAddress?) throws(KernelError) {
        guard let state = try kernel.link(link, in: .host) else {
            throw KernelError("add address \(prefix) to \(link)", .noSuchDevice)
        }
        defer { kernel.forgetAddresses() }
        for other in try kernel.knownAddresses(of: link, in: .host)
        where conflicts(other) && other.prefix != prefix {
            try other.erase(kernel)
        }
        try address.write(kernel, over: nil)
        // A bridge without a hardware address of its own takes its lowest port's, and changes it
        // as containers come and go.
        if let mac = state.mac { try kernel.confirmMAC(mac, of: link, in: .host) }
    }

    package func erase(_ kernel: Kernel) throws(KernelError) { try address.erase(kernel) }

    package func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        try !kernel.hasPorts(bridge, besides: Set([port].compactMap { $0 }), in: .host)
    }

    package func differences(from found: GatewayAddress) -> [Difference] { [] }

    private var address: Address { Address(prefix, on: link, in: .host, .shared) }

    private func conflicts(_ other: Address) -> Bool {
        guard other.prefix.family == prefix.family else { return false }
        return prefix.family == .v4 || other.prefix.contains(prefix.address)
            || prefix.contains(other.prefix.address)
    }
}
