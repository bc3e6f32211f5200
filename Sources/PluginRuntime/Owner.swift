public import CNI
internal import Rtnetlink

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
        guard let words = ownerWords(of: tag) else { return nil }
        self.init(
            network: String(words[0]), containerID: String(words[1]),
            interface: String(words[2]))
    }

    /// The longest tag that every object can carry, in bytes.
    ///
    /// An interface's alias has 255, a comment of nftables 251.
    public static let longestTag = 251

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

    /// The alternative name of a link that is lent to the container, by which it is found whatever
    /// it is called meanwhile: `lent` and the same bits.
    public var lentName: String { MovedLink.markPrefix + hashDigits(of: tag) }

    /// The attachment as GC's configuration lists it.
    public var attachment: NetworkConfiguration.ValidAttachment {
        .init(containerID: containerID, interface: interface)
    }
}

/// Whether a link has a name that `vethName(for:)` could have given.
func isVethName(_ name: String) -> Bool {
    name.utf8.count == 15 && name.hasPrefix("veth")
        && name.utf8.dropFirst(4).allSatisfy {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
        }
}

/// A link name that follows from a text: `veth` and the first 44 bits of its hash.
public func vethName(for text: String) -> String { "veth" + hashDigits(of: text) }

/// The first 44 bits of a text's hash, as digits.
public func hashDigits(of text: String) -> String {
    let digits = String(mixedHash(of: text) >> 20, radix: 16)
    return String(repeating: "0", count: 11 - digits.count) + digits
}

/// A number out of a range that follows from a text, so that most texts find theirs free; with each
/// attempt the next one.
public func number(for text: String, in range: ClosedRange<UInt16>, attempt: Int = 0) -> UInt16 {
    let start = mixedHash(of: text) >> 16
    return range.lowerBound + UInt16((start &+ UInt64(attempt)) % UInt64(range.count))
}

private func mixedHash(of text: String) -> UInt64 {
    var hash = text.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { hash, byte in
        (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    // FNV-1a leaves its last bytes in the low bits; two rounds of mixing spread them.
    for _ in 0..<2 {
        hash ^= hash >> 33
        hash &*= 0xff51_afd7_ed55_8ccd
    }
    return hash
}
