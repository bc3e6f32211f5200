internal import Addressing
public import CNI
public import Netlink
public import Plan
public import Rtnetlink

/// A plugin that makes the container's interface.
///
/// It says what there should be, once; the verbs are made from that here.
public protocol InterfacePlugin: Plugin {
    /// What its configuration says.
    associatedtype Options: Sendable

    /// Whether the container's interface is a veth whose other end is on the host.
    static var hasHostEnd: Bool { get }

    /// Reads the configuration.
    static func options(_ call: Call) throws(CNIError) -> Options

    /// Whether the container gets a device that is no network interface to the kernel.
    static func hasNoInterface(_ options: Options) -> Bool

    /// The interface itself and what it hangs on. Depends on no address.
    static func interfaces(_ attachment: Attachment, _ options: Options) -> Plan<Kernel>

    /// Completes IPAM's answer: gateways, default routes.
    static func complete(_ attachment: inout Attachment, _ options: Options) throws(CNIError)

    /// The addresses and routes, in the container and on the host.
    static func network(_ attachment: Attachment, _ options: Options) -> Plan<Kernel>

    /// Waits until the interface works and lists the result's interfaces.
    static func finish(
        _ attachment: inout Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError)

    /// GC: removes what is not a link and belongs to owners that are no more.
    static func sweep(_ kernel: Kernel, _ isStale: (Owner) -> Bool) throws(KernelError)

    /// GC: removes what another implementation has made for attachments of a network that are no more,
    /// and is no link.
    static func collectForeign(
        _ kernel: Kernel, of network: String,
        except valid: Set<NetworkConfiguration.ValidAttachment>
    ) throws(KernelError)

    /// Throws code 50, naming what the kernel lacks for this configuration, or has no room for.
    static func requireKernel(_ options: Options, _ kernel: Kernel) throws(CNIError)
}

extension InterfacePlugin {
    /// Most make one.
    public static func hasNoInterface(_ options: Options) -> Bool { false }
    /// Most plugins make nothing but links.
    public static func sweep(_ kernel: Kernel, _ isStale: (Owner) -> Bool) throws(KernelError) {}
    /// Most other implementations make nothing but links.
    public static func collectForeign(
        _ kernel: Kernel, of network: String,
        except valid: Set<NetworkConfiguration.ValidAttachment>
    ) throws(KernelError) {}
    /// Most need nothing but links.
    public static func requireKernel(_ options: Options, _ kernel: Kernel) throws(CNIError) {}

    /// ADD: the interface, the lease, the addresses; or nothing at all.
    public static func add(_ call: Call) throws(CNIError) -> AddResult {
        let options = try options(call)
        let delegate = try Delegate(ipamOf: call)
        try call.owner.checkTag()
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        var journal = Journal(kernel)
        var attachment = newAttachment(call)
        var lease: AddResult?
        do throws(CNIError) {
            try wrapping { () throws(KernelError) in try kernel.lockShared() }
            // A program may look for the interface; our own IPAM does not, and is asked first
            // because nothing then needs undoing when it refuses.
            if let delegate, delegate.wantsInterface {
                try interfaces(attachment, options).add(to: &journal)
                try wrapping { () throws(KernelError) in try kernel.returnHome() }
                attachment.result = try delegate.add(&lease)
            } else {
                if let delegate { attachment.result = try delegate.add(&lease) }
                try interfaces(attachment, options).add(to: &journal)
            }
            if delegate != nil, attachment.result.addresses.isEmpty {
                throw CNIError(
                    .internalError, "IPAM plugin returned missing IP config")
            }
            try complete(&attachment, options)
            try network(attachment, options).add(to: &journal)
            try finish(&attachment, options, kernel)
            // A version that cannot express the result is found out while all can be undone.
            _ = try attachment.result.json(for: call.configuration.version)
            return attachment.result
        } catch {
            try? kernel.returnHome()
            let released = { (isFirst: Bool) -> [String] in
                guard let delegate, let lease, delegate.wantsInterface == isFirst else { return [] }
                var failures: [CNIError] = []
                attempt(&failures) { () throws(CNIError) in try delegate.giveBack(lease) }
                return failures.map { "release the address: \($0)" }
            }
            // As in DEL.
            var leftBehind = released(true)
            leftBehind += journal.rollBack().map { "\($0)" }
            try? kernel.returnHome()
            throw error.leaving(leftBehind + released(false))
        }
    }

    /// The attachment that ADD begins with: no address is known yet.
    package static func newAttachment(_ call: Call) -> Attachment {
        var attachment = Attachment(call)
        if hasHostEnd {
            attachment.mac = .random()
            attachment.hostMAC = .randomForPort()
        }
        return attachment
    }

    /// CHECK: every difference between the plan and the kernel.
    public static func check(_ call: Call) throws(CNIError) {
        let options = try options(call)
        let previous = try call.previousResult()
        guard !hasNoInterface(options) else { return try Delegate(ipamOf: call)?.check() ?? () }
        let attachment = try Attachment(call, previous: previous)
        try Delegate(ipamOf: call)?.check()
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        try wanted(attachment, options, kernel).check(kernel)
    }

    /// What there should be of an attachment that an earlier ADD has made.
    package static func wanted(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> Plan<Kernel> {
        var attachment = attachment
        if !hasHostEnd {
            attachment.isForeign = try wrapping { () throws(KernelError) in
                let link = try kernel.link(attachment.interface, in: .container)
                return link?.alias.flatMap { Owner(tag: $0) } == nil
            }
        }
        return interfaces(attachment, options) + network(attachment, options)
    }

    /// DEL: everything of the owner that is left, then its lease, which nobody else has while the
    /// interface answers for it; that of another program first.
    ///
    /// Such a program may need the interface to give the lease back.
    public static func del(_ call: Call) throws(CNIError) {
        let options: Options = try call.leniently(options)
        var failures: [CNIError] = []
        let kernel: Kernel
        do throws(CNIError) {
            kernel = try call.kernelForRemoval()
        } catch {
            // The path leads to the host, as that of a process whose number was given out anew
            // may: what is on the host, and the lease, is the container's all the same.
            failures.append(error)
            kernel = try call.hostKernel()
        }
        defer { try? kernel.returnHome() }
        var delegate: Delegate?
        attempt(&failures) { () throws(CNIError) in
            delegate = try Delegate(ipamOf: call)
            if let delegate, delegate.wantsInterface { try delegate.del() }
        }
        let attachment = Attachment(call)
        let plan = interfaces(attachment, options) + network(attachment, options)
        failures += plan.remove(from: kernel)
            .map { CNIError($0.cause) }
        do throws(KernelError) {
            // With a host's end of ours the container's has gone.
            if hasHostEnd, !kernel.hasRemovedLinks {
                try kernel.removeForeignPeer(of: call.owner, as: call.configuration.previous)
            }
        } catch {
            failures.append(CNIError(error))
        }
        try? kernel.returnHome()
        attempt(&failures) { () throws(CNIError) in
            if let delegate, !delegate.wantsInterface { try delegate.del() }
        }
        try throwTogether(failures)
    }

    /// GC: the host's ends that belong to no valid attachment, in one go, then the leases.
    ///
    /// What lives in a container goes with it and leaves nothing to collect.
    public static func gc(_ call: Call) throws(CNIError) {
        let valid = try call.validAttachments
        var failures: [CNIError] = []
        attempt(&failures) { () throws(CNIError) in try collect(call, except: valid) }
        attempt(&failures) { () throws(CNIError) in try Delegate(ipamOf: call)?.gc() }
        try throwTogether(failures)
    }

    /// STATUS: whether the kernel has what another interface needs, and there is an address to give.
    public static func status(_ call: Call) throws(CNIError) {
        try requireKernel(options(call), call.hostKernel())
        do throws(CNIError) {
            try Delegate(ipamOf: call)?.status()
        } catch {
            guard error.code < CNIError.Code.notAvailable.rawValue || error.code > 99 else {
                throw error
            }
            throw CNIError(.notAvailable, error.message, details: error.details)
        }
    }

    private static func collect(
        _ call: Call, except valid: Set<NetworkConfiguration.ValidAttachment>
    ) throws(CNIError) {
        let kernel = try call.hostKernel()
        let isStale = { (owner: Owner) in
            owner.network == call.configuration.name && !valid.contains(owner.attachment)
        }
        try wrapping { () throws(KernelError) in
            if hasHostEnd {
                let stale = try kernel.links(kind: "veth", in: .host).filter { link in
                    link.alias.flatMap { Owner(tag: $0) }.map(isStale) ?? false
                }
                try kernel.removeLinks(stale.map(\.index), in: .host)
                try kernel.removeUnfinishedLinks()
            }
            try sweep(kernel, isStale)
            try collectForeign(kernel, of: call.configuration.name, except: valid)
        }
    }

    /// Does one of the things that are all tried, and keeps its error.
    private static func attempt(
        _ failures: inout [CNIError], _ body: () throws(CNIError) -> Void
    ) {
        do throws(CNIError) {
            try body()
        } catch {
            failures.append(error)
        }
    }
}

/// Runs something of the kernel and turns its error into the specification's.
public func wrapping<Result: ~Copyable>(
    _ body: () throws(KernelError) -> Result
) throws(CNIError) -> Result {
    do throws(KernelError) {
        return try body()
    } catch {
        throw CNIError(error)
    }
}

extension Kernel {
    /// Removes the host's ends that an ADD made and did not live to tag, unless an ADD is under
    /// way, whose link one of them may be.
    func removeUnfinishedLinks() throws(KernelError) {
        let unfinished = { () throws(KernelError) in
            try self.links(kind: "veth", in: .host).filter {
                $0.alias == nil && !$0.isUp && $0.hasPeerElsewhere && isVethName($0.name)
            }
        }
        guard try !unfinished().isEmpty else { return }
        var failure: KernelError?
        _ = alone {
            do throws(KernelError) {
                try removeLinks(unfinished().map(\.index), in: .host)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// Removes the container's interface if it is a veth whose host end nobody has tagged: one
    /// that another implementation made, whose host end has a name of its own.
    ///
    /// Where a path was given out anew it may be another container's: the result of ADD names the host
    /// end that it had.
    func removeForeignPeer(of owner: Owner, as result: AddResult?) throws(KernelError) {
        guard hasContainer, let link = try link(owner.interface, in: .container),
            link.kind == "veth"
        else { return }
        if let end = try hostEnd(of: link) {
            if let tagged = end.alias.flatMap({ Owner(tag: $0) }) {
                guard tagged == owner else { return }
            } else {
                let names = result?.interfaces.filter { $0.sandbox.isEmpty }.map(\.name) ?? []
                let isNamed = names.contains { $0.hasPrefix("veth") }
                guard !isNamed || names.contains(end.name) else { return }
            }
        }
        try removeLinks([link.index], in: .container)
    }
}
