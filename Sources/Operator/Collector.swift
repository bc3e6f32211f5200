internal import SystemPackage
public import CNI
internal import IPAM
internal import Netlink
internal import Plan
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import TrafficControl

/// Removes what is left of containers that have gone.
public struct Collector: Sendable {
    /// Runs the networks' plugins.
    public let runtime: Runtime
    /// Where networks are configured.
    public let configurationDirectory: String
    /// Where leases are.
    public let sources: Inventory.Sources

    /// A collector that calls the plugins of these networks.
    public init(
        _ runtime: Runtime, configurationDirectory: String, sources: Inventory.Sources
    ) {
        self.runtime = runtime
        self.configurationDirectory = configurationDirectory
        self.sources = sources
    }

    /// What of a look is stale: it belongs to no container that is there or, where a runtime says
    /// which those are, to none of them.
    ///
    /// Many programs show only the start of an ID, 12 characters or more: whose ID begins so is kept.
    public static func stale(
        _ inventory: Inventory, known containers: Set<String>?
    ) -> [AttachmentState] {
        inventory.attachments.filter { state in
            guard let containers else { return state.isOrphan }
            let id = state.owner.containerID
            return !containers.contains(id)
                && !containers.contains { $0.utf8.count >= 12 && id.hasPrefix($0) }
        }
    }

    /// Refuses a list of containers that cannot be this host's: it knows nobody who is attached here, and
    /// somebody is there.
    ///
    /// The program that should have made it has failed, or asks another runtime.
    public static func requireKnowledge(
        _ inventory: Inventory, _ containers: Set<String>, from source: String
    ) throws(CNIError) {
        let stale = stale(inventory, known: containers)
        guard stale.count == inventory.attachments.count,
            let living = stale.first(where: { !$0.isOrphan })
        else { return }
        throw CNIError(
            .invalidConfiguration,
            "\(source) names no container that is attached here, and \(living.owner.tag) is there: "
                + "to keep nothing of a network, gc NETWORK --all")
    }

    /// Refuses to take a container for the host: to whom all that is there looks like what has gone.
    public static func requireHost(_ inventory: Inventory) throws(CNIError) {
        let own = try wrapping { () throws(KernelError) in try inventory.ownContainer() }
        guard let own else { return }
        throw CNIError(
            .environment,
            "this namespace is the container of \(own.owner.tag): only the host can tell who has gone"
        )
    }

    /// What is to be kept of a network.
    public struct Kept: Sendable {
        /// The attachments.
        public let attachments: Set<NetworkConfiguration.ValidAttachment>
        /// The words that mean nobody who is there.
        public let strangers: [String]

        /// What words mean of the attachments of a network: CONTAINER, which is all that it has there, or
        /// CONTAINER/INTERFACE; the container is its ID or the start of it.
        ///
        /// - Throws: Where none of the words means anybody, and somebody is there.
        public init(
            _ words: [String], of there: [AttachmentState], on network: String
        ) throws(CNIError) {
            var (attachments, strangers): (Set<NetworkConfiguration.ValidAttachment>, [String]) = (
                [], []
            )
            for word in words {
                let parts = word.split(separator: "/", maxSplits: 1).map(String.init)
                let (id, interface) = (parts.first ?? "", parts.count > 1 ? parts[1] : nil)
                let meant = there.filter {
                    $0.isOf(container: id, in: there)
                        && (interface == nil || $0.owner.interface == interface)
                }
                attachments.formUnion(meant.map(\.owner.attachment))
                guard meant.isEmpty else { continue }
                strangers.append(word)
                // Of whom nothing is found here, a plugin may know something.
                attachments.insert(.init(containerID: id, interface: interface ?? "eth0"))
            }
            if !words.isEmpty, strangers.count == words.count,
                let living = there.first(where: { !$0.isOrphan })
            {
                throw CNIError(
                    .invalidConfiguration,
                    "--valid names nobody on \(network), and \(living.owner.tag) is there: "
                        + "to keep nothing of a network, gc NETWORK --all")
            }
            (self.attachments, self.strangers) = (attachments, strangers)
        }
    }

    /// GC of one network: of those who are there, all that are not kept go, by the network's plugins, or by
    /// what each was made by and its owner's tag where these know nothing of them.
    ///
    /// - Returns: Who was to go, each with why it is still there, and what a plugin failed at.
    public func collect(
        _ network: ConfigurationList?, _ there: [AttachmentState], keeping kept: Kept
    ) throws(CNIError) -> (
        outcomes: [(state: AttachmentState, failure: CNIError?)], failure: CNIError?
    ) {
        guard network?.disablesGC != true else { return ([], nil) }
        let going = there.filter { !kept.attachments.contains($0.owner.attachment) }
        var failure: CNIError?
        do throws(CNIError) {
            if let network {
                let netns = there.map { ($0.owner, $0.netns ?? "") }
                try runtime.gc(
                    network, valid: kept.attachments,
                    netns: Dictionary(uniqueKeysWithValues: netns))
            }
        } catch {
            failure = error
        }
        let now = try wrapping { () throws(KernelError) in try Inventory(sources) }
        let left = Set(now.attachments.map(\.owner))
        return (going.map { ($0, left.contains($0.owner) ? reason($0) : nil) }, failure)
    }

    /// Removes an attachment, and returns what it failed at.
    private func reason(_ state: AttachmentState) -> CNIError? {
        do throws(CNIError) {
            try remove(state)
            return nil
        } catch {
            return error
        }
    }

    /// Removes an attachment: DEL by its network's plugins, then all that still carries its owner.
    ///
    /// What a plugin fails at it may succeed at the next time, with what is kept of the attachment: that
    /// stays until nothing fails.
    public func remove(_ state: AttachmentState) throws(CNIError) {
        var failures: [CNIError] = []
        if let list = list(of: state) {
            var target =
                state.cached.map { Runtime.Target($0) }
                ?? Runtime.Target(
                    containerID: state.owner.containerID, netns: "",
                    interface: state.owner.interface)
            // The path that was noted at ADD may be another container's by now.
            target.netns = state.netns ?? ""
            do throws(CNIError) {
                try runtime.del(list, target)
            } catch {
                failures.append(error)
            }
        }
        do throws(CNIError) {
            try sweep(state)
        } catch {
            failures.append(error)
        }
        try throwTogether(failures)
        runtime.cache.remove(state.owner)
    }

    /// The network's configuration: the one the attachment was made by, or else today's.
    private func list(of state: AttachmentState) -> ConfigurationList? {
        if let list = try? state.cached?.list() { return list }
        return try? ConfigurationList.find(state.owner.network, in: configurationDirectory)
    }

    /// What a plugin would have removed if it were configured, or worked.
    private func sweep(_ state: AttachmentState) throws(CNIError) {
        let tag = state.owner.tag
        try wrapping { () throws(KernelError) in
            let kernel = try Kernel(container: nil)
            do throws(KernelError) {
                try RuleListing.remove([tag], kernel)
            } catch  where error.errno == .protocolNotSupported {}
            let links = try kernel.allLinks(in: .host).filter {
                $0.alias == tag && $0.kind == "veth"
            }
            try kernel.removeLinks(links.map(\.index), in: .host)
        }
        try unshape(state.owner)
        let holder = Holder(
            containerID: state.owner.containerID, interface: state.owner.interface)
        for directory in sources.dataDirectories {
            guard
                var store = try ReservationStore.open(
                    directory, network: state.owner.network, creating: false)
            else { continue }
            try store.release(holder)
            store.close()
        }
    }

    /// Removes an owner's classes, in whatever group they are, as the plugin does.
    private func unshape(_ owner: Owner) throws(CNIError) {
        let groups = try wrapping { () throws(KernelError) in
            ShapingGroup.all(try Kernel(container: nil).links(kind: "ifb", in: .host))
        }
        for group in groups {
            let configuration = try NetworkConfiguration(
                json: [
                    "name": .string(owner.network), "cniVersion": "1.1.0",
                    "shaping": ["group": .string(group.name)],
                ])
            let invocation = Invocation(
                verb: .del, containerID: owner.containerID, interface: owner.interface)
            try Bandwidth.del(Call(invocation, configuration))
        }
    }
}
