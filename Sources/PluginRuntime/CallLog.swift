internal import Glibc

/// Where calls are logged: what is there to be written to, or nowhere.
package enum CallLog {
    /// What turns the log on by being there: a file, a link to one, or a link to the journal.
    package static let standardPath = "/etc/cni/swift-cni.log"
    /// The variable that names another path.
    package static let variable = "SWIFT_CNI_LOG"
    /// The journal's socket.
    package static let journal = "/run/systemd/journal/socket"

    /// Appends a line to the log, which is made only if there is one.
    ///
    /// No log is the usual case, and costs one open(2). Nothing that goes wrong here is anybody's
    /// failure.
    static func append(to path: String, _ line: () -> String) {
        let file = unsafe open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        if file >= 0 {
            let bytes = Array((line() + "\n").utf8)
            // One write of a line, which others' lines cannot get into.
            unsafe _ = write(file, bytes, bytes.count)
            close(file)
        } else if errno == ENXIO {
            send(line(), to: path)
        }
    }

    /// Sends an entry to the journal in its own protocol.
    private static func send(_ line: String, to path: String) {
        let socket = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return }
        defer { close(socket) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let name = Array(path.utf8.prefix(107))
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: name) }
        let entry = Array("PRIORITY=6\nSYSLOG_IDENTIFIER=swift-cni\nMESSAGE=\(line)\n".utf8)
        unsafe withUnsafePointer(to: &address) { address in
            unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                unsafe _ = sendto(
                    socket, entry, entry.count, Int32(MSG_DONTWAIT), address,
                    socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
