public import SystemPackage

/// What the kernel said to a request, and what was asked of it.
public struct KernelError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The request in words, its object included: `add address 10.1.0.5/16 to eth0`.
    public let operation: String
    /// The error number.
    public let errno: Errno
    /// The kernel's extended-ack text, if it sent any.
    public let detail: String?
    /// Whether it may be done all the same, because it was the kernel's answer that was lost.
    public let mayBeDone: Bool

    /// An error of one operation.
    public init(_ operation: String, _ errno: Errno, detail: String? = nil) {
        self.init(operation, errno, detail, mayBeDone: false)
    }

    private init(_ operation: String, _ errno: Errno, _ detail: String?, mayBeDone: Bool) {
        self.operation = operation
        self.errno = errno
        self.detail = detail
        self.mayBeDone = mayBeDone
    }

    /// An operation that was asked for, and whose answer was lost for this reason.
    static func answerLost(_ operation: String, _ errno: Errno) -> KernelError {
        KernelError(operation, errno, "the kernel's answer is lost", mayBeDone: true)
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
