internal import CLinux
public import Netlink
internal import SystemPackage

extension Kernel {
    /// Gives a link another name.
    ///
    /// Older kernels name only links that are down: one that is up is taken down for that moment,
    /// and the routes by it are lost.
    public func rename(_ link: LinkState, to name: String, in side: Side) throws(KernelError) {
        var message = Message(
            "name link \(link.name) \(name)", type: RTM_SETLINK, ifinfomsg(index: link.index))
        message.put(IFLA_IFNAME, name)
        do throws(KernelError) {
            try request(side, message)
        } catch  where error.errno == .resourceBusy {
            let up = UInt32(IFF_UP)
            let down = Message(
                "set link \(link.name) down", type: RTM_SETLINK,
                ifinfomsg(index: link.index, clear: up))
            let restored = Message(
                "set link \(name) up", type: RTM_SETLINK, ifinfomsg(index: link.index, set: up))
            try perform(side, [down, message, restored])
        }
    }
}
