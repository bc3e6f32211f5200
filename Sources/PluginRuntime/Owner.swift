public import CNI

/// Whose an object of the kernel is: an interface of a container on a network.
///
/// Everything made for an attachment carries its owner, and no address is part of it.
public struct Owner: Sendable, Hashable {
    /// The network's name.
    public let network: String
    /// The container's ID.
    public let containerID: String
    /// The interface in the container.
    public let interface: String

    /// An owner from its parts.
    public init(network: String, containerID: String, interface: String) {
        self.network = network
        self.containerID = containerID
        self.interface = interface
    }

    /// Reads the tag that an object carries; nil if it is not one of ours.
    public init?(tag: String) {
        let words = tag.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words.allSatisfy({ !$0.isEmpty }) else { return nil }
        self.init(
            network: String(words[0]), containerID: String(words[1]),
            interface: String(words[2]))
    }

    /// The longest tag that every object can carry, in bytes.
    ///
    /// An interface's alias has 255, a comment of nftables 251.
    static let longestTag = 251

    /// The tag that objects carry: network, container and interface, with spaces between.
    public var tag: String { "\(network) \(containerID) \(interface)" }

    /// Makes sure that objects can carry the tag.
    public func checkTag() throws(CNIError) {
        guard tag.utf8.count <= Self.longestTag else {
            throw CNIError(
                .environment,
                "CNI_CONTAINERID: too long: it may have \(Self.longestTag) bytes together with "
                    + "the network's name and the interface's")
        }
    }

    /// The name of the host's end of the attachment's veth pair: `veth` and 44 bits of a hash.
    public var hostEnd: String { vethName(for: tag) }

    /// The attachment as GC's configuration lists it.
    public var attachment: NetworkConfiguration.ValidAttachment {
        .init(containerID: containerID, interface: interface)
    }
}

/// A link name that follows from a text: `veth` and the first 44 bits of its hash.
public func vethName(for text: String) -> String {
    var hash = text.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { hash, byte in
        (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    // FNV-1a leaves its last bytes in the low bits; two rounds of mixing spread them.
    for _ in 0..<2 {
        hash ^= hash >> 33
        hash &*= 0xff51_afd7_ed55_8ccd
    }
    let digits = String(hash >> 20, radix: 16)
    return "veth" + String(repeating: "0", count: 11 - digits.count) + digits
}
