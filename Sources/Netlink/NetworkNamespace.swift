internal import CLinux
internal import Glibc
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
        let known = verdict < 0 ? -1 : unsafe fstat(descriptor.rawValue, &status)
        guard verdict >= 0, known == 0 else {
            let error = KernelError(lastOf: "open network namespace \(path)")
            try? descriptor.close()
            throw error
        }
        guard verdict == 1 else {
            try? descriptor.close()
            throw KernelError(
                "open network namespace \(path)", .invalidArgument,
                detail: "not a network namespace (file system \(String(magic, radix: 16)))")
        }
        self.descriptor = descriptor
        self.identity = Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    deinit { try? descriptor.close() }

    /// Whether an error in opening a namespace by its path says that there is none any more.
    public static func isGone(_ error: KernelError) -> Bool {
        [.noSuchFileOrDirectory, .notDirectory, .invalidArgument, .noSuchProcess]
            .contains(error.errno)
    }

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
    /// It is flock(2) on the namespace itself: nothing on disk, and gone with the process. Anybody
    /// who can open /proc/self/ns/net can hold it against us, so it is not waited for longer than a
    /// roll-back takes; and while somebody else has it alone, no roll-back can.
    public func lockShared() throws(KernelError) { try lock(LOCK_SH) }

    /// Takes the lock for this process alone, as patiently as `lockShared()`.
    public func lockExclusive() throws(KernelError) { try lock(LOCK_EX) }

    private func lock(_ kind: Int32) throws(KernelError) { _ = try tryLock(kind) }

    /// Whether it got the lock in time.
    private func tryLock(_ kind: Int32) throws(KernelError) -> Bool {
        for _ in 0..<Self.lockAttempts {
            if flock(descriptor.rawValue, kind | LOCK_NB) == 0 { return true }
            guard errno == EWOULDBLOCK || errno == EINTR else {
                throw KernelError(lastOf: "lock network namespace")
            }
            usleep(Self.lockPause)
        }
        return false
    }

    private static let lockAttempts = 400
    /// In microseconds.
    private static let lockPause: useconds_t = 2_500

    /// Turns the shared lock into an exclusive one if nobody else holds it; does not wait.
    ///
    /// Where somebody does, the shared lock is lost too.
    public func lockAlone() -> Bool { flock(descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 }

    /// Takes the lock alone, as patiently as `lockShared()`, and says whether it has it.
    public func lockAlonePatiently() -> Bool { (try? tryLock(LOCK_EX)) ?? false }

    /// Gives the lock back before its time.
    public func unlock() { _ = flock(descriptor.rawValue, LOCK_UN) }
}
