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

    /// The reference's words for a call without a chain.
    public static func wordsWithoutResult(_ verb: Verb) -> String {
        "missing prevResult from earlier plugin"
    }

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
        if options.policy == .isolated { port = try attachment.hostEndIfAny(kernel)?.name }
        var isolation: Isolation?
        if options.policy != .open {
            let links = attachment.result.interfaces
            guard let first = links.first, !first.name.isEmpty else {
                throw CNIError(
                    .invalidConfiguration, "prevResult.interfaces: no interfaces provided")
            }
            // A name in a container may well be that of another link of the host.
            guard let bridge = links.first(where: { $0.sandbox.isEmpty && !$0.name.isEmpty }) else {
                throw CNIError(
                    .invalidConfiguration,
                    "ingressPolicy: cannot be kept, because prevResult.interfaces has no "
                        + "interface of the host")
            }
            isolation = Isolation(policy: options.policy, bridge: bridge.name, port: port)
        }
        let addresses = attachment.result.addresses.map(\.address.address)
        let ways = try ways(of: addresses, options, kernel)
        return Plan {
            if !ways.rules.isEmpty || isolation != nil {
                Admission(
                    owner: attachment.owner, addresses: ways.rules,
                    adminChain: options.adminChain, isolation: isolation)
            }
            for (gate, admitted) in ways.gates where !admitted.isEmpty {
                AdmittedAddresses(owner: attachment.owner, addresses: admitted, by: gate)
            }
        }
    }

    /// The addresses that rules of iptables over nftables admit, and those that other gates do.
    ///
    /// Where there are the chains of iptables before nftables, they count, and those over nftables as well
    /// if somebody has made them: a packet must pass both.
    private static func ways(
        of addresses: [IPAddress], _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> (rules: [IPAddress], gates: [(Gate, [IPAddress])]) {
        let legacy = try wrapping { () throws(KernelError) in
            try kernel.returnHome()
            return Family.allCases.filter(LegacyChains.areThere)
        }
        if try isByZone(options, kernel, legacy) {
            return ([], [(.zone(options.zone), addresses)])
        }
        return try wrapping { () throws(KernelError) in
            guard !legacy.isEmpty else { return (addresses, []) }
            let filters = Family.allCases.map {
                IPTablesFilter(family: $0, adminName: options.adminChain)
            }
            let found = try kernel.withRules { (rules) throws(KernelError) in
                try rules.findings(filters.map { .chain($0.forward) })
            }
            let modern = filters.filter {
                found[$0.forward] != nil || !legacy.contains($0.family)
            }.map(\.family)
            return (
                addresses.filter { modern.contains($0.family) },
                [(options.legacy, addresses.filter { legacy.contains($0.family) })]
            )
        }
    }

    /// Whether a zone of firewalld admits: as the configuration says, or else if firewalld runs here.
    private static func isByZone(
        _ options: Options, _ kernel: Kernel, _ legacy: [Family]
    ) throws(CNIError) -> Bool {
        if let backend = options.backend { return backend == .firewalld }
        return try wrapping { () throws(KernelError) in
            guard try FirewalldZones.areTraced(kernel) || legacy.contains(.v4) else {
                return false
            }
            return try FirewalldZones.open() != nil
        }
    }

    /// The backend by which ADD has admitted the container, where the configuration names none.
    public static func asAdded(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> Options {
        guard options.backend == nil else { return options }
        return try wrapping { () throws(KernelError) in
            let isByZone = try AdmittedAddresses(
                owner: attachment.owner, addresses: [], by: .zone(options.zone)
            )
            .hasClaims(kernel)
            return options.by(isByZone ? .firewalld : .iptables)
        }
    }

    /// The owner's rules, whatever the configuration says now.
    public static func remains(
        of owner: Owner, _ options: Options, _ kernel: Kernel, isAdding: Bool
    ) throws(KernelError) -> Plan<Kernel> {
        guard !isAdding else { return Plan([]) }
        let gates = [Gate.zone(options.zone), options.legacy]
        let member = Element.interfaceName(owner.hostEnd)
        // One question for all that most hosts have none of.
        try kernel.returnHome()
        let looks = try kernel.findRules(
            [.element(FirewallRules.members, member)] + gates.map { .table($0.table) }
                + FirewalldZones.traces)
        let isOurs = looks[FirewallRules.members, member]?.comment == owner.tag
        let isTraced = FirewalldZones.traces.contains { looks[$0] != nil }
        let isZoned = options.backend.map { $0 == .firewalld } ?? isTraced
        let foreign = isOurs ? [] : options.formerAddresses
        var admitted: [AdmittedAddresses] = []
        for gate in gates {
            let foreigners =
                switch gate {
                case .zone: isZoned ? foreign : []
                case .legacy: foreign.filter { LegacyChains.areThere($0.family) }
                }
            guard looks[gate.table] != nil || !foreigners.isEmpty else { continue }
            admitted.append(AdmittedAddresses(owner: owner, addresses: foreigners, by: gate))
        }
        return Plan {
            Admission(
                owner: owner, addresses: options.formerAddresses, adminChain: options.adminChain,
                isolation: nil)
            for addresses in admitted { addresses }
        }
    }

    /// The owners that have rules, or addresses in a zone.
    public static func owners(
        _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> [Owner] {
        let owners = try kernel.withRules { (rules) throws(KernelError) in
            let members = try rules.elements(of: FirewallRules.members) ?? []
            return members.compactMap { $0.comment.flatMap { Owner(tag: $0) } }
        }
        var all = Set(owners)
        for gate in [Gate.zone(options.zone), options.legacy] {
            let nobody = Owner(network: "", containerID: "", interface: "")
            all.formUnion(
                try AdmittedAddresses(owner: nobody, addresses: [], by: gate).owners(kernel))
        }
        return Array(all)
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
            formerAddresses = (call.configuration.previous?.addresses ?? []).map(\.address.address)
        }

        /// The chains of iptables before nftables.
        var legacy: Gate { .legacy(adminChain: adminChain) }

        /// The same, by a backend.
        func by(_ backend: Backend) -> Options {
            var options = self
            options.backend = backend
            return options
        }
    }
}
