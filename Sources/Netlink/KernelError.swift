public import SystemPackage

/// What the kernel said to a request, and what was asked of it.
public struct KernelError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The request in words, its object included: `add address 10.1.0.5/16 to eth0`.
    public let operation: String
    /// The error number.
    public let errno: Errno
    /// The kernel's extended-ack text, if it sent any.
    public let detail: String?

    /// An error of one operation.
    public init(_ operation: String, _ errno: Errno, detail: String? = nil) {
        self.operation = operation
        self.errno = errno
        self.detail = detail
    }

    /// An error of one operation whose cause is the thread's errno; to be made at once.
    public init(lastOf operation: String) {
        self.init(operation, .current)
    }

    /// `add address 10.1.0.5/16 to eth0: File exists (17)`, and the kernel's text if any.
    public var description: String {
        let cause = "\(operation): \(errno) (\(errno.rawValue))"
        return detail.map { "\(cause): \($0)" } ?? cause
    }
}
