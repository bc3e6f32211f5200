internal import CLinux
internal import Glibc
public import Netlink
public import Plan
internal import SystemPackage

/// A kernel setting below /proc/sys.
public struct Sysctl: Resource {
    /// The path below /proc/sys: `net/ipv4/ip_forward`.
    public let path: String
    /// The value, without white space around it.
    public let value: String
    /// The network namespace it belongs to.
    public let side: Side
    /// Whose it is.
    public let sharing: Sharing
    /// Whether a kernel without the setting, or that does not let it be set, is as good.
    public let isOptional: Bool
    /// Whether it is only to be so at first.
    public let mayBeChanged: Bool

    /// A setting with a value.
    public init(
        _ path: String, _ value: String, in side: Side, _ sharing: Sharing = .part,
        ifPresent isOptional: Bool = false, mayBeChanged: Bool = false
    ) {
        self.path = path
        self.value = value
        self.side = side
        self.sharing = sharing
        self.isOptional = isOptional
        self.mayBeChanged = mayBeChanged
    }

    /// `sysctl net/ipv4/ip_forward=1`.
    public var description: String { "sysctl \(path)=\(value)" }

    /// The setting as it is.
    public func read(_ kernel: Kernel) throws(KernelError) -> Sysctl? {
        do throws(KernelError) {
            let value = try kernel.sysctl(path, in: side)
            return Sysctl(path, value, in: side, sharing, ifPresent: isOptional)
        } catch  where error.errno == .noSuchFileOrDirectory && isOptional {
            return self
        } catch  where error.errno == .noSuchFileOrDirectory && sharing == .part {
            return nil  // it went with its link
        } catch  where error.errno == .permissionDenied {
            return nil  // one that can only be written, such as net/ipv4/route/flush
        } catch  where error.errno == .ioError {
            return nil  // one that has no value yet, such as net/ipv6/conf/eth0/stable_secret
        }
    }

    /// Whether the kernel shows it: there are some that can only be written.
    public func isReadable(_ kernel: Kernel) -> Bool {
        do throws(KernelError) {
            _ = try kernel.sysctl(path, in: side)
            return true
        } catch {
            return error.errno != .permissionDenied
        }
    }

    /// Writes the value.
    public func write(_ kernel: Kernel, over found: Sysctl?) throws(KernelError) {
        do throws(KernelError) {
            try kernel.setSysctl(path, to: value, in: side)
        } catch  where error.errno == .noSuchFileOrDirectory && isOptional {
            return
        } catch  where error.errno == .readOnlyFileSystem {
            // A host that is itself a container may see /proc/sys without being let write it.
            guard !isOptional else { return }
            let present = try kernel.sysctl(path, in: side)
            guard present == value else { throw error }
        }
    }

    /// Leaves the setting, which cannot be removed.
    public func erase(_ kernel: Kernel) {}

    /// Whether the value is another; the kernel puts tabs between several numbers.
    public func differences(from found: Sysctl) -> [Difference] {
        if words(value) == words(found.value) { return [] }
        return [Difference("sysctl \(path)", wanted: value, found: found.value)]
    }

    private func words(_ text: String) -> [[UInt8]] {
        text.utf8.split { $0 == 0x20 || (0x09...0x0d).contains($0) }.map { Array($0) }
    }
}

extension Kernel {
    /// The value of a setting below /proc/sys, without white space around it.
    public func sysctl(_ path: String, in side: Side) throws(KernelError) -> String {
        let operation = "read sysctl \(path)"
        let file = try openSysctl(path, .readOnly, in: side, operation)
        defer { try? file.close() }
        var bytes = [UInt8](repeating: 0, count: 4096)
        var count = unsafe Glibc.read(file.rawValue, &bytes, bytes.count)
        if count == bytes.count {
            // The kernel gives a value once, as much as there is room for: a list of ports may need more.
            bytes = [UInt8](repeating: 0, count: Self.longestSetting)
            count = unsafe pread(file.rawValue, &bytes, bytes.count, 0)
        }
        guard count >= 0 else { throw KernelError(lastOf: operation) }
        var text = bytes[..<count]
        let isSpace = { (byte: UInt8) in byte == 0x20 || (0x09...0x0d).contains(byte) }
        while let last = text.last, isSpace(last) { text.removeLast() }
        return String(decoding: text.drop(while: isSpace), as: UTF8.self)
    }

    /// Sets a setting below /proc/sys.
    public func setSysctl(_ path: String, to value: String, in side: Side) throws(KernelError) {
        let operation = "set sysctl \(path) to \(value)"
        let file = try openSysctl(path, .writeOnly, in: side, operation)
        defer { try? file.close() }
        var rest = Array(value.utf8)[...]
        repeat {
            // Of a long list the kernel takes a page at once, and adds the next to it.
            let count = unsafe rest.withUnsafeBytes { bytes in
                unsafe Glibc.write(file.rawValue, bytes.baseAddress, bytes.count)
            }
            guard count >= 0 else { throw KernelError(lastOf: operation) }
            guard count > 0 || rest.isEmpty else { throw KernelError(operation, .ioError) }
            rest = rest.dropFirst(count)
        } while !rest.isEmpty
    }

    /// The most bytes of a setting: every other port of all.
    private static let longestSetting = 256 << 10

    /// Opens a setting without following any link or leaving procfs, whatever is mounted below it.
    private func openSysctl(
        _ path: String, _ mode: FileDescriptor.AccessMode, in side: Side, _ operation: String
    ) throws(KernelError) -> FileDescriptor {
        let root = try openSysctlRoot(operation)
        // Which namespace's settings these are is decided by where the thread is at open.
        try enter(side)
        let file = unsafe linux_open_beneath(root.rawValue, path, mode.rawValue | O_CLOEXEC)
        guard file >= 0 else { throw KernelError(lastOf: operation) }
        // A container's host may have /proc/sys/net, or a part of it, as a mount of its own.
        guard linux_is_procfs(file) == 1 else {
            _ = Glibc.close(file)
            throw KernelError(operation, .notPermitted, detail: "/proc/sys/\(path) is not procfs")
        }
        return FileDescriptor(rawValue: file)
    }

    private func openSysctlRoot(_ operation: String) throws(KernelError) -> FileDescriptor {
        if let sysctlRoot { return sysctlRoot }
        let root = unsafe Glibc.open("/proc/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard root >= 0 else { throw KernelError(lastOf: operation) }
        guard linux_is_procfs(root) == 1 else {
            _ = Glibc.close(root)
            throw KernelError(operation, .notPermitted, detail: "/proc/sys is not procfs")
        }
        let descriptor = FileDescriptor(rawValue: root)
        sysctlRoot = descriptor
        return descriptor
    }
}
