internal import CLinux
internal import CNI
internal import FoundationEssentials
internal import Glibc

/// Files as an operator's command reads and writes them.
enum Files {
    /// The content of a file.
    ///
    /// - Throws: Code 5 with the path and the cause.
    static func read(_ path: String) throws(CNIError) -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("read", path) }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
        }
    }

    /// Writes a file that is whole at every moment: a new one takes the old one's place.
    static func write(
        _ bytes: [UInt8], to path: String, mode: mode_t, isDurable: Bool = false
    ) throws(CNIError) {
        let draft = path + ".new"
        unsafe _ = unlink(draft)
        let descriptor = unsafe open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw failure("create", draft) }
        _ = fchmod(descriptor, mode)
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { bytes in
                unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let error = failure("write", draft)
                close(descriptor)
                unsafe _ = unlink(draft)
                throw error
            }
            rest = rest.dropFirst(count)
        }
        if isDurable { _ = fsync(descriptor) }
        close(descriptor)
        guard unsafe rename(draft, path) == 0 else {
            let error = failure("rename", draft)
            unsafe _ = unlink(draft)
            throw error
        }
    }

    /// Makes a directory and its parents.
    static func makeDirectory(_ path: String, mode: mode_t) throws(CNIError) {
        guard unsafe mkdir(path, mode) != 0, errno != EEXIST else { return }
        guard errno == ENOENT, let slash = path.dropLast().lastIndex(of: "/"),
            slash != path.startIndex
        else { throw failure("create", path) }
        try makeDirectory(String(path[..<slash]), mode: mode)
        guard unsafe mkdir(path, mode) == 0 || errno == EEXIST else {
            throw failure("create", path)
        }
    }

    /// The names in a directory, in order; none if there is no such directory.
    static func names(in directory: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).sorted()
    }

    /// What stat(2) says of a path, or nil.
    static func status(_ path: String) -> stat? {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? status : nil
    }

    /// Whether there is something at a path.
    ///
    /// - Throws: Code 5 with the path and the cause where that cannot be seen.
    static func exists(_ path: String) throws(CNIError) -> Bool {
        var status = stat()
        if unsafe stat(path, &status) == 0 { return true }
        guard errno == ENOENT else { throw failure("look for", path) }
        return false
    }

    /// Makes sure that a directory, if there is one, may be looked into.
    static func requireReadable(_ directory: String) throws(CNIError) {
        guard unsafe access(directory, R_OK | X_OK) == 0 || errno == ENOENT else {
            throw failure("read", directory)
        }
    }

    /// What a path leads to when every link is followed; the path itself if it leads nowhere.
    static func target(_ path: String) -> String {
        guard let real = unsafe realpath(path, nil) else { return path }
        defer { unsafe free(real) }
        return unsafe String(cString: real)
    }

    /// Where paths begin that do not begin with a slash.
    static var workingDirectory: String { FileManager.default.currentDirectoryPath }

    /// When a file was changed last.
    static func modified(_ path: String) -> Date? {
        status(path).map {
            Date(
                timeIntervalSince1970: Double($0.st_mtim.tv_sec)
                    + Double($0.st_mtim.tv_nsec) / 1e9)
        }
    }

    private static func failure(_ verb: String, _ path: String) -> CNIError {
        CNIError(.io, "\(verb) \(path): \(unsafe String(cString: strerror(errno))) (\(errno))")
    }
}

extension stat {
    /// Whether its owner may run it.
    var isExecutable: Bool { st_mode & S_IXUSR != 0 }

    /// Whether it is a directory's.
    var isDirectory: Bool { st_mode & S_IFMT == S_IFDIR }
}
