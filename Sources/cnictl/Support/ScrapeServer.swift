import CNI
import Glibc

/// Answers `GET /metrics` over HTTP/1.1, one client after the other.
struct ScrapeServer {
    private let socket: Int32

    /// The most bytes that a request may have.
    private static let requestLimit = 8192
    /// The seconds that a client has for its request, and for the answer.
    private static let patience = 3

    /// Listens at `ADDRESS:PORT`, `[ADDRESS]:PORT` or `:PORT`.
    init(listeningAt place: String) throws(CNIError) {
        guard let colon = place.lastIndex(of: ":") else {
            throw CNIError(.environment, "--listen: not ADDRESS:PORT: \"\(place)\"")
        }
        let port = String(place[place.index(after: colon)...])
        // getaddrinfo(3) takes more, and cuts it.
        guard UInt16(port) != nil else {
            throw CNIError(.environment, "--listen: \"\(place)\": no port from 0 to 65535")
        }
        var host = String(place[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
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
        let address = unsafe first.pointee
        socket = unsafe Glibc.socket(
            address.ai_family, address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
        var on: Int32 = 1
        unsafe setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(4))
        guard socket >= 0, unsafe bind(socket, address.ai_addr, address.ai_addrlen) == 0,
            listen(socket, 16) == 0
        else {
            throw CNIError(
                .io, "listen at \(place): \(unsafe String(cString: strerror(errno))) (\(errno))")
        }
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
