import Foundation

/// The Go plugins this project stands in for, as Debian packages them.
enum Peer {
    /// The directory of its programs; `make test` unpacks them.
    static func directory() throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().path
        let directory = root + "/.build/peer/usr/lib/cni"
        guard FileManager.default.isExecutableFile(atPath: directory + "/bridge") else {
            throw Failure("no Go plugins in \(directory): run `make setup-test`")
        }
        return directory
    }
}
