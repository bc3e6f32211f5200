internal import CNI
internal import Netlink
internal import Plan
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import SystemPackage
internal import TrafficControl

/// Puts back what somebody has removed or changed of attachments whose containers are there.
public enum Repair {
    /// An object that is not as its plugin wants it, and what became of it.
    public struct Step: Sendable {
        /// The plugin's name.
        public let plugin: String
        /// The object.
        public let object: String
        /// How it differed.
        public let differences: [String]
        /// Why it could not be put back; nil if it was, or was not tried.
        public let failure: String?
    }

    /// Looks at every object of an attachment and, unless it is only to be told of, puts it back.
    ///
    /// What is kept of one that cannot be read is a step that fails, and keeps nobody else from repair.
    /// - Returns: The objects that were not as they should be.
    public static func run(_ state: AttachmentState, onlyTells: Bool) -> [Step] {
        do throws(CNIError) {
            return try run(Inspection.calls(state), state, onlyTells)
        } catch {
            return [Step(plugin: "", object: "what is kept", differences: [], failure: "\(error)")]
        }
    }

    private static func run(
        _ calls: [(type: String, call: Call?)], _ state: AttachmentState, _ onlyTells: Bool
    ) -> [Step] {
        var steps: [Step] = []
        guard state.isAlive else {
            return [
                Step(
                    plugin: calls.first?.type ?? "", object: "link \(state.owner.interface)",
                    differences: ["wanted present, found absent"],
                    failure: onlyTells ? nil : "only a new ADD can make it")
            ]
        }
        if let step = rename(state, calls.first?.type ?? "", onlyTells) {
            steps.append(step)
            // All else is looked for at the link of that name.
            if onlyTells || step.failure != nil { return steps }
        }
        for (type, call) in calls {
            guard let plugin = plugin(named: type), let call else { continue }
            do throws(CNIError) {
                if let (plan, kernel) = try Inspection.wanted(plugin, call) {
                    steps += mend(plan, of: type, kernel, onlyTells)
                } else {
                    try plugin.check(call)
                }
            } catch {
                steps.append(
                    Step(
                        plugin: type, object: "settings", differences: ["\(error)"],
                        failure: onlyTells ? nil : "only a new ADD can make it"))
            }
            steps += reserve(call, onlyTells)
        }
        return steps
    }

    /// Gives an interface the name again that the runtime asked for, if it has another one.
    private static func rename(
        _ state: AttachmentState, _ plugin: String, _ onlyTells: Bool
    ) -> Step? {
        let name = state.owner.interface
        guard let link = state.inner, let netns = state.netns, state.isRenamed else { return nil }
        var failure: String?
        if !onlyTells {
            do throws(KernelError) {
                try Port(link.name, in: netns).withKernel { (kernel) throws(KernelError) in
                    try kernel.rename(link, to: name, in: .container)
                }
            } catch {
                failure = "\(error)"
            }
        }
        return Step(
            plugin: plugin, object: "link \(name)",
            differences: ["wanted name \(name), found \(link.name)"], failure: failure)
    }

    /// Compares what the IPAM plugin of this project's keeps, and reserves host-local's addresses
    /// anew where nobody has got them meanwhile.
    private static func reserve(_ call: Call, _ onlyTells: Bool) -> [Step] {
        guard let ipam = plugin(named: call.configuration.ipamType) else { return [] }
        let differences = Inspection.differences(ofAddresses: ipam, call)
        guard !differences.isEmpty else { return [] }
        var failure: String?
        if !onlyTells {
            do throws(CNIError) {
                if ipam == HostLocal.self { try HostLocal.restore(call) }
                try ipam.check(call)
            } catch {
                failure = "\(error)"
            }
        }
        return [
            Step(
                plugin: ipam.name, object: "reservation", differences: differences,
                failure: failure)
        ]
    }

    private static func mend(
        _ plan: Plan<Kernel>, of plugin: String, _ kernel: Kernel, _ onlyTells: Bool
    ) -> [Step] {
        defer { try? kernel.returnHome() }
        // No roll-back of an ADD may take away meanwhile what is shared.
        try? kernel.lockShared()
        var steps: [Step] = []
        for step in plan.steps {
            let differences = Inspection.differences(of: step, in: kernel)
            guard !differences.isEmpty else { continue }
            var failure: String?
            if !onlyTells {
                do throws(KernelError) {
                    try write(step, kernel)
                    let left = Inspection.differences(of: step, in: kernel)
                    failure = left.isEmpty ? nil : left.joined(separator: "; ")
                } catch {
                    failure = "\(error)"
                }
            }
            steps.append(
                Step(
                    plugin: plugin, object: step.description, differences: differences,
                    failure: failure))
        }
        return steps
    }

    private static func write<Object: Resource<Kernel>>(
        _ step: Object, _ kernel: Kernel
    ) throws(KernelError) {
        let found = try step.read(kernel)
        if found == nil, step is Link, step.sharing == .owned {
            // The container's end went with it, or it is there by another name.
            throw KernelError("make \(step)", .notPermitted, detail: "only a new ADD can make it")
        }
        do throws(KernelError) {
            try step.write(kernel, over: found)
        } catch  where error.errno == .fileExists {
            // A tenant's classes have outlived their name, which is there again by now.
            if let tenant = step as? Tenant, let found = try tenant.read(kernel) {
                return try tenant.write(kernel, over: found)
            }
            // Some of an owner's elements are left: all are made anew.
            guard try RuleListing.clear(step, kernel) else { throw error }
            try step.write(kernel, over: nil)
        }
    }
}
