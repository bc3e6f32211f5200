internal import CLinux
internal import Netlink
internal import Rtnetlink
internal import SystemPackage

extension tcmsg {
    /// The fixed part of a traffic control message.
    init(index: UInt32, parent: UInt32 = 0, handle: UInt32 = 0, info: UInt32 = 0) {
        self.init()
        tcm_family = UInt8(AF_UNSPEC)
        tcm_ifindex = Int32(bitPattern: index)
        tcm_parent = parent
        tcm_handle = handle
        tcm_info = info
    }
}

/// The places a qdisc can have besides a class, and those of filters in it.
enum Place {
    static var root: UInt32 { TC_H_ROOT }
    static var clsact: UInt32 { TC_H_CLSACT }
    static var clsactHandle: UInt32 { TC_H_CLSACT & TC_H_MAJ_MASK }
    static var ingress: UInt32 { clsactHandle | TC_H_MIN_INGRESS }
    static var egress: UInt32 { clsactHandle | TC_H_MIN_EGRESS }
}

extension tc_ratespec {
    /// A rate whose tables the kernel computes itself.
    init(_ rate: Rate) {
        self.init()
        // With a link layer named, no table is asked for.
        linklayer = UInt8(TC_LINKLAYER_ETHERNET.rawValue)
        cell_log = 3
        self.rate = UInt32(clamping: rate.bytesPerSecond)
    }
}

extension Rate {
    /// Whether the rate needs the 64-bit attribute beside the old field.
    var isWide: Bool { bytesPerSecond >= 1 << 32 }
}

/// Runs `body`, and takes the errors that say there is no such object for nil.
func ifPresent<Result>(
    _ body: () throws(KernelError) -> Result?
) throws(KernelError) -> Result? {
    do throws(KernelError) {
        return try body()
    } catch  where isAbsence(error.errno) {
        return nil
    }
}

/// Runs `body`, and takes the errors that say there is no such object for success.
func unlessAbsent(_ body: () throws(KernelError) -> Void) throws(KernelError) {
    _ = try ifPresent { () throws(KernelError) -> Void? in try body() }
}

private func isAbsence(_ errno: Errno) -> Bool {
    errno == .noSuchFileOrDirectory || errno == .noSuchDevice
}
