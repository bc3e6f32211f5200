internal import Glibc
public import SystemPackage

extension Errno {
    /// The calling thread's errno.
    public static var current: Errno { Errno(rawValue: Glibc.errno) }

    /// ENODEV: there is no such link.
    public static var noSuchDevice: Errno { Errno(rawValue: Glibc.ENODEV) }

    /// EXFULL: a bridge has no port left.
    public static var exchangeFull: Errno { Errno(rawValue: Glibc.EXFULL) }
}
