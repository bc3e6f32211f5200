import Addressing
public import CNI
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Gives the container a tap: a link whose packets a program in it reads and writes.
public enum Tap: ContainerLinkPlugin {
    /// The plugin's name.
    public static let name = "tap"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// The keys of the tap plugin.
    public struct Options: ContainerLinkOptions {
        let settings: TapSettings
        let mtu: Int?
        let bridge: String?
        fileprivate(set) var mac: MACAddress?
        fileprivate let runtimeMAC: MACAddress?
        /// The name resolution that comes before IPAM's.
        public let dns: AddResult.DNS?

        init(_ keys: inout Keys) throws(CNIError) {
            var settings = TapSettings()
            settings.hasManyQueues = try keys(
                "multiQueue", default: false, "Gives each of several openers a queue.")
            mtu = try keys.mtu()
            mac = try keys.mac("mac", "The hardware address of the interface.")
            settings.owner = try keys("owner", "The number of the user that may open the tap.")
            settings.group = try keys("group", "The number of the group that may open the tap.")
            let context = try keys(
                "selinuxContext", default: "",
                "The SELinux context of the tap, such as system_u:system_r:container_t:s0.")
            let bridge = try keys(
                "bridge", default: "", "A bridge in the container that the tap is a port of.")
            self.bridge = bridge.isEmpty ? nil : bridge
            runtimeMAC = try keys.mac(
                "runtimeConfig.mac", "The same as mac; comes before mac and CNI_ARGS.")
            _ = try keys.ipamType()
            dns = try keys.dns()
            let ids = 0...Int(UInt32.max) - 1
            // One after the other: the compiler's output for a loop over the pair is not reproducible.
            if let owner = settings.owner, !ids.contains(owner) {
                throw keys.invalid("owner", "not a number of 32 bits: \(owner)")
            }
            if let group = settings.group, !ids.contains(group) {
                throw keys.invalid("group", "not a number of 32 bits: \(group)")
            }
            settings.context = context.isEmpty ? nil : context
            self.settings = settings
        }
    }

    /// Reads the configuration and CNI_ARGS.
    public static func options(_ call: Call) throws(CNIError) -> Options {
        var keys = Keys(call.configuration.json)
        var options = try Options(&keys)
        let argumentMAC = try call.argumentMAC()
        options.mac = options.runtimeMAC ?? argumentMAC ?? options.mac
        guard call.invocation.verb != .add || options.settings.context == nil || hasSELinux() else {
            throw CNIError(
                .invalidConfiguration, "selinuxContext: SELinux is not enabled on this kernel")
        }
        return options
    }

    /// The interface.
    public static func interfaces(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        var link = attachment.link(.tap(options.settings))
        link.mtu = options.mtu
        link.mac = attachment.mac ?? options.mac
        link.master = options.bridge
        return Plan { link }
    }

    /// The addresses and routes.
    ///
    /// Nobody has opened the tap yet who could have an address, too.
    public static func network(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        settings(attachment, detectsDuplicates: false)
    }
}
