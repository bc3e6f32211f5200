import Addressing
public import CNI
public import Netlink
import Nftables
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Leads ports of the host to the container.
public enum Portmap: ChainedPlugin {
    /// The plugin's name.
    public static let name = "portmap"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// Reads the configuration.
    public static func options(_ call: Call) throws(CNIError) -> Options { try Options(call) }

    /// Whether there are no ports to map.
    public static func isIdle(_ options: Options) -> Bool { options.mappings.isEmpty }

    /// The mappings, and for the host's own connections to 127.0.0.1 the way to the container.
    public static func plan(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Plan<Kernel> {
        let addresses = attachment.firstAddresses
        var link: String?
        // By iptables IPv4 has its guards with its own ports, or else all have them.
        let families: [Family] = options.usesIPTables ? [.v4] : addresses.map(\.address.family)
        if options.masquerades, families.contains(where: { !options.mappings(of: $0).isEmpty }),
            let address = addresses.first(where: { $0.family == .v4 })
        {
            link = try wrapping { () throws(KernelError) in
                try kernel.outputLink(to: address.address, in: .host)
            }
        }
        var (rules, mappings): (IPTablesRules?, PortMappings?)
        if options.usesIPTables {
            var own = IPTablesRules(options, to: addresses, of: attachment.owner)
            own.opened = link
            rules = own
        } else {
            var own = PortMappings(
                owner: attachment.owner, mappings: options.mappings, addresses: addresses,
                masquerades: options.masquerades, masqueradesAll: options.masqueradesAll,
                conditions: options.conditions)
            own.opened = link
            mappings = own
        }
        return Plan {
            if let rules { rules }
            if let mappings { mappings }
            // What the rules guard comes after them.
            if let link { Sysctl(LoopbackRoutes.path(link), "1", in: .host, .shared) }
        }
    }

    /// The backend by which the mappings are there: the reference has made those of a container that it
    /// attached by iptables, unless it was told otherwise.
    public static func asAdded(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> Options {
        guard !options.isToldBackend else { return options }
        return try wrapping { () throws(KernelError) in
            try kernel.withRules { (rules) throws(KernelError) in
                let reference = IPTablesRules(owner: attachment.owner, kind: .portMappings)
                let found = try rules.find(Family.allCases.map { .chain(reference.chain($0)) })
                guard found.contains(where: { $0 != nil }) else { return options }
                return options.byIPTables
            }
        }
    }

    /// The mappings of the owner, whatever the configuration says of them now.
    public static func remains(
        of owner: Owner, _ options: Options, _ kernel: Kernel, isAdding: Bool
    ) throws(KernelError) -> Plan<Kernel> {
        guard !isAdding else { return Plan([]) }
        return Plan {
            PortMappings(
                owner: owner, mappings: [], addresses: [], masquerades: false,
                masqueradesAll: false)
            IPTablesRules(
                owner: owner, kind: .portMappings, formerAddresses: options.formerAddresses)
        }
    }

    /// The owners that claim a port.
    public static func owners(
        _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> [Owner] {
        let owners = try PortMappings.owners(kernel)
        return try owners
            + IPTablesRules.owners(.portMappings, kernel).filter { !owners.contains($0) }
    }

    /// Removes mappings of the reference's containers that are no more.
    public static func collectForeign(
        _ kernel: Kernel, of network: String,
        except valid: Set<NetworkConfiguration.ValidAttachment>
    ) throws(KernelError) {
        try ReferenceTables.collect(.portMappings, kernel, of: network, except: valid)
    }

    /// There is nothing that belongs to nobody.
    public static func sweep(_ options: Options, _ kernel: Kernel) throws(KernelError) {}

    /// Throws code 50 if the kernel has no nftables.
    public static func requireKernel(
        _ options: Options, _ kernel: Kernel
    ) throws(CNIError) { try kernel.requireRules() }
}

extension Attachment {
    /// The container's first address of each family, with its network.
    var firstAddresses: [IPPrefix] {
        Family.allCases.compactMap { family in
            addresses.first { $0.address.family == family }?.address
        }
    }
}
