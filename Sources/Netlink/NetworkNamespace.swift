internal import CLinux
public import SystemPackage

/// A network namespace, held by a descriptor.
public struct NetworkNamespace: ~Copyable {
    /// The open namespace, for the kernel's attributes that take one.
    public let descriptor: FileDescriptor
    private let identity: Identity

    private struct Identity: Equatable {
        let device: UInt64
        let inode: UInt64
    }

    /// The namespace of the calling thread.
    public static func current() throws(KernelError) -> NetworkNamespace {
        try NetworkNamespace(path: "/proc/thread-self/ns/net")
    }

    /// Opens a namespace by its path.
    ///
    /// Nothing is read from the file and a FIFO does not block.
    /// - Throws: The errno of open(2), or EINVAL for a file that is no network namespace.
    public init(path: String) throws(KernelError) {
        let descriptor: FileDescriptor
        do {
            descriptor = try FileDescriptor.open(
                FilePath(path), .readOnly, options: [.closeOnExec, .nonBlocking],
                retryOnInterrupt: true)
        } catch {
            throw KernelError("open network namespace \(path)", error as? Errno ?? .ioError)
        }
        var magic: UInt = 0
        let verdict = unsafe linux_is_network_namespace(descriptor.rawValue, &magic)
        var status = stat()
        let known = unsafe fstat(descriptor.rawValue, &status)
        guard verdict == 1, known == 0 else {
            try? descriptor.close()
            throw KernelError(
                "open network namespace \(path)", .invalidArgument,
                detail: "not a network namespace (file system \(String(magic, radix: 16)))")
        }
        self.descriptor = descriptor
        self.identity = Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    deinit { try? descriptor.close() }

    /// Whether both are one namespace.
    public func isSame(as other: borrowing NetworkNamespace) -> Bool {
        identity == other.identity
    }

    /// Moves the calling thread into the namespace: setns(2).
    public func enter() throws(KernelError) {
        guard linux_enter_network_namespace(descriptor.rawValue) == 0 else {
            throw KernelError(lastOf: "enter network namespace")
        }
    }

    /// Moves the calling thread into a new namespace, which goes with the thread.
    public static func enterNew() throws(KernelError) {
        guard linux_make_network_namespace() == 0 else {
            throw KernelError(lastOf: "make network namespace")
        }
    }

    /// Takes the lock that all who work on the host's shared objects hold together while they add.
    ///
    /// It is flock(2) on the namespace itself: nothing on disk, and gone with the process.
    public func lockShared() throws(KernelError) {
        guard flock(descriptor.rawValue, LOCK_SH) == 0 else {
            throw KernelError(lastOf: "lock network namespace")
        }
    }

    /// Turns the shared lock into an exclusive one if nobody else holds it; does not wait.
    ///
    /// Where somebody does, the shared lock is lost too.
    public func lockAlone() -> Bool { flock(descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 }
}
