internal import CLinux
package import CNI
internal import Glibc
internal import SystemPackage

/// A directory of state, held by a descriptor: every name below it is one component, and no
/// symbolic link is followed.
package struct Directory: ~Copyable {
    /// The directory's path, for error messages.
    let path: String
    private let descriptor: FileDescriptor

    private init(_ descriptor: FileDescriptor, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { try? descriptor.close() }

    /// Opens a directory by its path, which an administrator may have led through links.
    ///
    /// Makes it and its parents, for the owner alone, where they are missing if `creating`, else
    /// returns nil.
    package static func open(_ path: String, creating: Bool) throws(CNIError) -> Directory? {
        let flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC
        var fd = unsafe linux_openat(AT_FDCWD, path, flags, 0)
        if fd < 0, errno == ENOENT, creating {
            let parent = FilePath(path).removingLastComponent().string
            if !parent.isEmpty { _ = try open(parent, creating: true) }
            if unsafe mkdir(path, 0o700) < 0, errno != EEXIST { throw failure("create", path) }
            fd = unsafe linux_openat(AT_FDCWD, path, flags, 0)
        }
        if fd < 0, errno == ENOENT, !creating { return nil }
        guard fd >= 0 else { throw failure("open", path) }
        return Directory(FileDescriptor(rawValue: fd), path: path)
    }

    /// Makes sure that files can be made in a directory, or in what there is of the way to it.
    package static func requireWritable(_ path: String) throws(CNIError) {
        guard unsafe access(path, W_OK) != 0 else { return }
        let cause = Errno(rawValue: errno)
        let parent = FilePath(path).removingLastComponent().string
        guard cause == .noSuchFileOrDirectory, !parent.isEmpty, parent != path else {
            throw failure("write to", path, cause)
        }
        try requireWritable(parent)
    }

    /// Opens a directory below this one.
    ///
    /// - Returns: Nil if it does not exist and is not to be made.
    func open(_ name: String, creating: Bool) throws(CNIError) -> Directory? {
        let path = "\(path)/\(name)"
        if creating, unsafe mkdirat(descriptor.rawValue, name, 0o700) < 0, errno != EEXIST {
            throw Self.failure("create", path)
        }
        let fd = unsafe linux_openat(
            descriptor.rawValue, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0)
        if fd < 0, errno == ENOENT { return nil }
        guard fd >= 0 else { throw Self.failure("open", path) }
        return Directory(FileDescriptor(rawValue: fd), path: path)
    }

    /// Opens a file of this directory; new files are for the owner alone.
    ///
    /// - Returns: Nil if it does not exist and is not to be made.
    func openFile(_ name: String, _ flags: Int32) throws(CNIError) -> FileDescriptor? {
        let fd = unsafe linux_openat(
            descriptor.rawValue, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0o600)
        if fd < 0, errno == ENOENT { return nil }
        guard fd >= 0 else { throw failure("open", name) }
        return FileDescriptor(rawValue: fd)
    }

    /// The first MiB of a file as text, or nil if there is no file of that name.
    package func read(_ name: String) throws(CNIError) -> String? {
        let fd = unsafe linux_openat(
            descriptor.rawValue, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0)
        if fd < 0, errno == ENOENT || errno == ELOOP { return nil }
        guard fd >= 0 else { throw failure("open", name) }
        if let text = Self.contents(of: FileDescriptor(rawValue: fd)) { return text }
        if errno == EISDIR { return nil }
        throw failure("read", name)
    }

    /// The first MiB of a file that an administrator may have led to through links, or nil if
    /// there is none.
    package static func text(ofFile path: String) throws(CNIError) -> String? {
        let fd = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        if fd < 0, errno == ENOENT { return nil }
        guard fd >= 0, let text = contents(of: FileDescriptor(rawValue: fd)) else {
            throw failure("read", path)
        }
        return text
    }

    /// The first MiB of a file as text, or nil and errno; closes it.
    private static func contents(of file: FileDescriptor) -> String? {
        defer {
            let cause = errno
            try? file.close()
            errno = cause
        }
        var (text, buffer): ([UInt8], [UInt8]) = ([], Array(repeating: 0, count: 1024))
        while text.count < 1 << 20 {
            let count = unsafe Glibc.read(file.rawValue, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return nil }
            guard count > 0 else { break }
            text += buffer[..<count]
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Makes a file with content that appears whole or not at all; returns whether it did, false
    /// if there is one of the name.
    func create(_ name: String, with text: String) throws(CNIError) -> Bool {
        // One writer at a time holds the lock, so one name for what is not ready yet suffices,
        // and anything found under it was left by one that died.
        let draft = ".draft"
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        var fd = unsafe linux_openat(descriptor.rawValue, draft, flags, 0o600)
        if fd < 0, errno == EEXIST {
            discard(draft)
            fd = unsafe linux_openat(descriptor.rawValue, draft, flags, 0o600)
        }
        guard fd >= 0 else { throw failure("create", draft) }
        let bytes = Array(text.utf8)
        let written = unsafe Glibc.write(fd, bytes, bytes.count)
        let fault = written == bytes.count ? nil : failure("write", name)
        close(fd)
        if fault == nil, unsafe linux_rename_new(descriptor.rawValue, draft, name) == 0 {
            return true
        }
        let exists = fault == nil && errno == EEXIST
        let error = fault ?? failure("create", name)
        discard(draft)
        guard exists else { throw error }
        return false
    }

    /// Gives a file content in the place of what had its name, whole or not at all.
    package func replace(_ name: String, with text: String) throws(CNIError) {
        let draft = ".\(name)"
        discard(draft)
        guard let file = try openFile(draft, O_WRONLY | O_CREAT | O_EXCL) else {
            throw failure("create", draft)
        }
        let bytes = Array(text.utf8)
        let written = unsafe Glibc.write(file.rawValue, bytes, bytes.count)
        let fault = written == bytes.count ? nil : failure("write", name)
        try? file.close()
        if let fault {
            discard(draft)
            throw fault
        }
        try rename(draft, to: name)
    }

    /// Gives a file other content in place; only for hints, since a reader may see half of it.
    ///
    /// Renaming or truncating to nothing would make some file systems write it out at once.
    func overwrite(_ name: String, with text: String) throws(CNIError) {
        let flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK
        var fd = unsafe linux_openat(descriptor.rawValue, name, flags, 0o600)
        if fd < 0, errno == ELOOP {
            discard(name)
            fd = unsafe linux_openat(descriptor.rawValue, name, flags, 0o600)
        }
        guard fd >= 0 else { throw failure("open", name) }
        defer { close(fd) }
        let bytes = Array(text.utf8)
        var status = stat()
        guard unsafe fstat(fd, &status) == 0,
            unsafe pwrite(fd, bytes, bytes.count, 0) == bytes.count,
            status.st_size <= bytes.count || ftruncate(fd, bytes.count) == 0
        else { throw failure("write", name) }
    }

    /// Removes a file that is in the way, if it can be.
    func discard(_ name: String) { unsafe _ = unlinkat(descriptor.rawValue, name, 0) }

    /// Removes a file; it may be gone already.
    package func remove(_ name: String) throws(CNIError) {
        if unsafe unlinkat(descriptor.rawValue, name, 0) < 0, errno != ENOENT {
            throw failure("remove", name)
        }
    }

    /// Gives a file another name, in the place of what had it.
    func rename(_ name: String, to other: String) throws(CNIError) {
        guard unsafe renameat(descriptor.rawValue, name, descriptor.rawValue, other) == 0 else {
            throw failure("rename", name)
        }
    }

    /// The names in the directory.
    package func names() throws(CNIError) -> [String] {
        // A descriptor of its own: reading moves its position, and closedir(3) closes it.
        let fd = unsafe linux_openat(
            descriptor.rawValue, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard fd >= 0, let stream = unsafe fdopendir(fd) else { throw failure("list", ".") }
        defer { unsafe _ = closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = unsafe readdir(stream) else { break }
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
                unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) { name in
                    unsafe String(cString: name)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw failure("list", ".") }
        return names
    }

    /// What tells this state of the directory from every other: its identity and when it changed.
    func signature() -> DirectorySignature? {
        var status = stat()
        guard unsafe fstat(descriptor.rawValue, &status) == 0 else { return nil }
        return DirectorySignature(
            device: UInt64(status.st_dev), inode: UInt64(status.st_ino),
            modified: unsafe linux_modified(&status), boot: Self.boot)
    }

    /// The number of the machine's current run: what was written before a loss of power may have
    /// reached the disk in part.
    private static let boot = number(in: "/proc/sys/kernel/random", "boot_id") ?? 0

    /// The number of this machine, whatever its run; nil where it has none.
    ///
    /// It tells this machine's earlier runs from another machine with the same directory.
    static let machine: UInt64? = number(in: "/etc", "machine-id")

    private static func number(in directory: String, _ name: String) -> UInt64? {
        guard let id = try? open(directory, creating: false)?.read(name), !id.isEmpty else {
            return nil
        }
        return id.utf8.reduce(0) { $0 &* 31 &+ UInt64($1) }
    }

    /// Gives the directory a time of change that no other writer's clock tick gives it.
    ///
    /// - Returns: The signature from now on, or nil where the file system rounds times.
    func sign() -> DirectorySignature? {
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        let nanoseconds = Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
        guard linux_set_modified(descriptor.rawValue, nanoseconds) == 0,
            let signature = signature(), signature.modified == nanoseconds
        else { return nil }
        return signature
    }

    func failure(_ verb: String, _ name: String) -> CNIError {
        Self.failure(verb, "\(path)/\(name)")
    }

    /// What could not be done with a file, and why.
    static func failure(
        _ verb: String, _ path: String, _ cause: Errno = Errno(rawValue: errno)
    ) -> CNIError {
        CNIError(.io, "\(verb) \(path): \(cause) (\(cause.rawValue))")
    }
}

/// A directory's identity, the time of its last change, and the run of the machine that saw it.
struct DirectorySignature: Equatable {
    let device: UInt64
    let inode: UInt64
    let modified: Int64
    let boot: UInt64
}
