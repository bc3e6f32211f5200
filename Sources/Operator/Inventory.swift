internal import Addressing
internal import CNI
internal import FoundationEssentials
internal import IPAM
public import Netlink
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import SystemPackage
internal import TrafficControl

/// Every attachment of the host, put together from the kernel and the files.
///
/// Nothing of it is kept between two looks: links' aliases, elements' comments, reservations and
/// cached results are all there is.
public struct Inventory: Sendable {
    /// The attachments, by network, container and interface.
    public let attachments: [AttachmentState]
    /// Cached results that cannot be read.
    public let damagedResults: [String]
    /// Why directories of reservations cannot be read: their attachments may be more than is known.
    public let unreadableReservations: [String]
    /// The groups of containers that share a tree.
    public let groups: [ShapingGroup]

    /// Where a look goes besides the kernel.
    public struct Sources: Sendable {
        /// host-local's data directories.
        public var dataDirectories: [String]
        /// The runtime's results.
        public var cache: ResultCache
        /// Those data directories that the kernel has nothing of are left out of.
        public init(dataDirectories: [String], cache: ResultCache) {
            self.dataDirectories = dataDirectories
            self.cache = cache
        }
    }

    /// Looks at the host of the calling thread.
    public init(_ sources: Sources) throws(KernelError) {
        let kernel = try Kernel(container: nil)
        let links = try kernel.allLinks(in: .host)
        var found = Collection()
        for link in links {
            guard let owner = link.alias.flatMap({ Owner(tag: $0) }) else { continue }
            found.note(owner, .link) { state in
                state.hostEnd = link
                state.master = links.first { $0.index == link.master }?.name
            }
        }
        try found.addRules(kernel)
        groups = ShapingGroup.all(links)
        try found.addClasses(kernel, groups, links)
        let (cached, damaged) = sources.cache.entries()
        for entry in cached {
            found.note(entry.owner, .result) { state in
                state.cached = entry
                state.since = entry.date
            }
        }
        unreadableReservations = found.addReservations(sources.dataDirectories)
        found.noteDamaged(damaged, sources.cache)
        damagedResults = damaged
        attachments = found.resolved(links)
    }

    /// What a word means on this host that is no attachment's: a sentence.
    public func meaning(of word: String) -> String {
        if attachments.contains(where: { $0.owner.network == word }) {
            return "\(word) is a network: ls \(word) lists its attachments"
        }
        let kernel = try? Kernel(container: nil)
        let links = (try? kernel?.allLinks(in: .host)) ?? []
        if links.contains(where: { $0.name == word }) {
            return "\(word) is a link of the host, and no attachment's"
        }
        if let address = IPAddress(word) ?? IPPrefix(word)?.address {
            let own = (try? kernel?.allAddresses(in: .host)) ?? []
            if let found = own.first(where: { $0.prefix.address == address }) {
                let link = links.first { $0.index == found.link }?.name ?? "\(found.link)"
                return "\(address) is an address of the host, on \(link), and no attachment's"
            }
        }
        return "nothing on this host is \(word)"
    }

    /// The attachments of containers that are not there any more.
    public var orphans: [AttachmentState] { attachments.filter(\.isOrphan) }
}

/// The attachments as they are being put together.
private struct Collection {
    private var states: [Owner: AttachmentState] = [:]

    mutating func note(
        _ owner: Owner, _ trace: AttachmentState.Trace,
        _ change: (inout AttachmentState) -> Void = { _ in }
    ) {
        var state = states[owner] ?? AttachmentState(owner)
        state.traces.insert(trace)
        change(&state)
        states[owner] = state
    }

    private mutating func note(
        tag: String, _ trace: AttachmentState.Trace,
        _ change: (inout AttachmentState) -> Void = { _ in }
    ) {
        guard let owner = Owner(tag: tag) else { return }
        note(owner, trace, change)
    }

    mutating func addRules(_ kernel: Kernel) throws(KernelError) {
        // A kernel without nftables has no rules.
        do throws(KernelError) {
            for (tag, address) in try RuleListing.masquerades(kernel) {
                note(tag: tag, .masquerade) { $0.noteKept(address) }
            }
            for (tag, _) in try RuleListing.spoofChecks(kernel) { note(tag: tag, .spoofCheck) }
            for mapping in try RuleListing.mappings(kernel) {
                note(tag: mapping.tag, .portMapping) { state in
                    state.mappings.append(mapping)
                    state.noteKept(mapping.address)
                }
            }
            for claim in try RuleListing.claims(kernel) {
                note(tag: claim.tag, .portMapping) { state in
                    state.claims.append(claim)
                    state.noteKept(claim.address)
                }
            }
        } catch  where error.errno == .protocolNotSupported {
            return
        }
    }

    mutating func addClasses(
        _ kernel: Kernel, _ groups: [ShapingGroup], _ links: [LinkState]
    ) throws(KernelError) {
        for group in groups { try addClasses(kernel, group) }
        // A plain limit of what a container receives is at its host end itself.
        for link in links {
            guard let owner = link.alias.flatMap({ Owner(tag: $0) }) else { continue }
            for share in try kernel.shares(.ingress, at: link, owner) {
                note(owner, .trafficClass) { $0.shares.append(share) }
            }
        }
    }

    /// A group's classes by their names, and those that packets are sent to without one.
    private mutating func addClasses(
        _ kernel: Kernel, _ group: ShapingGroup
    ) throws(KernelError) {
        let roles = try group.roles(kernel)
        // A killed ADD or DEL may have left a name alone.
        for owner in roles.values.compactMap(\.owner) { note(owner, .trafficClass) }
        for direction in Direction.allCases {
            let port = group.port(direction)
            let classes = Dictionary(
                try kernel.trafficClasses(of: port.link, in: .host).map { ($0.id, $0) },
                uniquingKeysWith: { first, _ in first })
            for (id, role) in roles {
                guard let owner = role.owner, let found = classes[id] else { continue }
                note(owner, .trafficClass) { state in
                    state.shares.append(
                        .init(
                            direction, at: port, id, part: role.name,
                            tenant: roles[found.parent]?.tenant, .trafficClass(found)))
                }
            }
            for steering in try kernel.steering(
                of: nil, direction, on: port.link, table: group.table)
            where roles[steering.id]?.owner == nil || classes[steering.id] == nil {
                note(tag: steering.owner, .trafficClass) { state in
                    state.shares.append(
                        .init(
                            direction, at: port, steering.id, part: roles[steering.id]?.name,
                            classes[steering.id].map { .trafficClass($0) }))
                }
            }
        }
    }

    /// Notes what is reserved, and returns why directories cannot be read.
    mutating func addReservations(_ directories: [String]) -> [String] {
        var problems: [String] = []
        for directory in directories {
            do throws(CNIError) {
                for network in try ReservationStore.networks(in: directory) {
                    do throws(CNIError) {
                        try addReservations(directory, of: network)
                    } catch {
                        problems.append("\(error)")
                    }
                }
            } catch {
                problems.append("\(error)")
            }
        }
        return problems
    }

    private mutating func addReservations(
        _ directory: String, of network: String
    ) throws(CNIError) {
        let held = try ReservationStore.reservations(directory, network: network)
        for reservation in held where !reservation.holder.containerID.isEmpty {
            let since = Files.modified("\(directory)/\(network)/\(reservation.address)")
            note(owner(of: reservation.holder, on: network), .lease) { state in
                state.noteKept(reservation.address)
                state.since = state.since ?? since
            }
        }
    }

    /// Notes which attachments' results cannot be read.
    mutating func noteDamaged(_ paths: [String], _ cache: ResultCache) {
        for owner in states.keys where paths.contains(cache.path(of: owner)) {
            states[owner]?.damagedResult = cache.path(of: owner)
        }
    }

    /// Whose a reservation is; old ones do not name the interface, of which there is then one.
    private func owner(of holder: Holder, on network: String) -> Owner {
        var interface = holder.interface
        if interface.isEmpty {
            let known = states.keys.first {
                $0.network == network && $0.containerID == holder.containerID
            }
            interface = known?.interface ?? "eth0"
        }
        return Owner(network: network, containerID: holder.containerID, interface: interface)
    }

    /// The attachments, each with its container looked for.
    func resolved(_ links: [LinkState]) -> [AttachmentState] {
        guard !states.isEmpty else { return [] }
        let mappings = states.values.flatMap { state in
            state.mappings.map { (side: $0.hostSide, owner: state.owner) }
        }
        let holders = Dictionary(grouping: mappings, by: \.side).mapValues { $0.map(\.owner) }
        let search = ContainerSearch(for: states.values.map { $0.awaiting(holders) }, links)
        return search.found.map(\.sorted).sorted {
            ($0.owner.network, $0.owner.containerID, $0.owner.interface)
                < ($1.owner.network, $1.owner.containerID, $1.owner.interface)
        }
    }
}

extension AttachmentState {
    /// Notes an address that is kept for the attachment.
    fileprivate mutating func noteKept(_ address: IPAddress) {
        guard !kept.contains(address) else { return }
        kept.append(address)
        addresses.append(IPPrefix(host: address))
    }

    /// The state with those of its ports for which it is in the kernel's queue.
    fileprivate func awaiting(_ holders: [String: [Owner]]) -> AttachmentState {
        var state = self
        for side in claims.map(\.hostSide)
        where !mappings.contains(where: { $0.hostSide == side })
            && !state.awaitedPorts.contains(where: { $0.port == side })
        {
            let other = holders[side]?.first { $0 != owner }
            if let other { state.awaitedPorts.append((side, other)) }
        }
        return state
    }

    /// The state with its classes in order.
    fileprivate var sorted: AttachmentState {
        let key = { (share: Share) -> (Int, Int, String) in
            let part = share.part.map { $0 == ClassRole.rest ? 2 : 1 } ?? 0
            return (share.direction == .egress ? 0 : 1, part, share.part ?? "")
        }
        var state = self
        state.shares.sort { key($0) < key($1) }
        return state
    }
}
