internal import CLinux
internal import CNI
internal import Glibc
internal import SystemPackage

/// The exclusive lock on a network's store: flock(2) on its file `lock`, which the reference
/// plugin takes too.
struct StoreLock: ~Copyable {
    /// How long to wait, in milliseconds: less than runtimes give a plugin.
    static let patience: Int64 = 10_000

    private let file: FileDescriptor

    /// Waits for the lock.
    ///
    /// - Throws: Code 11 naming the process that holds it, when patience is out.
    init(in directory: borrowing Directory, patience: Int64 = Self.patience) throws(CNIError) {
        let file = try Self.open(in: directory)
        let end = linux_milliseconds() + patience
        var pause: useconds_t = 100
        while flock(file.rawValue, LOCK_EX | LOCK_NB) < 0 {
            guard errno == EWOULDBLOCK || errno == EINTR else {
                let error = directory.failure("lock", "lock")
                try? file.close()
                throw error
            }
            guard linux_milliseconds() < end else {
                let holder = Self.holder(of: file)
                try? file.close()
                throw CNIError(
                    .tryAgainLater,
                    "lock \(directory.path)/lock: held by \(holder) for more than \(patience) ms")
            }
            usleep(pause)
            pause = min(pause * 2, 5_000)
        }
        self.file = file
    }

    deinit { try? file.close() }

    /// Opens the file; some file systems lock only what may be written, others may only be read.
    private static func open(in directory: borrowing Directory) throws(CNIError) -> FileDescriptor {
        do throws(CNIError) {
            if let file = try directory.openFile("lock", O_RDWR | O_CREAT) { return file }
        } catch {
            guard let file = try? directory.openFile("lock", O_RDONLY) else { throw error }
            return file
        }
        throw directory.failure("open", "lock")
    }

    /// The process that holds the lock, as /proc/locks has it.
    private static func holder(of file: FileDescriptor) -> String {
        var status = stat()
        guard unsafe fstat(file.rawValue, &status) == 0,
            let locks = try? Directory.open("/proc", creating: false)?.read("locks") ?? nil
        else { return "another process" }
        for line in locks.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count >= 6, fields[1] == "FLOCK", fields[3] == "WRITE",
                fields[5].split(separator: ":").last.map({ String($0) }) == "\(status.st_ino)"
            else { continue }
            let name = try? Directory.open("/proc/\(fields[4])", creating: false)?
                .read("comm")?.split(separator: "\n").first
            return "process \(fields[4])" + ((name ?? nil).map { " (\($0))" } ?? "")
        }
        return "another process"
    }
}
