package import Addressing
public import CNI
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// A plugin that adds something to the interface another one has made.
///
/// It says what there should be and what there is; the verbs are made from that here.
public protocol ChainedPlugin: Plugin {
    /// What its configuration says.
    associatedtype Options: Sendable

    /// Reads the configuration.
    static func options(_ call: Call) throws(CNIError) -> Options

    /// Whether the configuration asks for nothing, so that the result is only passed on.
    static func isIdle(_ options: Options) -> Bool

    /// What there should be, from what the plugins before answered.
    ///
    /// An object that is exclusive may be found to exist; then ADD asks for another plan, `attempt`
    /// being one more.
    static func plan(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Plan<Kernel>

    /// The same for ADD, which is refused what there is no room for.
    static func planToAdd(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Plan<Kernel>

    /// The options for another try after an error that says that the kernel lacks something; nil if
    /// there is no other way.
    static func lesser(
        _ options: Options, after error: KernelError, _ kernel: Kernel
    ) throws(CNIError) -> Options?

    /// The options as ADD will have found that it must take them, for CHECK.
    static func asAdded(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> Options

    /// What is not as the configuration asks for, and why; empty if all is.
    static func remark(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> String

    /// What there is of an attachment, found from its owner alone; during ADD, when the interface
    /// is there, what it leads to is enough.
    static func remains(
        of owner: Owner, _ options: Options, _ kernel: Kernel, isAdding: Bool
    ) throws(KernelError) -> Plan<Kernel>

    /// Whose objects there are on the host.
    static func owners(_ options: Options, _ kernel: Kernel) throws(KernelError) -> [Owner]

    /// Takes away what belongs to nobody; no ADD is under way meanwhile.
    static func sweep(_ options: Options, _ kernel: Kernel) throws(KernelError)

    /// GC: removes what another implementation has made for attachments of a network that are no more.
    static func collectForeign(
        _ kernel: Kernel, of network: String,
        except valid: Set<NetworkConfiguration.ValidAttachment>
    ) throws(KernelError)

    /// Throws code 50, naming what the kernel lacks for this configuration.
    static func requireKernel(_ options: Options, _ kernel: Kernel) throws(CNIError)

    /// The reference's words where a verb finds no result of the plugins before.
    static func wordsWithoutResult(_ verb: Verb) -> String
}

extension ChainedPlugin {
    /// Most have these.
    public static func wordsWithoutResult(_ verb: Verb) -> String {
        verb == .add ? "must be called as chained plugin" : Call.wordsWithoutResult
    }

    /// The result of the plugins before.
    private static func previous(_ call: Call) throws(CNIError) -> AddResult {
        try call.previousResult(orSay: wordsWithoutResult(call.invocation.verb))
    }

    /// There is room.
    public static func planToAdd(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Plan<Kernel> {
        try plan(attachment, options, kernel, attempt: attempt)
    }

    /// There is one way.
    public static func lesser(
        _ options: Options, after error: KernelError, _ kernel: Kernel
    ) throws(CNIError) -> Options? { nil }

    /// Most remove what is theirs.
    public static func collectForeign(
        _ kernel: Kernel, of network: String,
        except valid: Set<NetworkConfiguration.ValidAttachment>
    ) throws(KernelError) {}

    /// There is one way.
    public static func asAdded(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> Options { options }

    /// All is as the configuration asks for.
    public static func remark(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> String { "" }

    /// How often ADD takes another plan because an identity was taken.
    private static var attempts: Int { 16 }

    /// ADD: what the plan says, or nothing at all; what an earlier ADD made and the plan no longer
    /// says goes.
    public static func add(_ call: Call) throws(CNIError) -> AddResult {
        var options = try options(call)
        let previous = try previous(call)
        _ = try previous.json(for: call.configuration.version)
        guard !isIdle(options) else { return previous }
        try call.owner.checkTag()
        let attachment = Attachment(call, chainedTo: previous)
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        var journal = Journal(kernel)
        do throws(CNIError) {
            try wrapping { () throws(KernelError) in try kernel.lockShared() }
            let before = try wrapping { () throws(KernelError) in
                try remains(of: call.owner, options, kernel, isAdding: true)
            }
            let plan = try apply(attachment, &options, to: &journal, kernel)
            let names = plan.steps.map(\.description)
            let surplus = before.steps.filter { !names.contains($0.description) }
            do throws(StepError<KernelError>) {
                try journal.retire(Plan(surplus))
            } catch {
                throw CNIError(error.cause)
            }
            let remark = try remark(attachment, options, kernel)
            if !remark.isEmpty {
                _ = try? FileDescriptor.standardError.writeAll((name + ": " + remark + "\n").utf8)
            }
            return previous
        } catch {
            throw error.leaving(journal.rollBack().map { "\($0)" })
        }
    }

    private static func apply(
        _ attachment: Attachment, _ options: inout Options, to journal: inout Journal<Kernel>,
        _ kernel: Kernel
    ) throws(CNIError) -> Plan<Kernel> {
        var attempt = 0
        while true {
            let plan = try planToAdd(attachment, options, kernel, attempt: attempt)
            do throws(StepError<KernelError>) {
                try journal.apply(plan)
                return plan
            } catch {
                if error.cause.errno == .fileExists, attempt + 1 < attempts {
                    attempt += 1
                } else if let other = try lesser(options, after: error.cause, kernel) {
                    options = other
                } else {
                    throw CNIError(error.cause)
                }
                let leftBehind = journal.rollBack()
                guard leftBehind.isEmpty else { throw CNIError(error.cause) }
                // Rolling back may have ended it.
                try wrapping { () throws(KernelError) in try kernel.lockShared() }
            }
        }
    }

    /// CHECK: every difference between the plan and the kernel.
    public static func check(_ call: Call) throws(CNIError) {
        let options = try options(call)
        let attachment = Attachment(call, chainedTo: try previous(call))
        guard !isIdle(options) else { return }
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        let added = try asAdded(attachment, options, kernel)
        let remark = try remark(attachment, added, kernel)
        try plan(attachment, added, kernel, attempt: 0)
            .check(kernel, prefix: remark.isEmpty ? "" : remark + "; ")
    }

    /// DEL: everything of the owner that is left.
    public static func del(_ call: Call) throws(CNIError) {
        let options: Options = try call.leniently(options)
        let kernel = try call.kernelForRemoval()
        defer { try? kernel.returnHome() }
        try remove([call.owner], options, kernel)
    }

    /// GC: everything of owners of this network that are no valid attachments, and what belongs to
    /// nobody.
    public static func gc(_ call: Call) throws(CNIError) {
        let valid = try call.validAttachments
        let options = try options(call)
        let kernel = try call.hostKernel()
        let stale = try wrapping { () throws(KernelError) in
            try owners(options, kernel).filter {
                $0.network == call.configuration.name && !valid.contains($0.attachment)
            }
        }
        try remove(stale, options, kernel)
        try wrapping { () throws(KernelError) in
            try collectForeign(kernel, of: call.configuration.name, except: valid)
            try kernel.lockShared()
            var failure: KernelError?
            _ = kernel.alone {
                do throws(KernelError) {
                    try sweep(options, kernel)
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
        }
    }

    /// STATUS: whether the kernel has what ADD needs.
    public static func status(_ call: Call) throws(CNIError) {
        try requireKernel(options(call), call.hostKernel())
    }

    private static func remove(
        _ owners: [Owner], _ options: Options, _ kernel: Kernel
    ) throws(CNIError) {
        var failures: [CNIError] = []
        for owner in owners {
            let remains = try wrapping { () throws(KernelError) -> Plan<Kernel> in
                try Self.remains(of: owner, options, kernel, isAdding: false)
            }
            failures += remains.remove(from: kernel).map { CNIError($0.cause) }
        }
        try throwTogether(failures)
    }
}

extension Call {
    /// The addresses that the container had, as far as the result that DEL is given tells.
    package var formerAddresses: [IPAddress] {
        guard let previous = configuration.previous else { return [] }
        return Attachment(self, chainedTo: previous).addresses.map(\.address.address)
    }
}

extension Attachment {
    /// The attachment whose interface the plugins before have made.
    package init(_ call: Call, chainedTo previous: AddResult) {
        self.init(call)
        result = previous
    }

    /// The host's end of the container's veth pair; nil where its interface is of another kind, or there is
    /// none.
    public func hostEndIfAny(_ kernel: Kernel) throws(CNIError) -> LinkState? {
        let own = try wrapping { () throws(KernelError) in
            try kernel.seen(interface, in: .container)
        }
        return own?.kind == "veth" ? try hostEnd(kernel) : nil
    }

    /// The host's end of the container's veth pair, which must be among the result's interfaces.
    public func hostEnd(_ kernel: Kernel) throws(CNIError) -> LinkState {
        guard !result.interfaces.isEmpty else {
            throw CNIError(
                .invalidConfiguration, "prevResult.interfaces: no interfaces provided")
        }
        let names = result.interfaces.filter { $0.sandbox.isEmpty }.map(\.name)
        return try wrapping { () throws(KernelError) in
            guard let own = try kernel.seen(interface, in: .container) else {
                throw KernelError("find link \(interface)", .noSuchDevice)
            }
            guard own.kind == "veth", let index = own.peer,
                let other = try kernel.seen(index: index, in: .host), other.peer == own.index,
                names.contains(other.name)
            else {
                throw KernelError(
                    "find the host's end of \(interface)", .noSuchDevice,
                    detail: "no host interface found among \(names.joined(separator: ", "))")
            }
            return other
        }
    }
}
