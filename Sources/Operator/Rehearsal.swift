public import Addressing
public import CNI
internal import Netlink
internal import Plan
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import SystemPackage
internal import TrafficControl

/// What ADD of a network would make, found out by making it where nobody sees it.
///
/// The plugins' own plans are applied in two new network namespaces, one for the host and one for
/// the container, which go when that is done. Of the host itself it is only read which links and
/// which addresses there are, and what of the plan is there already.
public struct Rehearsal: Sendable {
    /// An object that ADD makes, in its order.
    public struct Object: Sendable {
        /// The plugin that makes it.
        public let plugin: String
        /// What kind of an object it is: `bridge`, `address`, `rules`.
        public let kind: String
        /// The object: `link cni0`.
        public let name: String
        /// Whether it is in the container.
        public let isInContainer: Bool
        /// Whether other attachments use it too, so that DEL leaves it.
        public let isShared: Bool
        /// Whether it is on the host already.
        public internal(set) var isThere = false
        /// The commands of `ip`, `bridge`, `tc`, `sysctl` and `nft` that make it, for a shell.
        public let commands: [String]
    }

    /// What cannot be told, or would keep ADD from succeeding.
    public struct Problem: Sendable {
        /// The plugin that it is about.
        public let plugin: String
        /// What it is.
        public let message: String
    }

    /// The objects, in the order in which ADD makes them.
    public private(set) var objects: [Object] = []
    /// The container's addresses: the next ones that are free, and not reserved.
    public private(set) var addresses: [IPPrefix] = []
    /// What cannot be told, and what would go wrong.
    public private(set) var problems: [Problem] = []
    /// The result that ADD would give; nil if it would fail.
    public private(set) var result: JSON?

    /// Rehearses ADD of a network.
    ///
    /// - Throws: What keeps it from being rehearsed at all; what a plugin says is among the problems.
    public init(_ network: ConfigurationList, _ target: Runtime.Target, plugins: [String])
        throws(CNIError)
    {
        let stage = try Stage(network, target, plugins: plugins)
        var shared: [(object: Int, step: any Resource<Kernel>)] = []
        try stage.run { () throws(CNIError) in
            var previous: JSON?
            for plugin in network.plugins {
                let type = plugin["type"]?.text ?? ""
                var performance = Performance(plugin: type, interface: target.interface)
                do throws(CNIError) {
                    let configuration = network.configuration(
                        of: plugin, previous: previous, capabilities: target.capabilities)
                    let output = try performance.add(stage.call(configuration))
                    previous = try output.json(for: network.version)
                    addresses = output.addresses.map(\.address)
                } catch {
                    performance.problems.append("\(error)")
                    previous = nil
                }
                problems += performance.problems.map { Problem(plugin: type, message: $0) }
                for (object, step) in performance.objects {
                    if step.sharing == .shared, !object.isInContainer {
                        shared.append((objects.count, step))
                    }
                    objects.append(object)
                }
                guard previous != nil else { break }
            }
            result = previous
        }
        let kernel = try wrapping { () throws(KernelError) in try Kernel(container: nil) }
        for (index, step) in shared {
            do throws(KernelError) {
                objects[index].isThere = try Self.isThere(step, kernel)
            } catch  where [.noSuchDevice, .noSuchFileOrDirectory].contains(error.errno) {
                continue  // what it is on is not there either
            } catch {
                problems.append(Problem(plugin: objects[index].plugin, message: "\(error)"))
            }
        }
    }

    private static func isThere<Object: Resource<Kernel>>(
        _ step: Object, _ kernel: Kernel
    ) throws(KernelError) -> Bool {
        guard let found = try step.read(kernel) else { return false }
        // A setting is there in any case; it is as it should be, or not.
        return step is Sysctl ? step.differences(from: found).isEmpty : true
    }
}

/// One plugin's part.
private struct Performance {
    let plugin: String
    let interface: String
    var objects: [(Rehearsal.Object, any Resource<Kernel>)] = []
    var problems: [String] = []

    init(plugin: String, interface: String) {
        self.plugin = plugin
        self.interface = interface
    }

    /// ADD of the plugin.
    mutating func add(_ call: Call) throws(CNIError) -> AddResult {
        guard let type = Plugins.plugin(named: plugin) else {
            throw CNIError(
                .invalidConfiguration,
                "none of this project's plugins: what it and those after it make is not known")
        }
        switch type {
        case let type as any InterfacePlugin.Type: return try add(interface: type, call)
        case let type as any ChainedPlugin.Type: return try add(chained: type, call)
        case let type as any PlannedPlugin.Type: return try add(planned: type, call)
        default:
            throw CNIError(.invalidConfiguration, "\(plugin) only gives out addresses")
        }
    }

    private mutating func add<P: InterfacePlugin>(
        interface type: P.Type, _ call: Call
    ) throws(CNIError) -> AddResult {
        let options = try P.options(call)
        try call.owner.checkTag()
        var attachment = P.newAttachment(call)
        switch call.configuration.ipamType {
        case "": break
        case HostLocal.name: attachment.result = try HostLocal.preview(call)
        case Static.name: attachment.result = try Static.add(call)
        case let other:
            problems.append("the addresses are not known: \(other) gives them out at ADD")
        }
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        var stand = Stand(kernel)
        try make(P.interfaces(attachment, options), &stand)
        try P.complete(&attachment, options)
        try make(P.network(attachment, options), &stand)
        try P.finish(&attachment, options, kernel)
        return attachment.result
    }

    private mutating func add<P: ChainedPlugin>(
        chained type: P.Type, _ call: Call
    ) throws(CNIError) -> AddResult {
        var options = try P.options(call)
        let previous = try call.previousResult()
        guard !P.isIdle(options) else { return previous }
        let attachment = Attachment(call, chainedTo: previous)
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        var stand = Stand(kernel)
        do throws(StepFailure) {
            try perform(try Self.plan(type, attachment, options, kernel), &stand)
        } catch {
            let lesser =
                try error.kernel.flatMap { (cause) throws(CNIError) in
                    try P.lesser(options, after: cause, kernel)
                }
            guard let lesser, stand.journal.rollBack().isEmpty else { throw error.shown }
            options = lesser
            objects = []
            try make(P.plan(attachment, options, kernel, attempt: 0), &stand)
        }
        let remark = try P.remark(attachment, options, kernel)
        if !remark.isEmpty { problems.append(remark) }
        return previous
    }

    private static func plan<P: ChainedPlugin>(
        _ type: P.Type, _ attachment: Attachment, _ options: P.Options, _ kernel: Kernel
    ) throws(StepFailure) -> Plan<Kernel> {
        do throws(CNIError) {
            return try P.plan(attachment, options, kernel, attempt: 0)
        } catch {
            throw StepFailure(kernel: nil, shown: error)
        }
    }

    private mutating func add<P: PlannedPlugin>(
        planned type: P.Type, _ call: Call
    ) throws(CNIError) -> AddResult {
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        var stand = Stand(kernel)
        try make(P.plan(call, kernel), &stand)
        guard let previous = call.configuration.previous else { return AddResult() }
        return previous
    }

    /// What failed: the kernel's error if it was one.
    private struct StepFailure: Error {
        let kernel: KernelError?
        let shown: CNIError
    }

    /// The kernel, what has been done to it, and the rules as they are.
    private struct Stand {
        let kernel: Kernel
        var journal: Journal<Kernel>
        var rules: [Side: RulesetText] = [:]
        /// What of the rules `nft` could not show since it was asked last.
        var complaints: [String] = []

        init(_ kernel: Kernel) {
            self.kernel = kernel
            journal = Journal(kernel)
        }

        /// What has come to the rules of each side since the last time.
        mutating func newRules(_ sides: [Side]) -> [String] {
            sides.compactMap { side in
                guard let (text, complaints) = list(side) else { return nil }
                self.complaints += complaints
                let now = RulesetText(text)
                let added = now.additions(to: rules[side] ?? RulesetText())
                rules[side] = now
                let enter =
                    side == .host ? "" : "ip netns exec \(CommandNames.namespace) "
                return added.map { "\(enter)nft -f - <<'END'\n\($0)\nEND" }
            }
        }

        private func list(_ side: Side) -> (text: String, complaints: [String])? {
            guard (try? kernel.enter(side)) != nil else { return nil }
            defer { try? kernel.returnHome() }
            return Nft.list()
        }
    }

    private mutating func make(_ plan: Plan<Kernel>, _ stand: inout Stand) throws(CNIError) {
        do throws(StepFailure) {
            try perform(plan, &stand)
        } catch {
            throw error.shown
        }
    }

    private mutating func perform(
        _ plan: Plan<Kernel>, _ stand: inout Stand
    ) throws(StepFailure) {
        let names = CommandNames(interface: interface)
        if stand.rules.isEmpty { _ = stand.newRules([.host, .container]) }
        for step in plan.steps {
            let object = step as? any CommandObject
            var failure: StepError<KernelError>?
            do throws(StepError<KernelError>) {
                // firewalld is not of the namespace that this happens in.
                if !(step is AdmittedAddresses) { try stand.journal.apply(Plan([step])) }
            } catch {
                failure = error
            }
            var commands = object?.commands(names) ?? []
            let hasRules = object == nil || step is Tenant
            if hasRules {
                commands = stand.newRules([.host, .container]) + commands
                for complaint in stand.complaints where !problems.contains(complaint) {
                    problems.append(complaint)
                }
                if commands.isEmpty, failure == nil, !Nft.isInstalled {
                    problems.append(
                        "\(step.description): nft is not installed, which shows the rules")
                }
            }
            // What has been said once, as a default route by two ways, is there already for a second time.
            let isRepeated =
                !commands.isEmpty
                && objects.contains {
                    $0.0.name == step.description && $0.0.commands == commands
                }
            if isRepeated, failure == nil { continue }
            objects.append(
                (
                    Rehearsal.Object(
                        plugin: plugin, kind: object?.objectKind ?? "rules",
                        name: step.description, isInContainer: object?.place == .container,
                        isShared: step.sharing == .shared, commands: commands), step
                ))
            if let failure {
                throw StepFailure(kernel: failure.cause, shown: CNIError(failure.cause))
            }
        }
    }
}

/// The program that shows rules.
private enum Nft {
    private static let path = Delegate.find(
        "nft", in: ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"])

    static var isInstalled: Bool { path != nil }

    /// The rules of the calling thread's namespace, without counters, and what of them it cannot show.
    ///
    /// Of several tables at once it leaves out what targets of iptables do in all but the first.
    static func list() -> (text: String, complaints: [String])? {
        guard let tables = run(["list", "tables"]) else { return nil }
        var (text, complaints) = ("", [String]())
        for table in tables.text.split(separator: "\n") {
            let words = table.split(separator: " ").map(String.init)
            guard words.count == 3, let listed = run(["-s", "list"] + words) else { return nil }
            text += listed.text
            complaints += listed.errors.split(separator: "\n")
                .filter { !$0.hasPrefix("#") && !$0.isEmpty }
                .map { "nft does not show all of \(table): \($0)" }
        }
        return (text, complaints)
    }

    private static func run(_ words: [String]) -> (text: String, errors: String)? {
        guard let path, let ended = try? Subprocess.run(path, words), ended.status == 0
        else { return nil }
        return (
            String(decoding: ended.output, as: UTF8.self),
            String(decoding: ended.errors, as: UTF8.self)
        )
    }
}
