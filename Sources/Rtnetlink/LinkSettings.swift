public import Addressing
internal import CLinux
public import Netlink
public import Plan
internal import SystemPackage

/// Settings of a link that somebody else has made, which it had otherwise before.
public struct LinkSettings: Resource {
    /// The link's name.
    public let link: String
    /// The namespace it is in.
    public let side: Side
    /// What was set is set back by a roll-back.
    public var sharing: Sharing { .owned }
    /// Its hardware address; nil, here and below, leaves it as it is.
    public var mac: MACAddress?
    /// Its MTU in bytes.
    public var mtu: Int?
    /// Whether it takes every packet.
    public var promiscuous: Bool?
    /// Whether it takes every multicast packet.
    public var allMulticast: Bool?
    /// The length of its transmit queue in packets.
    public var queueLength: Int?

    /// No settings yet of a link.
    public init(of link: String, in side: Side) {
        self.link = link
        self.side = side
    }

    /// Whether nothing is set.
    public var isEmpty: Bool {
        mac == nil && mtu == nil && promiscuous == nil && allMulticast == nil
            && queueLength == nil
    }

    /// `settings of eth0`.
    public var description: String { "settings of \(link)" }

    /// Those of the settings that are given, as the link has them.
    ///
    /// - Throws: ENODEV if there is no such link.
    public func read(_ kernel: Kernel) throws(KernelError) -> LinkSettings? {
        guard let state = try kernel.link(link, in: side) else {
            throw KernelError("find link \(link)", .noSuchDevice)
        }
        var found = self
        if mac != nil { found.mac = state.mac }
        if mtu != nil { found.mtu = state.mtu }
        if promiscuous != nil { found.promiscuous = state.isPromiscuous }
        if allMulticast != nil { found.allMulticast = state.isAllMulticast }
        if queueLength != nil { found.queueLength = state.queueLength }
        return found
    }

    /// Sets what differs, each by a message of its own that names it in its error.
    public func write(_ kernel: Kernel, over found: LinkSettings?) throws(KernelError) {
        try kernel.perform(side, messages(kernel.index(of: link, in: side), over: found))
    }

    /// Sets all that can be set, for DEL.
    public func restore(_ kernel: Kernel) throws(KernelError) {
        _ = try kernel.exchange(side, messages(kernel.index(of: link, in: side), over: nil))
    }

    /// Leaves the link to what made it.
    public func erase(_ kernel: Kernel) {}

    /// The settings in which `found` misses these.
    public func differences(from found: LinkSettings) -> [Difference] {
        [
            Difference(in: "link \(link): address", wanted: mac, found: found.mac),
            Difference(in: "link \(link): mtu", wanted: mtu, found: found.mtu),
            Difference(
                in: "link \(link): promiscuous", wanted: promiscuous, found: found.promiscuous),
            Difference(
                in: "link \(link): all-multicast", wanted: allMulticast,
                found: found.allMulticast),
            Difference(
                in: "link \(link): txqueuelen", wanted: queueLength, found: found.queueLength),
        ].compactMap { $0 }
    }

    private func messages(_ index: UInt32, over found: LinkSettings?) -> [Message] {
        var messages: [Message] = []
        let message = { (what: String, header: ifinfomsg) in
            Message("set \(what) of \(link)", type: RTM_SETLINK, header)
        }
        if let mtu, mtu != found?.mtu {
            var change = message("mtu \(mtu)", ifinfomsg(index: index))
            change.put(IFLA_MTU, UInt32(mtu))
            messages.append(change)
        }
        if let mac, mac != found?.mac {
            var change = message("address \(mac)", ifinfomsg(index: index))
            change.put(IFLA_ADDRESS, bytes: mac.bytes)
            messages.append(change)
        }
        for (what, flag, wanted, had) in [
            ("promiscuous mode", UInt32(IFF_PROMISC), promiscuous, found?.promiscuous),
            ("all-multicast mode", UInt32(IFF_ALLMULTI), allMulticast, found?.allMulticast),
        ] where wanted != nil && wanted != had {
            let isSet = wanted == true
            messages.append(
                message(
                    what,
                    ifinfomsg(index: index, set: isSet ? flag : 0, clear: isSet ? 0 : flag)))
        }
        if let queueLength, queueLength != found?.queueLength {
            var change = message("txqueuelen \(queueLength)", ifinfomsg(index: index))
            change.put(IFLA_TXQLEN, UInt32(queueLength))
            messages.append(change)
        }
        return messages
    }
}
