public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// A network interface in the state it should have.
public struct Link: Resource {
    /// What makes the interface.
    public enum Kind: Sendable, Equatable {
        /// A bridge; with VLAN filtering, if asked for when it is made.
        case bridge(filtersVLANs: Bool)
        /// One end of a veth pair, whose other end is made with it.
        case veth(peer: Peer)
        /// A link to which packets are sent to be queued, and from which they go on as before.
        case ifb

        /// The kernel's name of the kind.
        var name: String {
            switch self {
            case .bridge: "bridge"
            case .veth: "veth"
            case .ifb: "ifb"
            }
        }
    }

    /// The other end of a veth pair.
    public struct Peer: Sendable, Equatable {
        /// Its name.
        public var name: String
        /// The namespace it is made in.
        public var side: Side
        /// Its hardware address; nil leaves it to the kernel.
        public var mac: MACAddress?

        /// The other end of a pair.
        public init(_ name: String, in side: Side, mac: MACAddress? = nil) {
            self.name = name
            self.side = side
            self.mac = mac
        }
    }

    /// Which link-local address of IPv6 a new link has.
    public enum LinkLocal: Sendable {
        /// The kernel's, as soon as nobody else is found to have it.
        ///
        /// On a router the kernel adds the network's anycast address, which prolongs the removal of the
        /// link by one more wait for its readers.
        case kernels
        /// None: a port of a bridge speaks for nobody.
        case none
        /// The same address as the kernel's, at once, and no anycast address.
        case own
    }

    /// Its name.
    public let name: String
    /// What makes it.
    public private(set) var kind: Kind
    /// The namespace it is in.
    public let side: Side
    /// Whose it is.
    public let sharing: Sharing
    /// Its MTU in bytes, and that of a veth's new peer, which others may change; nil leaves it to the
    /// kernel.
    public var mtu: Int?
    /// Its hardware address; nil takes it as it comes.
    public var mac: MACAddress?
    /// The hardware address of a new link where any will do; nil leaves it to the kernel.
    public var firstMAC: MACAddress?
    /// How many packets its queue holds, where it has no qdisc that says so.
    public var queueLength: Int?
    /// Its alias, which says whose it is.
    public var alias: String?
    /// The bridge it is a port of.
    public var master: String?
    /// Whether it takes every packet.
    public var promiscuous: Bool?
    /// Whether it is administratively up.
    public var isUp: Bool?
    /// Whether a new link takes no routes from what others announce; set before it comes up.
    public var ignoresRouterAdvertisements = false
    /// Whether a new link uses its link-local address at once: until it may, the kernel asks for no
    /// neighbour on behalf of packets it forwards.
    public var skipsDuplicateDetection = false
    /// Which link-local address a new link has.
    public var linkLocal = LinkLocal.kernels
    /// The bridge that a shared link serves, and which of its ports do: without other ports the
    /// link is not in use.
    public var servedBridge: String?
    /// See `servedBridge`.
    public var servants: Set<String> = []
    /// Whether a bridge's port sends packets back by the port they came in.
    public var hairpin: Bool?
    /// Whether a bridge's port sends nothing to other isolated ports.
    public var isIsolated: Bool?
    /// Whether a bridge's port that could is let pass packets: DEL, for one, disables it first.
    public var isEnabled: Bool?
    /// Whether a bridge takes the senders of link-local frames for neighbours: no rule sees these frames
    /// before it does.
    public var learnsFromLinkLocal: Bool?

    /// An interface of a kind; its other settings are set afterwards.
    public init(_ name: String, _ kind: Kind, in side: Side, _ sharing: Sharing) {
        self.name = name
        self.kind = kind
        self.side = side
        self.sharing = sharing
    }

    /// The ports that a shared bridge had when it was found otherwise than it is wanted; nil of any other.
    private var portsBefore: Set<String>?

    /// A bridge that was there before is left as it was.
    public var isChangedBack: Bool {
        guard case .bridge = kind else { return false }
        return sharing == .shared
    }

    /// A link of the attachment's own must not be there before.
    public var isExclusive: Bool { sharing == .owned }

    /// `link cni0`.
    public var description: String { "link \(name)" }

    /// The interface as it is, or nil if there is none of the name.
    public func read(_ kernel: Kernel) throws(KernelError) -> Link? {
        guard let state = try kernel.link(name, in: side) else { return nil }
        guard state.kind == kind.name else {
            throw KernelError(
                description, .fileExists,
                detail: "\"\(name)\" already exists but is not a \(kind.name)")
        }
        var found = self
        found.mtu = state.mtu
        found.mac = state.mac
        found.alias = state.alias
        found.promiscuous = state.isPromiscuous
        found.isUp = state.isUp
        found.hairpin = state.port?.hairpin
        found.isIsolated = state.port?.isIsolated
        // One that is down, or whose other end is, the bridge enables itself.
        let isStopped = state.isOperational && state.port?.isDisabled ?? false
        found.isEnabled = isStopped ? false : isEnabled
        found.learnsFromLinkLocal = state.learnsFromLinkLocal
        found.master = try state.master.flatMap { (index) throws(KernelError) in
            try kernel.name(of: index, otherwise: master, in: side)
        }
        if case .veth(var peer) = kind, let other = try readPeer(peer, of: state, kernel) {
            peer.mac = other.mac
            found.kind = .veth(peer: peer)
        }
        if isChangedBack, !differences(from: found).isEmpty {
            found.portsBefore = try kernel.ports(of: name, in: side)
        }
        return found
    }

    /// Creates the interface or changes the settings that are given.
    public func write(_ kernel: Kernel, over found: Link?) throws(KernelError) {
        if let found {
            if sharing == .shared {
                // Ports that have come since may rely on what they found.
                if let portsBefore, try kernel.hasPorts(name, besides: portsBefore, in: side) {
                    return
                }
                return try join(found, kernel)
            }
            return try set(kernel, over: found)
        }
        do throws(KernelError) {
            try create(kernel)
        } catch  where sharing == .owned && error.errno != .fileExists {
            // The kernel may have made it and only its answer be lost.
            if let state = try? kernel.link(name, in: side), state.alias == nil, !state.isUp {
                try? kernel.removeLinks([state.index], in: side)
            }
            throw error
        }
        do throws(KernelError) {
            for (key, isSet) in [
                ("accept_ra", ignoresRouterAdvertisements), ("accept_dad", skipsDuplicateDetection),
            ] where isSet {
                try Sysctl("net/ipv6/conf/\(name)/\(key)", "0", in: side, ifPresent: true)
                    .write(kernel, over: nil)
            }
            try set(kernel, over: nil)
        } catch {
            // To the outside a link is made whole or not at all.
            if sharing == .owned { try? erase(kernel) }
            throw error
        }
    }

    private func set(_ kernel: Kernel, over found: Link?) throws(KernelError) {
        // A creation has joined the link to its bridge already.
        let bridge = found.map { $0.master != master } ?? false ? master : nil
        let index = try kernel.index(of: name, in: side)
        let settings = settings(
            index, over: found,
            joining: try bridge.map { (name) throws(KernelError) in
                try kernel.index(of: name, in: side)
            })
        guard found == nil, linkLocal != .kernels else {
            try kernel.perform(side, settings)
            if let found { try setPeer(kernel, over: found) }
            return
        }
        var noAddress = Message(
            "set IPv6 of \(description)", type: RTM_SETLINK, ifinfomsg(index: index))
        noAddress.nest(IFLA_AF_SPEC) { families in
            families.nest(Int(AF_INET6)) {
                $0.put(IFLA_INET6_ADDR_GEN_MODE, UInt8(IN6_ADDR_GEN_MODE_NONE.rawValue))
            }
        }
        let own = try linkLocal == .own ? ownLinkLocal(kernel) : []
        let answers = try kernel.exchange(side, [noAddress] + settings + own)
        for answer in answers.dropFirst().prefix(settings.count) { _ = try answer.get() }
        // A host without IPv6, or with it switched off, has nothing to set.
        for answer in [answers[0]] + answers.suffix(own.count) {
            let refusals: [Errno] = [.addressFamilyNotSupported, .permissionDenied]
            guard case .refused(let error) = answer else { continue }
            guard refusals.contains(error.errno) else { throw error }
            return
        }
    }

    /// The messages that give a new link that is up its link-local address, and the way to its network.
    private func ownLinkLocal(_ kernel: Kernel) throws(KernelError) -> [Message] {
        let known = try kernel.known(name, in: side)
        guard let mac = mac ?? known?.mac else { return [] }
        var address = Address(IPPrefix(host: mac.linkLocal), on: name, in: side)
        address.bringsPrefixRoute = false
        guard let network = IPPrefix(mac.linkLocal, length: 64) else { return [] }
        var route = Route(to: network, by: nil, on: name, in: side)
        route.priority = Int(IP6_RT_PRIO_ADDRCONF)
        return try [address.creation(kernel), route.creation(kernel)].compactMap { $0?.message }
    }

    /// Sets what differs of a veth's other end.
    private func setPeer(_ kernel: Kernel, over found: Link) throws(KernelError) {
        guard case .veth(let peer) = kind, case .veth(let there) = found.kind else { return }
        guard let mac = peer.mac, mac != there.mac else { return }
        var link = Message(
            "set link \(peer.name)", type: RTM_SETLINK,
            ifinfomsg(index: try kernel.index(of: peer.name, in: peer.side)))
        link.put(IFLA_ADDRESS, bytes: mac.bytes)
        try kernel.request(peer.side, link)
    }

    /// Removes the interface if it is this owner's.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let state = try kernel.link(name, in: side) else { return }
        // Before its alias is set, a new link can be told by its name alone.
        if let alias, let owner = state.alias, owner != alias {
            throw KernelError(
                "remove \(description)", .notPermitted, detail: "it belongs to \"\(owner)\"")
        }
        try kernel.removeLinks([state.index], in: side)
        try kernel.forget(name, in: side)
    }

    /// Whether its bridge has no port but those that serve the bridge itself, or no tree of classes
    /// is left on it, so that taking the link away takes it from nobody.
    public func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        if kind == .ifb { return try kernel.link(name, in: side)?.qdisc != "htb" }
        return try !kernel.hasPorts(servedBridge ?? name, besides: servants, in: side)
    }

    /// The settings in which `found` misses this state.
    public func differences(from found: Link) -> [Difference] {
        var differences = [
            Difference(in: "\(description): address", wanted: mac, found: found.mac),
            Difference(in: "\(description): up", wanted: isUp, found: found.isUp),
            Difference(in: "\(description): master", wanted: master, found: found.master),
            Difference(
                in: "\(description): promiscuous", wanted: promiscuous, found: found.promiscuous),
            Difference(in: "\(description): hairpin", wanted: hairpin, found: found.hairpin),
            Difference(in: "\(description): isolated", wanted: isIsolated, found: found.isIsolated),
            Difference(
                in: "\(description): port enabled", wanted: isEnabled, found: found.isEnabled),
            Difference(
                in: "\(description): learns from link-local frames", wanted: learnsFromLinkLocal,
                found: found.learnsFromLinkLocal),
        ]
        if sharing == .owned {
            // A shared bridge's MTU follows its ports.
            differences.append(
                Difference(in: "\(description): mtu", wanted: mtu, found: found.mtu))
            differences.append(
                Difference(in: "\(description): alias", wanted: alias, found: found.alias))
        }
        if case .veth(let wanted) = kind, case .veth(let peer) = found.kind {
            differences.append(
                Difference(in: "link \(wanted.name): address", wanted: wanted.mac, found: peer.mac))
        }
        return differences.compactMap { $0 }
    }

    private func readPeer(
        _ peer: Peer, of state: LinkState, _ kernel: Kernel
    ) throws(KernelError) -> LinkState? {
        guard peer.side == .host || kernel.hasContainer else { return nil }
        guard let other = try kernel.link(peer.name, in: peer.side) else { return nil }
        return other.index == state.peer ? other : nil
    }

    /// The flags that are to be set and to be cleared, or that differ from `found`.
    private func changedFlags(from found: Link?) -> (set: UInt32, clear: UInt32) {
        var (set, clear): (UInt32, UInt32) = (0, 0)
        for (flag, wanted, had) in [
            (UInt32(IFF_PROMISC), promiscuous, found?.promiscuous),
            (UInt32(IFF_UP), isUp, found?.isUp),
        ] where wanted != nil && wanted != had {
            if wanted == true { set |= flag } else { clear |= flag }
        }
        return (set, clear)
    }

    /// Takes what others use as it is, but for what must hold for this attachment too, or did before it.
    private func join(_ found: Link, _ kernel: Kernel) throws(KernelError) {
        let index = try kernel.index(of: name, in: side)
        let flags = changedFlags(from: found)
        var message = Message(
            "set \(description)", type: RTM_SETLINK,
            ifinfomsg(index: index, set: flags.set, clear: flags.clear))
        let setsMaster = master != nil && master != found.master
        if setsMaster, let master {
            message.put(IFLA_MASTER, try kernel.index(of: master, in: side))
        }
        if flags != (0, 0) || setsMaster { try kernel.request(side, message) }
        guard let learnsFromLinkLocal, learnsFromLinkLocal != found.learnsFromLinkLocal else {
            return
        }
        var options = Message(
            "set options of \(description)", type: RTM_NEWLINK, ifinfomsg(index: index))
        options.nest(IFLA_LINKINFO) { info in
            info.put(IFLA_INFO_KIND, kind.name)
            info.nest(IFLA_INFO_DATA) { $0.putLearning(learnsFromLinkLocal) }
        }
        try kernel.request(side, options)
    }

    /// The messages that set what a creation cannot, or what differs from `found`.
    private func settings(
        _ index: UInt32, over found: Link?, joining bridge: UInt32?
    ) -> [Message] {
        let flags = changedFlags(from: found)
        var link = Message(
            "set \(description)", type: RTM_SETLINK,
            ifinfomsg(index: index, set: flags.set, clear: flags.clear))
        if let alias, alias != found?.alias { link.put(IFLA_IFALIAS, alias) }
        if let bridge { link.put(IFLA_MASTER, bridge) }
        if let found {
            if let mtu, mtu != found.mtu { link.put(IFLA_MTU, UInt32(mtu)) }
            if let mac, mac != found.mac { link.put(IFLA_ADDRESS, bytes: mac.bytes) }
        }
        guard hairpin == true || isIsolated == true || found?.hairpin != nil else { return [link] }
        var port = Message(
            "set port \(name)", type: RTM_SETLINK,
            ifinfomsg(index: index, family: UInt8(AF_BRIDGE)))
        port.nest(IFLA_PROTINFO | Int(NLA_F_NESTED)) { options in
            if let hairpin { options.put(IFLA_BRPORT_MODE, UInt8(hairpin ? 1 : 0)) }
            if let isIsolated { options.put(IFLA_BRPORT_ISOLATED, UInt8(isIsolated ? 1 : 0)) }
            if isEnabled == true, found?.isEnabled == false {
                options.put(IFLA_BRPORT_STATE, UInt8(BR_STATE_FORWARDING))
            }
        }
        return [link, port]
    }
}
