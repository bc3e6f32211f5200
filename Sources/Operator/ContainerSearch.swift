internal import Addressing
internal import CNI
internal import Netlink
internal import PluginRuntime
internal import Rtnetlink

/// Looks for the containers of attachments among the machine's namespaces.
///
/// A veth's host end leads to the other one. What has none is known by its alias. What another
/// implementation has made bears none: it is known by the hardware address that its result tells, or
/// by an address that is kept for it, since a path that was noted at ADD may be another container's
/// by now.
struct ContainerSearch {
    private let links: [LinkState]
    private let views: [NamespaceView]
    private let sought: [Sought]

    /// A search for these attachments' containers, from a host with these links.
    init(for states: [AttachmentState], _ links: [LinkState]) {
        self.links = links
        sought = states.map { Sought($0) }
        views = NamespaceView.all(besides: states.compactMap(\.cached?.netns))
    }

    /// The attachments, each with what is found of its container.
    var found: [AttachmentState] { sought.map(find) }

    private func find(_ sought: Sought) -> AttachmentState {
        let state = sought.state
        if let end = state.hostEnd {
            let found = views.first { $0.number == end.peerNamespace }
            if let view = found, let link = view.links.first(where: { $0.index == end.peer }) {
                return living(state, by: link, in: view)
            }
            // Without a path there may be somebody who holds the namespace all the same.
            if end.hasPeerElsewhere { return state.with(.alive(nil)) }
        }
        if let view = views.first(where: { $0.identity == sought.noted }) {
            if let link = sought.tagged(in: view) ?? known(sought, in: view) {
                return living(state, by: link, in: view)
            }
            // Where another attachment has the interface, the path has become another container's.
            let isOthers = view.links.contains { link in
                link.name == state.owner.interface && self.isOthers(link, in: view, than: sought)
            }
            return state.with(isOthers ? .gone : .cutOff(view.path))
        }
        for view in views {
            if let link = sought.tagged(in: view) { return living(state, by: link, in: view) }
        }
        for view in views {
            if let link = strayed(sought, in: view) { return living(state, by: link, in: view) }
        }
        return state
    }

    /// The link without a tag that is the attachment's in the namespace that was noted.
    private func known(_ sought: Sought, in view: NamespaceView) -> LinkState? {
        let candidates = view.links.filter { link in
            sought.isLike(link, in: view) && !isOthers(link, in: view, than: sought)
        }
        return candidates.first { sought.names.contains($0.name) } ?? candidates.first
    }

    /// The link without a tag that is the attachment's in another namespace than was noted.
    ///
    /// Another host on this machine may have the same addresses: a veth must lead here, and what is
    /// none must have the name at least.
    private func strayed(_ sought: Sought, in view: NamespaceView) -> LinkState? {
        view.links.first { link in
            let isNear =
                link.kind == "veth"
                ? sought.resemblance(link, in: view) > 0 && hostEnd(of: link, in: view) != nil
                : sought.names.contains(link.name) && sought.hasAddress(of: link, in: view)
            return isNear && !isOthers(link, in: view, than: sought)
        }
    }

    /// Whether a link is another attachment's: by its tag, or because it is more like that one's.
    private func isOthers(
        _ link: LinkState, in view: NamespaceView, than sought: Sought
    ) -> Bool {
        if let owner = link.owner ?? hostEnd(of: link, in: view)?.owner {
            return owner != sought.state.owner
        }
        let own = sought.resemblance(link, in: view)
        return self.sought.contains { other in
            other.state.owner != sought.state.owner
                && (other.noted == view.identity || other.state.cached == nil)
                && other.resemblance(link, in: view) > own
        }
    }

    /// The host's end of a veth pair.
    private func hostEnd(of link: LinkState, in view: NamespaceView) -> LinkState? {
        links.first {
            $0.index == link.peer && $0.hasPeerElsewhere && $0.peerNamespace == view.number
        }
    }

    private func living(
        _ found: AttachmentState, by link: LinkState, in view: NamespaceView
    ) -> AttachmentState {
        var state = found.with(.alive(view.path))
        state.inner = link
        // The end of a pair that another implementation has made bears no tag.
        let untagged = state.hostEnd == nil ? hostEnd(of: link, in: view) : nil
        if let end = untagged {
            state.hostEnd = end
            state.master = links.first { $0.index == end.master }?.name
        }
        state.addOwnShares(view, untagged: untagged, links)
        let addresses = view.addresses(of: link.index)
        if !addresses.isEmpty { state.addresses = addresses }
        return state
    }
}

extension Inventory {
    /// The attachment whose container the calling thread is in; nil on a host.
    ///
    /// A path that was noted may be the host's by now: the interface has to be there as well.
    func ownContainer() throws(KernelError) -> AttachmentState? {
        guard let view = try NamespaceView.own() else { return nil }
        return attachments.first { Sought($0).isHome(in: view) }
    }
}

/// An attachment, and what its interface is known by.
private struct Sought {
    let state: AttachmentState
    /// What tells the namespace apart that the runtime has noted; nil if that has gone.
    let noted: [UInt64]?
    let names: [String]
    private let macs: [MACAddress]
    private let addresses: [IPAddress]

    init(_ state: AttachmentState) {
        self.state = state
        noted = state.cached.flatMap { Files.status($0.netns)?.identity }
        names = state.interfaces
        // Every loopback has that of nothing but zeros.
        macs = state.givenInterfaces.compactMap { $0["mac"]?.text.flatMap { MACAddress($0) } }
            .filter { $0.bytes.contains { $0 != 0 } }
        addresses = state.kept + state.givenAddresses
    }

    /// The link with the attachment's tag; a veth's is at its host's end, also in other hosts'
    /// namespaces.
    func tagged(in view: NamespaceView) -> LinkState? {
        view.links.first { $0.kind != "veth" && $0.owner == state.owner }
    }

    /// Whether a link of the noted namespace can be the attachment's: by its name alone, where nothing
    /// else is known, or it is the loopback, which every namespace has.
    func isLike(_ link: LinkState, in view: NamespaceView) -> Bool {
        let isNameEnough = macs.isEmpty && (addresses.isEmpty || link.name == "lo")
        return resemblance(link, in: view) > 0 || isNameEnough && names.contains(link.name)
    }

    /// How much speaks for a link being the attachment's: its hardware address more than the others.
    func resemblance(_ link: LinkState, in view: NamespaceView) -> Int {
        // An ipvlan link has its master's, as all the others on that have.
        let hasMAC = link.kind != "ipvlan" && link.mac.map(macs.contains) ?? false
        return (hasMAC ? 2 : 0) + (hasAddress(of: link, in: view) ? 1 : 0)
    }

    /// Whether the attachment's interface is in a namespace that has its path, or an interface of its name.
    ///
    /// The loopback interface tells nothing: every namespace has it, with the same addresses.
    func isHome(in view: NamespaceView) -> Bool {
        let isNoted = noted == view.identity
        return isNoted && tagged(in: view) != nil
            || view.links.contains { link in
                (isNoted || names.contains(link.name))
                    && view.addresses(of: link.index).contains {
                        !$0.address.isLoopback && addresses.contains($0.address)
                    }
            }
    }

    /// Whether a link has an address that is the attachment's.
    func hasAddress(of link: LinkState, in view: NamespaceView) -> Bool {
        view.addresses(of: link.index).contains { addresses.contains($0.address) }
    }
}

extension AttachmentState {
    fileprivate func with(_ presence: Presence) -> AttachmentState {
        var state = self
        state.presence = presence
        return state
    }
}

extension LinkState {
    /// The attachment whose tag is the link's alias.
    fileprivate var owner: Owner? { alias.flatMap { Owner(tag: $0) } }
}
