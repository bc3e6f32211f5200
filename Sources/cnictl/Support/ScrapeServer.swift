import ArgumentParser
import CNI
import Glibc

/// Answers `GET /metrics` over HTTP/1.1, one client after the other.
struct ScrapeServer {
    private let socket: Int32

    /// The most bytes that a request may have.
    private static let requestLimit = 8192
    /// The seconds that a client has for its request, and for the answer.
    private static let patience = 3

    /// Where it listens: `ADDRESS:PORT`, `[ADDRESS]:PORT`, `:PORT`, or the port alone.
    struct Place: ExpressibleByArgument, CustomStringConvertible {
        fileprivate let host: String
        fileprivate let port: String
        let description: String

        init?(argument: String) {
            let colon = argument.lastIndex(of: ":")
            let port = colon.map { String(argument[argument.index(after: $0)...]) } ?? argument
            // getaddrinfo(3) takes more, and cuts it.
            guard UInt16(port) != nil else { return nil }
            var host = colon.map { String(argument[..<$0]) } ?? ""
            if host.hasPrefix("["), host.hasSuffix("]") {
                host = String(host.dropFirst().dropLast())
            }
            (self.host, self.port, description) = (host, port, argument)
        }
    }

    /// Listens at a place.
    init(listeningAt place: Place) throws(CNIError) {
        let (host, port) = (place.host, place.port)
        var hints = unsafe addrinfo()
        unsafe hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = unsafe getaddrinfo(host.isEmpty ? nil : host, port, &hints, &list)
        guard code == 0, let first = unsafe list else {
            throw CNIError(
                .environment,
                "--listen: \"\(place)\": \(unsafe String(cString: gai_strerror(code)))")
        }
        defer { unsafe freeaddrinfo(list) }
        // Of all addresses, a socket of IPv6 takes those of IPv4 as well, where the host has IPv6.
        var found: Int32 = -1
        var next = unsafe host.isEmpty ? list : nil
        while found < 0, let address = unsafe next?.pointee {
            if unsafe address.ai_family == AF_INET6 { found = unsafe Self.listen(at: address) }
            unsafe next = address.ai_next
        }
        socket = found < 0 ? unsafe Self.listen(at: first.pointee) : found
        guard socket >= 0 else {
            throw CNIError(
                .io, "listen at \(place): \(unsafe String(cString: strerror(errno))) (\(errno))")
        }
    }

    /// A socket that listens at an address; -1 with errno where that cannot be.
    private static func listen(at address: addrinfo) -> Int32 {
        let socket = unsafe Glibc.socket(
            address.ai_family, address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return -1 }
        var (on, off): (Int32, Int32) = (1, 0)
        unsafe setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(4))
        if unsafe address.ai_family == AF_INET6 {
            unsafe setsockopt(socket, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, socklen_t(4))
        }
        guard unsafe bind(socket, address.ai_addr, address.ai_addrlen) == 0,
            Glibc.listen(socket, 16) == 0
        else {
            let cause = errno
            close(socket)
            errno = cause
            return -1
        }
        return socket
    }

    /// Serves until the process ends; `text` makes what is asked for each time.
    func serve(_ text: () throws -> String) -> Never {
        while true {
            let client = accept(socket, nil, nil)
            guard client >= 0 else {
                // Out of descriptors or memory: others may give some back.
                usleep(100_000)
                continue
            }
            var limit = timeval(tv_sec: Self.patience, tv_usec: 0)
            let size = socklen_t(MemoryLayout<timeval>.size)
            unsafe setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
            unsafe setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
            answer(client, text)
            close(client)
        }
    }

    private func answer(_ client: Int32, _ text: () throws -> String) {
        guard let line = request(client) else { return }
        let words = line.split(separator: " ")
        guard words.count == 3, words[2].hasPrefix("HTTP/1.") else {
            return send(client, "400 Bad Request", "not a request of HTTP/1.1\n")
        }
        guard words[0] == "GET" || words[0] == "HEAD" else {
            return send(client, "405 Method Not Allowed", "only GET\n")
        }
        guard words[1].prefix(while: { $0 != "?" }) == "/metrics" else {
            return send(client, "404 Not Found", "only /metrics\n")
        }
        do {
            try send(client, "200 OK", text(), hasBody: words[0] == "GET")
        } catch {
            send(client, "500 Internal Server Error", "\(error)\n")
        }
    }

    /// The first line of a request that came whole and in time; nil after it has been refused.
    private func request(_ client: Int32) -> String? {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1024)
        let start = time(nil)
        while true {
            let count = unsafe recv(client, &buffer, buffer.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return nil }
            bytes += buffer[..<count]
            let head = String(decoding: bytes, as: UTF8.self)
            if head.contains("\r\n\r\n") || head.contains("\n\n") {
                return head.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
            }
            guard bytes.count <= Self.requestLimit else {
                send(client, "431 Request Header Fields Too Large", "too long\n")
                return nil
            }
            guard time(nil) - start <= Self.patience else { return nil }
        }
    }

    private func send(
        _ client: Int32, _ status: String, _ body: String, hasBody: Bool = true
    ) {
        let type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        let head =
            "HTTP/1.1 \(status)\r\nContent-Type: "
            + (status.hasPrefix("200") ? type : "text/plain; charset=utf-8")
            + "\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n"
        var rest = Array((head + (hasBody ? body : "")).utf8)[...]
        let start = time(nil)
        while !rest.isEmpty, time(nil) - start <= Self.patience {
            let count = unsafe rest.withUnsafeBytes { bytes in
                unsafe Glibc.send(
                    client, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
