public import Addressing
internal import Netlink

/// What the result of ADD says of an interface in the container, by which DEL knows one that carries no tag.
///
/// Where a path was given out anew, the interface there may be another container's.
public struct FormerInterface: Sendable {
    private let mac: MACAddress
    private let addresses: [IPAddress]

    /// An interface of a hardware address, with its other addresses.
    public init(_ mac: MACAddress, _ addresses: [IPAddress]) {
        self.mac = mac
        self.addresses = addresses
    }

    /// Whether a link of the container has this hardware address, or one of the others: the plugin `tuning`
    /// changes the first.
    func fits(_ link: LinkState, _ kernel: Kernel) throws(KernelError) -> Bool {
        guard link.mac != mac else { return true }
        return try kernel.addresses(of: link.index, link.name, in: .container)
            .contains { addresses.contains($0.prefix.address) }
    }
}

/// The words of an alias that says whose a link is: network, container and interface; nil for any other
/// alias.
public func ownerWords(of alias: String) -> [Substring]? {
    let words = alias.split(separator: " ", omittingEmptySubsequences: false)
    return words.count == 3 && words.allSatisfy { !$0.isEmpty } ? words : nil
}
