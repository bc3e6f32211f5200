public import CNI
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// One call of a plugin: what the runtime asked, the configuration, and the plugins of this
/// program, one of which may serve as IPAM.
public struct Call: Sendable {
    /// The environment and the input.
    public let invocation: Invocation
    /// The configuration.
    public let configuration: NetworkConfiguration
    /// The plugins of this program.
    package let siblings: PluginLookup

    /// A call.
    public init(
        _ invocation: Invocation, _ configuration: NetworkConfiguration,
        siblings: @escaping PluginLookup = { _ in nil }
    ) {
        self.invocation = invocation
        self.configuration = configuration
        self.siblings = siblings
    }

    /// Whose the attachment is.
    public var owner: Owner {
        Owner(
            network: configuration.name, containerID: invocation.containerID,
            interface: invocation.interface)
    }

    /// The pairs of CNI_ARGS.
    public func arguments() throws(CNIError) -> CNIArguments {
        try CNIArguments(invocation.arguments)
    }

    /// What most say of a verb without the result of the plugins before.
    package static let wordsWithoutResult = "Required prevResult missing"

    /// The result of the plugins before, without which a verb makes no sense.
    public func previousResult() throws(CNIError) -> AddResult {
        try previousResult(orSay: Self.wordsWithoutResult)
    }

    /// The result of the plugins before, without which a verb makes no sense, as some words say.
    package func previousResult(orSay words: String) throws(CNIError) -> AddResult {
        guard let previous = configuration.previous else {
            throw CNIError(.invalidConfiguration, words)
        }
        return previous
    }

    /// The attachments that GC is to leave.
    public var validAttachments: Set<NetworkConfiguration.ValidAttachment> {
        get throws(CNIError) {
            guard let valid = configuration.validAttachments else {
                throw CNIError(.invalidConfiguration, "cni.dev/valid-attachments: missing")
            }
            return Set(valid)
        }
    }

    /// What `read` makes of the configuration without the keys whose values make no sense.
    ///
    /// For DEL: ADD has refused them, and there must be a way back out of any configuration.
    public func leniently<Options>(
        _ read: (Call) throws(CNIError) -> Options
    ) throws(CNIError) -> Options {
        var call = self
        while true {
            do throws(CNIError) {
                return try read(call)
            } catch {
                guard !error.place.isEmpty, let rest = try call.configuration.without(error.place)
                else { throw error }
                call = Call(invocation, rest, siblings: siblings)
            }
        }
    }

    /// Opens the kernel with the container's namespace, which must be there and not the host's.
    public func kernel() throws(CNIError) -> Kernel {
        let path = invocation.netns
        let namespace: NetworkNamespace
        do throws(KernelError) {
            namespace = try NetworkNamespace(path: path)
        } catch {
            throw CNIError(
                .environment, "CNI_NETNS: failed to open netns \"\(path)\": \(error)")
        }
        return try open(namespace)
    }

    /// Opens the kernel for DEL: with the container's namespace if it is still there.
    ///
    /// - Throws: Why a namespace that may be there cannot be opened, besides what opening the
    ///   kernel throws: without it, less would be removed than there is.
    public func kernelForRemoval() throws(CNIError) -> Kernel {
        let namespace: NetworkNamespace
        do throws(KernelError) {
            namespace = try NetworkNamespace(path: invocation.netns)
        } catch {
            guard NetworkNamespace.isGone(error) || invocation.netns.isEmpty else {
                throw CNIError(error)
            }
            return try open(nil)
        }
        return try open(namespace)
    }

    /// Opens the kernel for DEL of what carries no tag in the container: without a namespace whose path
    /// was given out anew, and is another container's by now.
    public func kernelForUntaggedRemoval() throws(CNIError) -> Kernel {
        let kernel = try kernelForRemoval()
        guard kernel.hasContainer else { return kernel }
        let isOthers = try wrapping { () throws(KernelError) in
            defer { try? kernel.returnHome() }
            return try kernel.containerIsOther(than: owner.containerID)
        }
        return isOthers ? try hostKernel() : kernel
    }

    /// Opens the kernel of the host alone.
    public func hostKernel() throws(CNIError) -> Kernel { try open(nil) }

    private func open(_ namespace: consuming NetworkNamespace?) throws(CNIError) -> Kernel {
        let host = try wrapping { () throws(KernelError) in try NetworkNamespace.current() }
        var isHost = false
        switch namespace {
        case .some(let container): isHost = container.isSame(as: host)
        case nil: break
        }
        guard !isHost || invocation.allowsHostNamespace else {
            throw CNIError(
                .invalidNamespace,
                "plugin's netns and netns from CNI_NETNS should not be the same")
        }
        do throws(KernelError) {
            return try Kernel(container: namespace)
        } catch {
            throw CNIError(error)
        }
    }
}

extension Kernel {
    /// Whether the container's links say that it is another one, and none that it is this one.
    fileprivate func containerIsOther(than containerID: String) throws(KernelError) -> Bool {
        var others = false
        for link in try allLinks(in: .container) {
            // The tag of a veth is on its end on the host.
            let tag = link.kind == "veth" ? try hostEnd(of: link)?.alias : link.alias
            guard let owner = tag.flatMap({ Owner(tag: $0) }) else { continue }
            if owner.containerID == containerID { return false }
            others = true
        }
        return others
    }

    /// The host's end of a veth pair whose other end is in the container.
    func hostEnd(of link: LinkState) throws(KernelError) -> LinkState? {
        guard let index = link.peer, let end = try self.link(index: index, in: .host),
            end.kind == "veth", end.peer == link.index
        else { return nil }
        return end
    }
}

extension Plan<Kernel> {
    /// ADD of this alone: all of it, or nothing.
    package func add(to kernel: Kernel) throws(CNIError) {
        var journal = Journal(kernel)
        do throws(CNIError) {
            try add(to: &journal)
        } catch {
            throw error.leaving(journal.rollBack().map { "\($0)" })
        }
    }

    /// Applies the plan as a part of an ADD, which rolls the journal back where it fails.
    package func add(to journal: inout Journal<Kernel>) throws(CNIError) {
        do throws(StepError<KernelError>) {
            try journal.apply(self)
        } catch {
            throw CNIError(error.cause)
        }
    }

    /// Throws code 999 with every difference between the plan and the kernel, after `prefix`.
    public func check(_ kernel: Kernel, prefix: String = "") throws(CNIError) {
        let differences = try wrapping { () throws(KernelError) -> [Difference] in
            try self.differences(in: kernel)
        }
        guard !differences.isEmpty else { return }
        throw CNIError(
            .internalError, prefix + differences.map { "\($0)" }.joined(separator: "; "))
    }
}

/// Throws several errors as one, with the first one's code; nothing where there is none.
package func throwTogether(_ failures: [CNIError]) throws(CNIError) {
    guard let first = failures.first else { return }
    guard failures.count > 1 else { throw first }
    throw CNIError(code: first.code, failures.map { "\($0)" }.joined(separator: "; "))
}

extension CNIError {
    /// This error, with what could not be undone after it, if anything.
    public func leaving(_ leftBehind: [String]) -> CNIError {
        guard !leftBehind.isEmpty else { return self }
        let left = "left behind: " + leftBehind.joined(separator: "; ")
        return CNIError(
            code: code, message, details: details.isEmpty ? left : "\(details); \(left)")
    }

    /// A kernel's error, with the code that tells a runtime what to do about it.
    public init(_ error: KernelError) {
        let passing: [Errno] = [.resourceTemporarilyUnavailable, .resourceBusy, .noBufferSpace]
        self.init(passing.contains(error.errno) ? .tryAgainLater : .internalError, "\(error)")
    }
}
