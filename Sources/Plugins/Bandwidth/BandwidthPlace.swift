import CNI
import Netlink
import PluginRuntime
import Rtnetlink
import SystemPackage

extension Bandwidth {
    /// Where an attachment's packets pass.
    struct Place {
        /// The interface in the container.
        let interface: String
        /// The other end of its veth pair on the host; nil for what is no veth.
        let hostEnd: String?
        /// The largest packet that the link takes which the limits are for, in bytes.
        let mtu: Int

        /// The place of an attachment whose interface is there.
        init(_ attachment: Attachment, _ kernel: Kernel) throws(CNIError) {
            interface = attachment.interface
            let own = try wrapping { () throws(KernelError) in
                try kernel.seen(attachment.interface, in: .container)
            }
            guard let own, own.kind != "veth" else {
                let other = try attachment.hostEnd(kernel)
                hostEnd = other.name
                mtu = other.mtu
                return
            }
            guard attachment.result.interfaces.contains(where: { $0.name == own.name }) else {
                throw CNIError(
                    .invalidConfiguration,
                    "prevResult.interfaces: interface \(own.name) is missing")
            }
            hostEnd = nil
            mtu = own.mtu
        }
    }
}
