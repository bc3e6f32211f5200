public import Addressing
internal import CLinux
public import Netlink
internal import SystemPackage

/// A link as the kernel shows it.
public struct LinkState: Sendable {
    /// The longest name of a link, in bytes: there is one more that ends it.
    package static var longestName: Int { Int(IFNAMSIZ) - 1 }

    /// Its index in its namespace.
    public let index: UInt32
    /// Its name.
    public private(set) var name: String = ""
    /// Whether it is administratively up.
    public let isUp: Bool
    /// Whether it takes every packet, whoever it is for.
    public let isPromiscuous: Bool
    /// Whether it takes every multicast packet.
    public let isAllMulticast: Bool
    /// The length of its transmit queue in packets.
    public private(set) var queueLength = 0
    /// Whether its peer or cable is there and it may carry packets.
    public var isOperational: Bool { isRunning || state == UInt8(IF_OPER_UNKNOWN) }
    /// Whether the kernel is sure of that; never of a bridge before a port of it runs.
    public var isRunning: Bool { state == UInt8(IF_OPER_UP) }
    /// Its operational state, IF_OPER_*.
    private var state: UInt8?
    /// Its MTU in bytes.
    public private(set) var mtu: Int = 0
    /// Its hardware address, if it has one of six bytes.
    public private(set) var mac: MACAddress?
    /// What made it: `veth`, `bridge`, …; empty for hardware.
    public private(set) var kind: String = ""
    /// What only its kind has: the attributes of IFLA_INFO_DATA.
    public private(set) var settings: Attributes?
    /// The bridge or other master it belongs to.
    public private(set) var master: UInt32?
    /// The index of a veth's other end, or of the link that this one stands on, in that one's
    /// namespace.
    public private(set) var peer: UInt32?
    /// The number that its namespace has for that of a veth's other end; nil where both are one.
    public private(set) var peerNamespace: Int32?
    /// Whether a veth's other end is in another namespace.
    public var hasPeerElsewhere: Bool { peerNamespace != nil }
    /// The kind of its root qdisc.
    public private(set) var qdisc: String = ""
    /// Its alias: whose it is, for links of ours.
    public private(set) var alias: String?
    /// The names by which it is found beside its own.
    public private(set) var alternativeNames: [String] = []
    /// Whether it is found by a name.
    func isFound(by name: String) -> Bool { self.name == name || alternativeNames.contains(name) }
    /// Its settings as a bridge's port, if it is one.
    public private(set) var port: Port?

    /// Whether a bridge learns from link-local frames; nil of other links.
    var learnsFromLinkLocal: Bool? {
        guard kind == "bridge",
            let options = settings?[IFLA_BR_MULTI_BOOLOPT]?.value(br_boolopt_multi.self)
        else { return nil }
        return options.optval & 1 << BR_BOOLOPT_NO_LL_LEARN.rawValue == 0
    }

    /// The routing table of a VRF.
    public var table: UInt32? { kind == "vrf" ? settings?[IFLA_VRF_TABLE]?.uint32 : nil }

    /// The settings of a bridge's port.
    public struct Port: Sendable, Equatable {
        /// Whether packets may leave by the port they came in.
        public var hairpin = false
        /// Whether packets may not go to other isolated ports.
        public var isIsolated = false
        /// Whether the bridge forwards packets to and from the port now.
        public var isForwarding = false
        /// Whether the bridge takes nothing from the port and gives it nothing: somebody has disabled it, or it
        /// is down.
        public var isDisabled = false
    }

    /// Reads a reply to RTM_GETLINK; nil if it is something else.
    public init?(_ reply: Reply) {
        guard reply.type == RTM_NEWLINK, let header = reply.header(ifinfomsg.self) else {
            return nil
        }
        index = UInt32(bitPattern: header.ifi_index)
        let flags = header.ifi_flags
        isUp = flags & UInt32(IFF_UP) != 0
        isPromiscuous = flags & UInt32(IFF_PROMISC) != 0
        isAllMulticast = flags & UInt32(IFF_ALLMULTI) != 0
        // A reply has fifty attributes: they are walked once.
        for attribute in reply.attributes(after: ifinfomsg.self) {
            switch attribute.type {
            case IFLA_IFNAME: name = attribute.text
            case IFLA_OPERSTATE: state = attribute.uint8
            case IFLA_TXQLEN: queueLength = Int(attribute.uint32 ?? 0)
            case IFLA_MTU: mtu = Int(attribute.uint32 ?? 0)
            case IFLA_ADDRESS: mac = MACAddress(attribute.payload)
            case IFLA_MASTER: master = attribute.uint32
            case IFLA_LINK: peer = attribute.uint32
            case IFLA_LINK_NETNSID:
                peerNamespace = attribute.uint32.map { Int32(bitPattern: $0) }
            case IFLA_QDISC: qdisc = attribute.text
            case IFLA_IFALIAS: alias = attribute.text
            case IFLA_PROP_LIST:
                for property in attribute.nested where property.type == IFLA_ALT_IFNAME {
                    alternativeNames.append(property.text)
                }
            case IFLA_LINKINFO:
                kind = attribute.nested[IFLA_INFO_KIND]?.text ?? ""
                settings = attribute.nested[IFLA_INFO_DATA]?.nested
                port = Port(attribute.nested)
            default: break
            }
        }
    }
}

extension LinkState.Port {
    fileprivate init?(_ info: Attributes) {
        guard info[IFLA_INFO_SLAVE_KIND]?.text == "bridge",
            let port = info[IFLA_INFO_SLAVE_DATA]?.nested
        else { return nil }
        // A port has forty attributes: they are walked once.
        for attribute in port {
            switch attribute.type {
            case IFLA_BRPORT_MODE: hairpin = attribute.uint8 == 1
            case IFLA_BRPORT_ISOLATED: isIsolated = attribute.uint8 == 1
            case IFLA_BRPORT_STATE:
                isForwarding = attribute.uint8 == UInt8(BR_STATE_FORWARDING)
                isDisabled = attribute.uint8 == UInt8(BR_STATE_DISABLED)
            default: break
            }
        }
    }
}

extension Kernel {
    /// A link by its name, or nil if there is none.
    public func link(_ name: String, in side: Side) throws(KernelError) -> LinkState? {
        var message = Message("find link \(name)", type: RTM_GETLINK, ifinfomsg())
        // A longer one can only be an alternative name.
        let isOrdinary = name.utf8.count <= LinkState.longestName
        message.put(isOrdinary ? IFLA_IFNAME : IFLA_ALT_IFNAME, name)
        return try link(&message, in: side)
    }

    /// A link by its index, or nil if there is none.
    public func link(index: UInt32, in side: Side) throws(KernelError) -> LinkState? {
        var message = Message(
            "find link \(index)", type: RTM_GETLINK, ifinfomsg(index: index))
        return try link(&message, in: side)
    }

    /// The name of a link, or one by which it is found as well; nil if there is none of the index.
    func name(
        of index: UInt32, otherwise alternative: String?, in side: Side
    ) throws(KernelError) -> String? {
        guard let link = try link(index: index, in: side) else { return nil }
        return alternative.flatMap { link.isFound(by: $0) ? $0 : nil } ?? link.name
    }

    /// Every link of a kind (`veth`, …).
    public func links(kind: String, in side: Side) throws(KernelError) -> [LinkState] {
        var message = Message("list links", type: RTM_GETLINK, flags: .dump, ifinfomsg())
        message.nest(IFLA_LINKINFO) { $0.put(IFLA_INFO_KIND, kind) }
        message.skipCounters()
        return try request(side, message).compactMap { LinkState($0) }.filter { $0.kind == kind }
    }

    /// Every link.
    package func allLinks(in side: Side) throws(KernelError) -> [LinkState] {
        var message = Message("list links", type: RTM_GETLINK, flags: .dump, ifinfomsg())
        message.skipCounters()
        return try request(side, message).compactMap { LinkState($0) }
    }

    /// Whether any link but the named ones belongs to a bridge or other master.
    public func hasPorts(
        _ master: String, besides names: Set<String> = [], in side: Side
    ) throws(KernelError) -> Bool {
        try !ports(of: master, in: side).isSubset(of: names)
    }

    /// The most ports that a bridge of Linux has: BR_MAX_PORTS, whose first number is no port's.
    public static let mostBridgePorts = (1 << 10) - 1

    /// The names of the links that belong to a bridge or other master; none if there is no such link.
    public func ports(
        of master: String, in side: Side
    ) throws(KernelError) -> Set<String> {
        guard let index = try link(master, in: side)?.index else { return [] }
        var message = Message("list ports", type: RTM_GETLINK, flags: .dump, ifinfomsg())
        message.put(IFLA_MASTER, index)
        message.skipCounters()
        var names: Set<String> = []
        for reply in try request(side, message) {
            // A kernel that does not know the filter lists all links.
            if let link = LinkState(reply), link.master == index { names.insert(link.name) }
        }
        return names
    }

    /// Makes the host take nothing any more from a container's link that has this alias, or none.
    ///
    /// A bridge's port is disabled, another link is brought down. Where the bridge runs the
    /// spanning tree protocol the port goes on until it is removed. One that is down, as an ADD that
    /// was killed leaves it, takes nothing as it is, and so does one that goes meanwhile with its container.
    public func stopPort(_ name: String, alias: String, in side: Side) throws(KernelError) {
        guard let link = try link(name, in: side), link.alias == nil || link.alias == alias
        else { return }
        guard link.port != nil else {
            guard link.isUp else { return }
            let message = Message(
                "stop link \(name)", type: RTM_SETLINK,
                ifinfomsg(index: link.index, clear: UInt32(IFF_UP)))
            try tolerating(.noSuchDevice) { () throws(KernelError) in try request(side, message) }
            return
        }
        var message = Message(
            "stop port \(name)", type: RTM_SETLINK,
            ifinfomsg(index: link.index, family: UInt8(AF_BRIDGE)))
        message.nest(IFLA_PROTINFO | Int(NLA_F_NESTED)) {
            $0.put(IFLA_BRPORT_STATE, UInt8(BR_STATE_DISABLED))
        }
        try tolerating(.resourceBusy, .networkDown, .noSuchDevice) { () throws(KernelError) in
            try request(side, message)
        }
    }

    /// Gives a link its own hardware address again.
    ///
    /// The address then counts as chosen, so a bridge does not take over its ports', and a link
    /// with `arp_notify` and `ndisc_notify` announces its addresses to its network.
    public func confirmMAC(
        _ mac: MACAddress, of link: String, in side: Side
    ) throws(KernelError) {
        try request(side, confirmation(of: mac, of: link, in: side))
    }

    /// The message of `confirmMAC(_:of:in:)`.
    func confirmation(
        of mac: MACAddress, of link: String, in side: Side
    ) throws(KernelError) -> Message {
        let index = try index(of: link, in: side)
        var message = Message(
            "set address of \(link)", type: RTM_SETLINK, ifinfomsg(index: index))
        message.put(IFLA_ADDRESS, bytes: mac.bytes)
        return message
    }

    /// Removes links together, so that the kernel waits for its readers once, not once a link.
    public func removeLinks(_ indices: [UInt32], in side: Side) throws(KernelError) {
        guard indices.count > 1 else {
            for index in indices {
                try tolerating(.noSuchDevice) { () throws(KernelError) in
                    try request(side, removal(of: index))
                    hasRemovedLinks = true
                }
            }
            return
        }
        // A group number of our own for the moment between the two calls.
        let group = UInt32.random(in: 1 << 16 ... .max)
        let moves = indices.map { index in
            var message = Message(
                "set group of link \(index)", type: RTM_SETLINK, ifinfomsg(index: index))
            message.put(IFLA_GROUP, group)
            return message
        }
        for result in try exchange(side, moves) {
            if case .refused(let error) = result, error.errno != .noSuchDevice { throw error }
        }
        var together = Message("remove links", type: RTM_DELLINK, ifinfomsg())
        together.put(IFLA_GROUP, group)
        try tolerating(.noSuchDevice) { () throws(KernelError) in
            try request(side, together)
            hasRemovedLinks = true
        }
    }

    private func removal(of index: UInt32) -> Message {
        Message("remove link \(index)", type: RTM_DELLINK, ifinfomsg(index: index))
    }

    /// The link that a message asks for, or nil if there is none.
    func link(_ message: inout Message, in side: Side) throws(KernelError) -> LinkState? {
        message.skipCounters()
        do throws(KernelError) {
            let state = try request(side, message).lazy.compactMap { LinkState($0) }.first
            if let state { try remember(state, in: side) }
            return state
        } catch  where error.errno == .noSuchDevice {
            return nil
        }
    }
}

extension Message {
    /// Leaves a link's counters out of the answer, which the kernel sums up over all CPUs.
    mutating func skipCounters() { put(IFLA_EXT_MASK, UInt32(RTEXT_FILTER_SKIP_STATS)) }
}

extension ifinfomsg {
    /// The fixed part of a link message: which link, and which flags to set or clear.
    init(index: UInt32 = 0, family: UInt8 = 0, set: UInt32 = 0, clear: UInt32 = 0) {
        self.init()
        ifi_family = family
        ifi_index = Int32(bitPattern: index)
        ifi_flags = set
        ifi_change = set | clear
    }
}

/// Runs `body`, and takes errors of some errnos for success.
func tolerating<Result>(
    _ errors: Errno..., body: () throws(KernelError) -> Result
) throws(KernelError) {
    do throws(KernelError) {
        _ = try body()
    } catch  where errors.contains(error.errno) {
        return
    }
}
