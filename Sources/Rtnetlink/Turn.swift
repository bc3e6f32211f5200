internal import CLinux
internal import Glibc
public import Netlink
internal import SystemPackage

extension Kernel {
    /// Waits until no other process of this host has this turn, and keeps it as long as this object lives.
    ///
    /// It is an abstract name of unix(7): each network namespace has its own, one socket at most has a name, and
    /// the kernel takes it back from whoever dies. Anybody may have it, so it is waited for two seconds and then
    /// gone on without.
    public func takeTurn(_ name: String) throws(KernelError) {
        guard turn == nil else { return }
        try returnHome()
        for _ in 0..<Self.turnAttempts {
            let descriptor = unsafe linux_take_name("swift-cni " + name)
            if descriptor >= 0 {
                turn = FileDescriptor(rawValue: descriptor)
                return
            }
            guard errno == EADDRINUSE else { throw KernelError(lastOf: "take turns at \(name)") }
            usleep(Self.turnPause)
        }
    }

    /// With the pause, two seconds: a hundred ADDs, one after the other.
    private static let turnAttempts = 800
    /// In microseconds.
    private static let turnPause: useconds_t = 2_500
}
