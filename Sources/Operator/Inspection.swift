public import CNI
internal import Netlink
internal import Plan
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink

/// What the plugins of a network want of an attachment, compared with what there is.
///
/// It is CHECK, object by object: the same plans, without a plugin being run.
public struct Inspection {
    /// An object that a plugin has made.
    public struct Finding: Sendable {
        /// The plugin's name.
        public let plugin: String
        /// The object: `link veth5e8891054b1`.
        public let object: String
        /// How it differs from what is wanted; nothing where it is as it should be.
        public let differences: [String]
        /// Whether it was looked at: what plugins of others have made is not known.
        public var isCompared = true
    }

    /// The plugins' plans, and what they are for.
    struct Wanted {
        let plugin: String
        let plan: Plan<Kernel>
        let kernel: Kernel
    }

    /// Every object of an attachment.
    ///
    /// - Throws: Code 3 if no result of it is kept, or its container has gone.
    public static func findings(_ state: AttachmentState) throws(CNIError) -> [Finding] {
        var findings: [Finding] = []
        for (type, call) in try calls(state) {
            guard let plugin = plugin(named: type), let call else {
                findings.append(
                    Finding(plugin: type, object: "plugin", differences: [], isCompared: false))
                continue
            }
            findings += Self.findings(plugin, call)
            guard let ipam = Plugins.plugin(named: call.configuration.ipamType) else { continue }
            findings.append(
                Finding(
                    plugin: ipam.name, object: "reservation",
                    differences: differences(ofAddresses: ipam, call)))
        }
        return findings
    }

    /// How many are looked at for one that lacks something: what others' plugins have made may seem to.
    private static let mostSuspects = 8

    /// One of the attachments of which nothing is there that a plugin has made; nil if none is found.
    public static func bare(among states: [AttachmentState]) -> AttachmentState? {
        states.lazy.filter(\.seemsBare).prefix(mostSuspects).first { state in
            ((try? findings(state)) ?? []).contains { !$0.differences.isEmpty }
        }
    }

    private static func findings(_ plugin: any Plugin.Type, _ call: Call) -> [Finding] {
        do throws(CNIError) {
            guard let (plan, kernel) = try wanted(plugin, call) else {
                return [check(plugin, call, "settings")]
            }
            defer { try? kernel.returnHome() }
            return plan.steps.map { step in
                Finding(
                    plugin: plugin.name, object: step.description,
                    differences: differences(of: step, in: kernel))
            }
        } catch {
            return [Finding(plugin: plugin.name, object: "settings", differences: ["\(error)"])]
        }
    }

    static func differences(of step: any Resource<Kernel>, in kernel: Kernel) -> [String] {
        do throws(KernelError) {
            // A sysctl's description has the value, too.
            let prefix = "\(step.description.prefix { $0 != "=" }): "
            return try Plan([step]).differences(in: kernel).map { difference in
                let text = "\(difference)".replacing("\(step.description): ", with: "")
                return text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text
            }
        } catch {
            return ["\(error)"]
        }
    }

    /// What CHECK of an IPAM plugin finds; nothing is written for it.
    static func differences(ofAddresses ipam: any Plugin.Type, _ call: Call) -> [String] {
        do throws(CNIError) {
            if ipam == HostLocal.self { try HostLocal.look(call) } else { try ipam.check(call) }
            return []
        } catch {
            return ["\(error)"]
        }
    }

    private static func check(
        _ plugin: any Plugin.Type, _ call: Call, _ object: String
    ) -> Finding {
        var differences: [String] = []
        do throws(CNIError) {
            try plugin.check(call)
        } catch {
            differences = ["\(error)"]
        }
        return Finding(plugin: plugin.name, object: object, differences: differences)
    }

    /// The plan of a plugin for an attachment that is there; nil for those that have none.
    static func wanted(
        _ plugin: any Plugin.Type, _ call: Call
    ) throws(CNIError) -> (plan: Plan<Kernel>, kernel: Kernel)? {
        if let plugin = plugin as? any InterfacePlugin.Type {
            let kernel = try call.kernel()
            return (try plan(plugin, call, kernel), kernel)
        }
        if let plugin = plugin as? any ChainedPlugin.Type {
            let kernel = try call.kernel()
            return (try plan(plugin, call, kernel), kernel)
        }
        if let plugin = plugin as? any PlannedPlugin.Type {
            let kernel = try call.kernel()
            return (try plugin.wanted(call, kernel), kernel)
        }
        return nil
    }

    private static func plan<P: InterfacePlugin>(
        _ plugin: P.Type, _ call: Call, _ kernel: Kernel
    ) throws(CNIError) -> Plan<Kernel> {
        let options = try P.options(call)
        guard !P.hasNoInterface(options) else { return Plan([]) }
        return try P.wanted(Attachment(call, previous: call.previousResult()), options, kernel)
    }

    private static func plan<P: ChainedPlugin>(
        _ plugin: P.Type, _ call: Call, _ kernel: Kernel
    ) throws(CNIError) -> Plan<Kernel> {
        let options = try P.options(call)
        guard !P.isIdle(options) else { return Plan([]) }
        let attachment = Attachment(call, chainedTo: try call.previousResult())
        return try P.plan(
            attachment, P.asAdded(attachment, options, kernel), kernel, attempt: 0)
    }

    /// CHECK's call of each plugin of an attachment's chain; none of a plugin of others'.
    static func calls(_ state: AttachmentState) throws(CNIError) -> [(type: String, call: Call?)] {
        guard !state.isOrphan else {
            throw CNIError(.unknownContainer, "its container has gone: gc removes what is left")
        }
        guard let cached = state.cached else {
            throw CNIError(
                .unknownContainer,
                "\(state.uncertainty ?? ""): what it should be is not known, a new ADD makes it")
        }
        // The path that was noted at ADD may be another container's by now.
        guard let path = state.netns else {
            throw CNIError(.unknownContainer, "\(state.obstacle ?? "")")
        }
        let list = try cached.list()
        return try list.plugins.map { (configuration) throws(CNIError) in
            let type = configuration["type"]?.text ?? ""
            guard plugin(named: type) != nil else { return (type, nil) }
            let json = list.configuration(
                of: configuration, previous: cached.result(at: path),
                capabilities: cached.capabilities)
            let invocation = Invocation(
                verb: .check, containerID: state.owner.containerID, netns: path,
                interface: state.owner.interface,
                arguments: cached.arguments.map { "\($0.key)=\($0.value)" }.joined(separator: ";"))
            let call = Call(
                invocation, try NetworkConfiguration(json: json),
                siblings: { plugin(named: $0) })
            return (type, call)
        }
    }
}

extension CachedAttachment {
    /// The result with the container's namespace by a path that leads there now.
    fileprivate func result(at path: String) -> JSON {
        guard let interfaces = result["interfaces"]?.elements else { return result }
        let moved = interfaces.map { interface in
            interface["sandbox"]?.text ?? "" == ""
                ? interface : interface.setting("sandbox", to: .string(path))
        }
        return result.setting("interfaces", to: .array(moved))
    }
}
