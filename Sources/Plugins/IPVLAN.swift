public import CNI
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Joins the container to the network of another link, whose hardware address it shares.
public enum IPVLAN: ContainerLinkPlugin {
    /// The plugin's name.
    public static let name = "ipvlan"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// The keys of the ipvlan plugin.
    public struct Options: ContainerLinkOptions {
        fileprivate(set) var master: ContainerLink.Lower
        let mode: ContainerLink.IPvlanMode
        let mtu: Int?
        let hasIPAM: Bool
        /// The addresses of the plugins before, for a network without IPAM.
        fileprivate(set) var previous: AddResult?
        /// The name resolution that comes before IPAM's.
        public let dns: AddResult.DNS?

        init(_ keys: inout Keys) throws(CNIError) {
            master = try keys.master()
            let mode = try keys(
                "mode", default: "l2", "Where containers are told apart: l2, l3 or l3s.")
            mtu = try keys.mtu(ofMaster: true)
            hasIPAM = try keys.ipamType() != ""
            dns = try keys.dns()
            guard let mode = ContainerLink.IPvlanMode(rawValue: mode.isEmpty ? "l2" : mode)
            else { throw keys.invalid("mode", "unknown ipvlan mode: \"\(mode)\"") }
            self.mode = mode
        }
    }

    /// Reads the configuration, and the result of the plugins before: their interface is the
    /// master, and without IPAM their addresses are the container's.
    public static func options(_ call: Call) throws(CNIError) -> Options {
        var keys = Keys(call.configuration.json)
        var options = try Options(&keys)
        guard call.invocation.verb == .add else { return options }
        let previous = call.configuration.previous
        if options.master.name == nil, let previous {
            guard previous.interfaces.count == 1, let name = previous.interfaces.first?.name,
                !name.isEmpty
            else {
                throw CNIError(
                    .invalidConfiguration,
                    "master: chained master failure. PrevResult lacks a single named interface")
            }
            options.master.name = name
        }
        if !options.hasIPAM {
            guard let previous, !previous.addresses.isEmpty else {
                throw CNIError(
                    .invalidConfiguration, "ipam.type: ipvlan needs IPAM or addresses before it")
            }
            options.previous = previous
        }
        return options
    }

    /// The interface.
    public static func interfaces(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        var link = attachment.link(.ipvlan(mode: options.mode), on: options.master)
        link.mtu = options.mtu
        link.mac = attachment.mac
        return Plan { link }
    }

    /// Takes over the addresses of the plugins before if there is no IPAM, and says whose they are.
    public static func complete(
        _ attachment: inout Attachment, _ options: Options
    ) throws(CNIError) {
        if let previous = options.previous { attachment.result = previous }
        attachment.claimAddresses(dns: options.dns)
    }
}
