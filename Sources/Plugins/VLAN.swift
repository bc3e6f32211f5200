public import CNI
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Gives the container the packets of one VLAN of another link.
public enum VLAN: ContainerLinkPlugin {
    /// The plugin's name.
    public static let name = "vlan"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// The keys of the vlan plugin.
    public struct Options: ContainerLinkOptions {
        let master: ContainerLink.Lower
        let id: Int
        let mtu: Int?
        /// The name resolution that comes before IPAM's.
        public let dns: AddResult.DNS?

        init(_ keys: inout Keys) throws(CNIError) {
            master = try keys.master()
            id = try keys("vlanId", default: 0, "The VLAN, 0 to 4094.")
            mtu = try keys.mtu(ofMaster: true)
            _ = try keys.ipamType()
            dns = try keys.dns()
            guard (0...4094).contains(id) else {
                throw keys.invalid(
                    "vlanId", "invalid VLAN ID \(id) (must be between 0 and 4094 inclusive)")
            }
        }
    }

    /// Reads the configuration.
    public static func options(_ call: Call) throws(CNIError) -> Options {
        var keys = Keys(call.configuration.json)
        let options = try Options(&keys)
        if options.master.name == nil, call.invocation.verb == .add {
            throw CNIError(
                .invalidConfiguration,
                "master: \"master\" field is required. It specifies the host interface name to "
                    + "create the VLAN for.")
        }
        return options
    }

    /// The interface.
    public static func interfaces(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        var link = attachment.link(.vlan(id: options.id), on: options.master)
        link.mtu = options.mtu
        link.mac = attachment.mac
        return Plan { link }
    }
}
