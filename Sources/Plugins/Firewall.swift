import Addressing
public import CNI
public import Netlink
import Nftables
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Admits the container's traffic through the host's firewall, and keeps other containers out if
/// asked to.
public enum Firewall: ChainedPlugin {
    /// The plugin's name.
    public static let name = "firewall"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// Reads the configuration.
    public static func options(_ call: Call) throws(CNIError) -> Options { try Options(call) }

    /// There is always something to do.
    public static func isIdle(_ options: Options) -> Bool { false }

    /// What admits the container through the host's firewall, and what isolates it.
    public static func plan(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Plan<Kernel> {
        var port: String?
        if options.policy == .isolated { port = try attachment.hostEnd(kernel).name }
        var isolation: Isolation?
        if options.policy != .open {
            guard let bridge = attachment.result.interfaces.first?.name, !bridge.isEmpty else {
                throw CNIError(
                    .invalidConfiguration, "prevResult.interfaces: no interfaces provided")
            }
            isolation = Isolation(policy: options.policy, bridge: bridge, port: port)
        }
        let addresses = attachment.addresses.map(\.address.address)
        let isByZone = try isByZone(options, kernel)
        return Plan {
            if !isByZone || isolation != nil {
                Admission(
                    owner: attachment.owner, addresses: isByZone ? [] : addresses,
                    adminChain: options.adminChain, isolation: isolation)
            }
            if isByZone {
                ZoneSources(owner: attachment.owner, addresses: addresses, zone: options.zone)
            }
        }
    }

    /// Whether a zone of firewalld admits: as the configuration says, or else if firewalld runs here.
    private static func isByZone(
        _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> Bool {
        if let backend = options.backend { return backend == .firewalld }
        return try wrapping { () throws(KernelError) in
            try kernel.returnHome()
            guard try FirewalldZones.areTraced(kernel) else { return false }
            return try FirewalldZones.open() != nil
        }
    }

    /// The backend by which ADD has admitted the container, where the configuration names none.
    public static func asAdded(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> Options {
        guard options.backend == nil else { return options }
        return try wrapping { () throws(KernelError) in
            let isByZone = try ZoneSources.hasClaims(attachment.owner, kernel)
            return options.by(isByZone ? .firewalld : .iptables)
        }
    }

    /// The owner's rules, whatever the configuration says now.
    public static func remains(
        of owner: Owner, _ options: Options, _ kernel: Kernel, isAdding: Bool
    ) throws(KernelError) -> Plan<Kernel> {
        guard !isAdding else { return Plan([]) }
        let foreign = try foreignSources(owner, options, kernel)
        return Plan {
            Admission(
                owner: owner, addresses: options.formerAddresses, adminChain: options.adminChain,
                isolation: nil)
            ZoneSources(owner: owner, addresses: foreign, zone: options.zone)
        }
    }

    /// The addresses that another implementation may have put into a zone for an owner of which nothing
    /// is here.
    private static func foreignSources(
        _ owner: Owner, _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> [IPAddress] {
        guard !options.formerAddresses.isEmpty, options.backend != .iptables else { return [] }
        if options.backend == nil {
            guard try FirewalldZones.areTraced(kernel) else { return [] }
        }
        let members = try kernel.withRules { (rules) throws(KernelError) in
            try rules.elements(
                [Element.interfaceName(owner.hostEnd)], of: FirewallRules.members)
        }
        return members[0]?.comment == owner.tag ? [] : options.formerAddresses
    }

    /// The owners that have rules, or addresses in a zone.
    public static func owners(
        _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> [Owner] {
        let owners = try kernel.withRules { (rules) throws(KernelError) in
            let members = try rules.elements(of: FirewallRules.members) ?? []
            return members.compactMap { $0.comment.flatMap { Owner(tag: $0) } }
        }
        return try owners + ZoneSources.owners(kernel).filter { !owners.contains($0) }
    }

    /// There is nothing that belongs to nobody.
    public static func sweep(_ options: Options, _ kernel: Kernel) throws(KernelError) {}

    /// Throws code 50 if the kernel has no nftables, or if firewalld is asked for and does not run.
    public static func requireKernel(
        _ options: Options, _ kernel: Kernel
    ) throws(CNIError) {
        try kernel.requireRules()
        guard options.backend == .firewalld else { return }
        do throws(KernelError) {
            if try FirewalldZones.open() != nil { return }
        } catch {
            throw CNIError(.notAvailable, "\(error)")
        }
        throw CNIError(.notAvailable, "firewalld does not run")
    }
}

extension Firewall {
    /// The name of the operator's chain.
    static let standardAdminChain = "CNI-ADMIN"

    /// What the host's operator decides with.
    public enum Backend: String, Sendable {
        /// The chains of iptables over nftables.
        case iptables
        /// The zones of firewalld.
        case firewalld
    }

    /// Who may send to a container.
    enum Policy: String, Sendable {
        /// Everybody.
        case open
        /// Not the containers of other bridges.
        case sameBridge = "same-bridge"
        /// No other container.
        case isolated
    }

    /// The keys of the firewall plugin.
    public struct Options: Sendable {
        let adminChain: String
        let policy: Policy
        /// The addresses of the result that DEL is given.
        private(set) var formerAddresses: [IPAddress] = []
        /// The zone of firewalld that admits.
        let zone: String
        /// The backend that is asked for; nil to find out.
        private(set) var backend: Backend?

        init(_ keys: inout Keys) throws(CNIError) {
            let backend = try keys(
                "backend", default: "",
                "The host's firewall: iptables or firewalld; firewalld without the key if it runs, "
                    + "or else iptables.")
            self.backend = Backend(rawValue: backend)
            let chain = try keys(
                "iptablesAdminChainName", default: Firewall.standardAdminChain,
                "The chain in which the operator decides before the plugin's rules.")
            zone = try keys(
                "firewalldZone", default: "trusted",
                "The zone of firewalld that the container's addresses are put into.")
            let text = try keys(
                "ingressPolicy", default: "open",
                "Who may send to the container: open, same-bridge or isolated.")
            adminChain = chain.isEmpty ? Firewall.standardAdminChain : chain
            guard let policy = text.isEmpty ? .open : Policy(rawValue: text) else {
                throw keys.invalid("ingressPolicy", "unknown ingress policy: \"\(text)\"")
            }
            self.policy = policy
            guard adminChain.utf8.count < 29 else {
                throw keys.invalid(
                    "iptablesAdminChainName", "longer than the 28 bytes of iptables")
            }
        }

        init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys)
            guard call.invocation.verb == .del else { return }
            formerAddresses = call.formerAddresses
        }

        /// The same, by a backend.
        func by(_ backend: Backend) -> Options {
            var options = self
            options.backend = backend
            return options
        }
    }
}
