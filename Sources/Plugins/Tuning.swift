public import CNI
import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Changes settings of the kernel's network in the container, and of the interface that the
/// plugins before have made.
public enum Tuning: PlannedPlugin {
    /// The plugin's name.
    public static let name = "tuning"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// Makes the settings, or none of them, and answers what the plugins before answered.
    public static func add(_ call: Call) throws(CNIError) -> AddResult {
        let options = try Options(call)
        try options.requireSingleKeys(call)
        if !options.sysctls.isEmpty, let list = try Allowlist.ofThisHost() {
            for setting in options.sysctls { try list.require(setting.key) }
        }
        var result = try call.previousResult()
        let interface = call.invocation.interface
        let link = try options.link(interface)
        if let mac = link.mac {
            let named = result.interfaces.indices.filter {
                result.interfaces[$0].name == interface
            }
            let inside = named.filter { !result.interfaces[$0].sandbox.isEmpty }
            // A plugin before may have left out where its interface is.
            for index in inside.isEmpty ? named : inside {
                result.interfaces[index].mac = "\(mac)"
            }
        }
        // A version that cannot express the result, and a key that is none, are found out before
        // anything is done.
        let plan = try options.plan(for: interface)
        _ = try result.json(for: call.configuration.version)

        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        var journal = Journal(kernel)
        var undoState: (() throws(CNIError) -> Void)?
        do throws(CNIError) {
            if !link.isEmpty {
                let before = try wrapping { () throws(KernelError) in try link.read(kernel) }
                undoState = try save(before ?? link, options, call.owner)
            }
            try plan.add(to: &journal)
            return result
        } catch {
            var leftBehind = journal.rollBack().map { "\($0)" }
            do throws(CNIError) {
                try undoState?()
            } catch {
                leftBehind.append("\(error)")
            }
            throw error.leaving(leftBehind)
        }
    }

    /// Notes how the interface was; returns what takes the note back.
    private static func save(
        _ settings: LinkSettings, _ options: Options, _ owner: Owner
    ) throws(CNIError) -> () throws(CNIError) -> Void {
        let open = { () throws(CNIError) -> State in
            guard let state = try State.open(options.dataDirectory, of: owner, creating: true)
            else { throw CNIError(.io, "open \(options.dataDirectory): it vanished") }
            return state
        }
        let state = try open()
        let before = try state.text()
        try state.save(settings)
        return { () throws(CNIError) in try open().restore(before) }
    }

    /// The settings, and those of the interface.
    public static func plan(_ call: Call, _ kernel: Kernel) throws(CNIError) -> Plan<Kernel> {
        try Options(call).plan(for: call.invocation.interface)
    }

    /// The settings that can be read, and that the interface takes every packet if it was asked to, as in
    /// the reference, and only then.
    public static func wanted(_ call: Call, _ kernel: Kernel) throws(CNIError) -> Plan<Kernel> {
        let options = try Options(call)
        let interface = call.invocation.interface
        var link = try options.link(interface)
        link.promiscuous = options.promiscuous
        let settings = try options.settings(of: interface).filter { $0.isReadable(kernel) }
        return Plan {
            settings.map { $0 as any Resource<Kernel> }
            link
        }
    }

    /// Compares every setting with the kernel's.
    public static func check(_ call: Call) throws(CNIError) {
        try Options(call).requireSingleKeys(call)
        _ = try call.previousResult()
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        try wanted(call, kernel).check(kernel)
    }

    /// Gives the interface its settings back, if both are still there, and forgets them.
    ///
    /// Kernel settings go with the namespace. As in the reference nothing keeps DEL from
    /// succeeding: the interface is about to go.
    public static func del(_ call: Call) throws(CNIError) {
        let options = try call.leniently(Options.init)
        guard
            let state = try? State.open(options.dataDirectory, of: call.owner, creating: false)
        else { return }
        let settings = state.settings()
        if !settings.isEmpty, let kernel = try? call.kernelForUntaggedRemoval(), kernel.hasContainer
        {
            try? settings.restore(kernel)
            try? kernel.returnHome()
        }
        try? state.remove()
    }

    /// Forgets the settings of interfaces that no valid attachment has.
    public static func gc(_ call: Call) throws(CNIError) {
        let options = try Options(call)
        let valid = try call.validAttachments
        guard let state = try State.open(options.dataDirectory, of: call.owner, creating: false)
        else { return }
        let network = call.configuration.name
        try state.remove { $0.network != network || valid.contains($0.attachment) }
    }

    /// Can always serve.
    public static func status(_ call: Call) throws(CNIError) { _ = try Options(call) }
}
