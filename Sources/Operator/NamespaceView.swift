public import Addressing
internal import CLinux
internal import FoundationEssentials
internal import Glibc
internal import Netlink
public import Rtnetlink
internal import SystemPackage

/// What is in a network namespace other than the host's.
public struct NamespaceView: Sendable {
    /// A path that leads to it.
    public let path: String
    /// What tells it apart from all others.
    let identity: [UInt64]
    /// The number that the host's namespace has for it; nil if it has none.
    public let number: Int32?
    /// Its links.
    public let links: [LinkState]
    /// Its addresses, each with the index of its link.
    public let addresses: [(link: UInt32, prefix: IPPrefix)]

    /// Looks into the namespace behind a path, or returns nil if there is none or it is the host's.
    public init?(path: String) {
        guard let namespace = try? NetworkNamespace(path: path),
            let host = try? NetworkNamespace.current(), !namespace.isSame(as: host),
            let kernel = try? Kernel(container: namespace), let status = Files.status(path)
        else { return nil }
        defer { try? kernel.returnHome() }
        self.path = path
        identity = status.identity
        number = try? kernel.namespaceNumber(of: .container, in: .host)
        guard let links = try? kernel.allLinks(in: .container),
            let addresses = try? kernel.allAddresses(in: .container)
        else { return nil }
        self.links = links
        self.addresses = addresses
    }

    /// The addresses of a link, those that the kernel gives itself left out.
    public func addresses(of index: UInt32) -> [IPPrefix] {
        addresses.filter { $0.link == index && !$0.prefix.address.isLinkLocal }.map(\.prefix)
    }

    /// Every namespace on the machine that has a name or a process, but the host's.
    public static func all() -> [NamespaceView] {
        var paths = Files.names(in: "/run/netns").map { "/run/netns/\($0)" }
        let processes = Files.names(in: "/proc").filter { $0.allSatisfy(\.isNumber) }
        paths += processes.map { "/proc/\($0)/ns/net" }
        var seen: Set<[UInt64]> = []
        if let own = Files.status("/proc/thread-self/ns/net") { seen.insert(own.identity) }
        return paths.compactMap { path in
            guard let status = Files.status(path), seen.insert(status.identity).inserted else {
                return nil
            }
            return NamespaceView(path: path)
        }
    }
}

extension stat {
    /// What tells two files apart.
    var identity: [UInt64] { [UInt64(st_dev), UInt64(st_ino)] }
}

extension IPAddress {
    /// Whether the address is good on its link alone.
    var isLinkLocal: Bool { family == .v6 ? bits >> 118 == 0x3fa : bits >> 16 == 0xa9fe }
}

extension Kernel {
    /// Every address of a namespace.
    func allAddresses(
        in side: Side
    ) throws(KernelError) -> [(link: UInt32, prefix: IPPrefix)] {
        let message = Message("list addresses", type: RTM_GETADDR, flags: .dump, ifaddrmsg())
        return try request(side, message).compactMap { reply in
            let attributes = reply.attributes(after: ifaddrmsg.self)
            guard let length = reply.payload.uint8(at: 1), let index = reply.payload.uint32(at: 4),
                let bytes = (attributes[Int(IFA_LOCAL)] ?? attributes[Int(IFA_ADDRESS)])?.payload,
                let address = IPAddress(networkOrder: bytes),
                let prefix = IPPrefix(address, length: Int(length))
            else { return nil }
            return (index, prefix)
        }
    }
}
