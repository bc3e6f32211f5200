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
    private let replaced = Replaced()

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
            if replaced.addresses.isEmpty {
                replaced.users = try kernel.ports(of: bridge, in: .host)
            }
            try other.erase(kernel)
            replaced.addresses.append(other)
        }
        try address.write(kernel, over: nil)
        // A bridge without a hardware address of its own takes its lowest port's, and changes it
        // as containers come and go.
        if let mac = state.mac { try kernel.confirmMAC(mac, of: link, in: .host) }
    }

    /// Removes the address, and brings back those that it replaced.
    package func erase(_ kernel: Kernel) throws(KernelError) {
        defer { kernel.forgetAddresses() }
        try address.erase(kernel)
        for other in replaced.addresses { try other.write(kernel, over: nil) }
    }

    /// Whether no container came to the bridge for this address: those that were there when it
    /// replaced another used that one.
    package func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        let others = replaced.users.union([port].compactMap { $0 })
        return try !kernel.hasPorts(bridge, besides: others, in: .host)
    }

    package func differences(from found: GatewayAddress) -> [Difference] { [] }

    init(prefix: IPPrefix, link: String, bridge: String, port: String?, replacesOthers: Bool) {
        self.prefix = prefix
        self.link = link
        self.bridge = bridge
        self.port = port
        self.replacesOthers = replacesOthers
    }

    private var address: Address { Address(prefix, on: link, in: .host, .shared) }

    private func conflicts(_ other: Address) -> Bool {
        guard other.prefix.family == prefix.family else { return false }
        return prefix.family == .v4 || other.prefix.contains(prefix.address)
            || prefix.contains(other.prefix.address)
    }
}

/// The addresses that a gateway's address replaced, and the ports that were there then.
///
/// Written while the plan is applied and read while it is undone, both by the thread that made it.
private final class Replaced: @unchecked Sendable {
    var addresses: [Address] = []
    var users: Set<String> = []
}
