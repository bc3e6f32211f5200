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

    /// The rules of the host's firewall, and those that isolate.
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
        return Plan {
            Admission(
                owner: attachment.owner, addresses: attachment.addresses.map(\.address.address),
                adminChain: options.adminChain, isolation: isolation)
        }
    }

    /// The owner's rules, whatever the configuration says now.
    public static func remains(
        of owner: Owner, _ options: Options, _ kernel: Kernel, isAdding: Bool
    ) throws(KernelError) -> Plan<Kernel> {
        guard !isAdding else { return Plan([]) }
        return Plan {
            Admission(
                owner: owner, addresses: options.formerAddresses, adminChain: options.adminChain,
                isolation: nil)
        }
    }

    /// The owners that have rules.
    public static func owners(
        _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> [Owner] {
        try kernel.withRules { (rules) throws(KernelError) in
            let members = try rules.elements(of: FirewallRules.members) ?? []
            return members.compactMap { $0.comment.flatMap { Owner(tag: $0) } }
        }
    }

    /// There is nothing that belongs to nobody.
    public static func sweep(_ options: Options, _ kernel: Kernel) throws(KernelError) {}

    /// Throws code 50 if the kernel has no nftables.
    public static func requireKernel(
        _ options: Options, _ kernel: Kernel
    ) throws(CNIError) { try kernel.requireRules() }
}

extension Firewall {
    /// The name of the operator's chain.
    static let standardAdminChain = "CNI-ADMIN"

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
        private let backend: String

        init(_ keys: inout Keys) throws(CNIError) {
            backend = try keys(
                "backend", default: "",
                "The host's firewall: iptables, which is also the default; firewalld is not "
                    + "supported yet.")
            let chain = try keys(
                "iptablesAdminChainName", default: Firewall.standardAdminChain,
                "The chain in which the operator decides before the plugin's rules.")
            _ = try keys("firewalldZone", default: "trusted", "A zone of firewalld.")
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
            guard call.invocation.verb == .del else {
                if backend == "firewalld" {
                    throw CNIError(.unsupportedField, "backend: firewalld is not supported yet")
                }
                return
            }
            if let previous = call.configuration.previous,
                let attachment = try? Attachment(call, chainedTo: previous)
            {
                formerAddresses = attachment.addresses.map(\.address.address)
            }
        }
    }
}
