public import CNI
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Gives the container an interface that leads nowhere, to hold addresses.
public enum Dummy: ContainerLinkPlugin {
    /// The plugin's name.
    public static let name = "dummy"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// The keys of the dummy plugin.
    public struct Options: ContainerLinkOptions {
        /// The name resolution that comes before IPAM's.
        public let dns: AddResult.DNS?

        init(_ keys: inout Keys) throws(CNIError) {
            _ = try keys.ipamType()
            dns = try keys.dns()
        }
    }

    /// Reads the configuration.
    public static func options(_ call: Call) throws(CNIError) -> Options {
        try call.requireIPAM("dummy interface requires an IPAM configuration")
        var keys = Keys(call.configuration.json)
        return try Options(&keys)
    }

    /// The interface.
    public static func interfaces(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        var link = attachment.link(.dummy)
        link.mac = attachment.mac
        return Plan { link }
    }
}
