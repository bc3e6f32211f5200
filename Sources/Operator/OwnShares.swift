internal import CNI
internal import Netlink
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import TrafficControl

extension Kernel {
    /// What holds an attachment's packets back at the root of a link that is its own: a bucket, or
    /// classes, of which those inside the container's have the names of `parts`.
    func shares(
        _ direction: Direction, at link: LinkState, in netns: String? = nil, _ owner: Owner,
        parts: [String] = []
    ) throws(KernelError) -> [AttachmentState.Share] {
        let port = Port(link.name, in: netns)
        switch link.qdisc {
        case "tbf":
            guard let bucket = try bucket(at: port) else { return [] }
            return [.init(direction, at: port, nil, bucket)]
        case "htb":
            let classes = try trafficClasses(of: link.name, in: port.side)
            return classes.filter { $0.parent == Tree.root }.flatMap {
                $0.shares(direction, at: port, owner, classes, parts)
            }
        default: return []
        }
    }

    /// What holds back what an attachment receives in a tree in its container, which its interfaces
    /// there share.
    fileprivate func sharesReceived(
        _ group: ShapingGroup, _ owner: Owner, in netns: String, parts: [String]
    ) throws(KernelError) -> [AttachmentState.Share] {
        let port = Port(group.link(.ingress), in: netns)
        let classes = try trafficClasses(of: port.link, in: port.side)
        let steering = try steering(
            of: owner.tag, .ingress, on: port.link, in: port.side, table: group.table)
        return steering.flatMap { steered -> [AttachmentState.Share] in
            guard let found = classes.first(where: { $0.id == steered.id }) else {
                return [.init(.ingress, at: port, steered.id, nil)]
            }
            // Packets that no class inside the container's takes go to the rest, which is one of them.
            let whole = classes.first {
                $0.id == found.parent && Tree.containers.contains($0.id.minor)
            }
            return (whole ?? found).shares(.ingress, at: port, owner, classes, parts)
        }
    }
}

extension TrafficClass {
    /// A container's class and those inside it.
    fileprivate func shares(
        _ direction: Direction, at port: Port, _ owner: Owner, _ classes: [TrafficClass],
        _ parts: [String]
    ) -> [AttachmentState.Share] {
        let names = Bandwidth.names(inside: id, of: owner, parts)
        let inner = classes.filter { $0.parent == id }.map {
            AttachmentState.Share(
                direction, at: port, $0.id, part: names[$0.id] ?? "?", .trafficClass($0))
        }
        return [.init(direction, at: port, id, .trafficClass(self))] + inner
    }
}

extension AttachmentState {
    /// Adds what holds it back in its container, and at an end on the host that bears no tag.
    ///
    /// A container that goes at this moment has nothing.
    mutating func addOwnShares(_ view: NamespaceView, untagged: LinkState?, _ links: [LinkState]) {
        guard let inner else { return }
        var found: [Share] = []
        if let end = untagged {
            // The Go plugins', of which what is sent waits at a link of its own.
            let name = owner.referenceName("bwp", length: 15)
            let sent = links.first { $0.name == name && $0.kind == "ifb" }
            for (direction, link) in [(Direction.egress, sent), (.ingress, end)] {
                guard let link else { continue }
                let shares = try? Port(link.name).withKernel { (kernel) throws(KernelError) in
                    try kernel.shares(direction, at: link, owner)
                }
                found += shares ?? []
            }
        }
        let groups = inner.kind == "veth" ? [] : ShapingGroup.all(view.links)
        let parts = cached?.parts ?? []
        // Most containers have nothing inside, and there may be a thousand of them.
        if ["htb", "tbf"].contains(inner.qdisc) || !groups.isEmpty {
            let own = owner
            let inside = try? Port(inner.name, in: view.path).withKernel {
                (kernel) throws(KernelError) in
                var inside = try kernel.shares(
                    .egress, at: inner, in: view.path, own, parts: parts)
                for group in groups {
                    inside += try kernel.sharesReceived(group, own, in: view.path, parts: parts)
                }
                return inside
            }
            found += inside ?? []
        }
        guard !found.isEmpty else { return }
        traces.insert(.trafficClass)
        shares += found
    }
}

extension CachedAttachment {
    /// The names of the classes inside its container, as its network's list had them.
    fileprivate var parts: [String] {
        let plugins = (try? list())?.plugins ?? []
        return plugins.filter { $0["type"]?.text == Bandwidth.name }.flatMap { plugin in
            (plugin["shaping"]?["classes"]?.elements ?? []).compactMap { $0["name"]?.text }
        }
    }
}
