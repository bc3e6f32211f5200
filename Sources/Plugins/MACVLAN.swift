import Addressing
public import CNI
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Joins the container to the network of another link, with a hardware address of its own.
public enum MACVLAN: ContainerLinkPlugin {
    /// The plugin's name.
    public static let name = "macvlan"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// The keys of the macvlan plugin.
    public struct Options: ContainerLinkOptions {
        let master: ContainerLink.Lower
        let mode: ContainerLink.MacvlanMode
        let mtu: Int?
        let queue: Int?
        fileprivate(set) var mac: MACAddress?
        fileprivate let runtimeMAC: MACAddress?
        /// The name resolution that comes before IPAM's.
        public let dns: AddResult.DNS?

        init(_ keys: inout Keys) throws(CNIError) {
            master = try keys.master()
            let mode = try keys(
                "mode", default: "bridge",
                "Whom the containers on one master reach: bridge, private, vepa or passthru.")
            mtu = try keys.mtu(ofMaster: true)
            let queue = try keys(
                "bcqueuelen", default: 0,
                "Length of the queue for broadcasts; 0 is the kernel's choice.")
            mac = try keys.mac("mac", "The hardware address of the interface.")
            runtimeMAC = try keys.mac(
                "runtimeConfig.mac", "The same; comes before mac and CNI_ARGS.")
            _ = try keys.ipamType()
            dns = try keys.dns()
            guard let mode = ContainerLink.MacvlanMode(rawValue: mode.isEmpty ? "bridge" : mode)
            else { throw keys.invalid("mode", "unknown macvlan mode: \"\(mode)\"") }
            self.mode = mode
            guard (0...Int(UInt32.max)).contains(queue) else {
                throw keys.invalid("bcqueuelen", "invalid length \(queue)")
            }
            self.queue = queue == 0 ? nil : queue
        }
    }

    /// Reads the configuration and CNI_ARGS.
    public static func options(_ call: Call) throws(CNIError) -> Options {
        var keys = Keys(call.configuration.json)
        var options = try Options(&keys)
        let argumentMAC = try call.argumentMAC()
        options.mac = options.runtimeMAC ?? argumentMAC ?? options.mac
        return options
    }

    /// The interface.
    public static func interfaces(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        var link = attachment.link(
            .macvlan(mode: options.mode, queue: options.queue), on: options.master)
        link.mtu = options.mtu
        link.mac = attachment.mac ?? options.mac
        return Plan { link }
    }
}
