import CLinux
import Glibc

/// A socket in a network namespace, of TCP or UDP.
final class Socket {
    private let number: Int32

    private init(_ number: Int32) { self.number = number }

    deinit { close(number) }

    /// A server of a port on all addresses, IPv6's included.
    static func server(_ kind: Kind, port: Int, in namespace: String) throws -> Socket {
        let made = try make(AF_INET6, kind, in: namespace)
        var on: Int32 = 1
        setsockopt(made.number, SOL_SOCKET, SO_REUSEADDR, &on, 4)
        let (address, length) = try Self.address("::", port)
        let result = withPointer(to: address) { bind(made.number, $0, length) }
        guard result == 0 else { throw Failure("bind: \(String(cString: strerror(errno)))") }
        if kind == .tcp { Glibc.listen(made.number, 16) }
        return made
    }

    /// Whose connection or datagram comes in, or nil when none does.
    func peer(within seconds: Int = 10) -> String? {
        var entry = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, Int32(seconds * 1000)) > 0 else { return nil }
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        var byte: UInt8 = 0
        let isStream = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                let new = accept(number, pointer, &length)
                if new >= 0 {
                    close(new)
                    return true
                }
                recvfrom(number, &byte, 1, 0, pointer, &length)
                sendto(number, &byte, 1, 0, pointer, length)
                return false
            }
        }
        _ = isStream
        var name = [CChar](repeating: 0, count: 64)
        withUnsafePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                _ = getnameinfo(pointer, length, &name, 64, nil, 0, NI_NUMERICHOST)
            }
        }
        let text = String(decoding: name.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self)
        return text.hasPrefix("::ffff:") ? String(text.dropFirst(7)) : text
    }

    /// A client of an address; nil when nobody answers in time.
    ///
    /// A datagram of one byte is sent at once, as UDP has no other way to connect.
    static func client(
        _ kind: Kind, to address: String, port: Int, in namespace: String,
        within seconds: Int = 10
    ) throws -> Socket? {
        let (target, length) = try Self.address(address, port)
        let made = try make(Int32(target.ss_family), kind, in: namespace)
        var patience = timeval(tv_sec: seconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(made.number, SOL_SOCKET, SO_SNDTIMEO, &patience, size)
        guard withPointer(to: target, { connect(made.number, $0, length) }) == 0 else { return nil }
        if kind == .udp { made.say() }
        return made
    }

    /// Sends a datagram of one byte.
    func say() { send(number, "x", 1, 0) }

    enum Kind { case tcp, udp }

    private static func make(
        _ family: Int32, _ kind: Kind, in namespace: String
    ) throws -> Socket {
        let home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        let there = open(namespace, O_RDONLY | O_CLOEXEC)
        defer {
            close(home)
            close(there)
        }
        guard linux_enter_network_namespace(there) == 0 else { throw Failure("enter \(namespace)") }
        let type = kind == .tcp ? SOCK_STREAM.rawValue : SOCK_DGRAM.rawValue
        let made = socket(family, Int32(type | SOCK_CLOEXEC.rawValue), 0)
        guard linux_enter_network_namespace(home) == 0 else {
            fatalError("no way back into the network namespace of the tests")
        }
        guard made >= 0 else { throw Failure("socket: \(String(cString: strerror(errno)))") }
        return Socket(made)
    }

    private static func address(
        _ text: String, _ port: Int
    ) throws -> (sockaddr_storage, socklen_t) {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(text, String(port), &hints, &list) == 0, let first = list?.pointee else {
            throw Failure("no address: \(text)")
        }
        defer { freeaddrinfo(list) }
        var storage = sockaddr_storage()
        memcpy(&storage, first.ai_addr, Int(first.ai_addrlen))
        return (storage, first.ai_addrlen)
    }

    private static func withPointer<Result>(
        to storage: sockaddr_storage, _ body: (UnsafePointer<sockaddr>) -> Result
    ) -> Result {
        withUnsafePointer(to: storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0) }
        }
    }
}
