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

    /// Looks at the namespace of the calling thread.
    static func own() throws(KernelError) -> NamespaceView? {
        let path = "/proc/thread-self/ns/net"
        guard let status = Files.status(path) else { return nil }
        let kernel = try Kernel(container: nil)
        return NamespaceView(
            path: path, identity: status.identity, number: nil,
            links: try kernel.allLinks(in: .host), addresses: try kernel.allAddresses(in: .host))
    }

    private init(
        path: String, identity: [UInt64], number: Int32?, links: [LinkState],
        addresses: [(link: UInt32, prefix: IPPrefix)]
    ) {
        self.path = path
        self.identity = identity
        self.number = number
        self.links = links
        self.addresses = addresses
    }

    /// The addresses of a link, those that the kernel gives itself left out.
    public func addresses(of index: UInt32) -> [IPPrefix] {
        addresses.filter { $0.link == index && !$0.prefix.address.isLinkLocal }.map(\.prefix)
    }

    /// Every namespace on the machine that has a path or a process, but the host's; to some of them the
    /// paths may lead that were `noted`.
    public static func all(besides noted: [String]) -> [NamespaceView] {
        var paths = Files.names(in: "/run/netns").map { "/run/netns/\($0)" } + noted + mounted()
        let processes = Files.names(in: "/proc").filter { $0.allSatisfy(\.isNumber) }
        paths += processes.map { "/proc/\($0)/ns/net" }
        guard let own = Files.status("/proc/thread-self/ns/net") else { return [] }
        var seen: Set<[UInt64]> = [own.identity]
        return paths.compactMap { path in
            // To open what is no namespace, such as a device, may do something.
            guard let status = Files.status(path), status.st_dev == own.st_dev,
                seen.insert(status.identity).inserted
            else { return nil }
            return NamespaceView(path: path)
        }
    }

    /// Where network namespaces are mounted, which keeps them without a process.
    private static func mounted() -> [String] {
        guard let bytes = try? Files.read("/proc/self/mountinfo") else { return [] }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count > 4, words[3].hasPrefix("net:[") else { return nil }
            return unescaped(words[4])
        }
    }

    /// A path of /proc/self/mountinfo, in which a blank is `\040`.
    private static func unescaped(_ path: Substring) -> String {
        var text = String(path)
        for (escaped, character) in [("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")] {
            text = text.replacing("\\" + escaped, with: character)
        }
        return text
    }
}

extension stat {
    /// What tells two files apart.
    var identity: [UInt64] { [UInt64(st_dev), UInt64(st_ino)] }
}
