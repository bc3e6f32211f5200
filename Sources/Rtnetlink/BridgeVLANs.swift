internal import CLinux
public import Netlink
public import Plan

/// The VLANs of a bridge's port, and no others.
public struct BridgeVLANs: Resource {
    /// The port's link.
    public let port: String
    /// The namespace the bridge is in.
    public let side: Side
    /// Whose the port is.
    public let sharing: Sharing
    /// The VLAN of packets without a tag, 1 to 4094; nil for none.
    public let untagged: Int?
    /// The VLANs of packets with a tag.
    public let tagged: Set<Int>

    /// The VLANs of a port.
    public init(
        of port: String, untagged: Int?, tagged: Set<Int>, in side: Side,
        _ sharing: Sharing = .part
    ) {
        self.port = port
        self.untagged = untagged
        self.tagged = tagged
        self.side = side
        self.sharing = sharing
    }

    /// `VLANs of port veth0`.
    public var description: String { "VLANs of port \(port)" }

    /// The port's VLANs as the bridge has them.
    public func read(_ kernel: Kernel) throws(KernelError) -> BridgeVLANs? {
        guard let index = try kernel.link(port, in: side)?.index else { return nil }
        var message = Message(
            "list \(description)", type: RTM_GETLINK, flags: .dump,
            ifinfomsg(family: UInt8(AF_BRIDGE)))
        message.put(IFLA_EXT_MASK, UInt32(RTEXT_FILTER_BRVLAN))
        var found: (untagged: Int?, tagged: Set<Int>) = (nil, [])
        for reply in try kernel.request(side, message)
        where reply.header(ifinfomsg.self)?.ifi_index == Int32(bitPattern: index) {
            let attributes = reply.attributes(after: ifinfomsg.self)
            for attribute in attributes[IFLA_AF_SPEC]?.nested ?? Attributes([])
            where attribute.type == IFLA_BRIDGE_VLAN_INFO {
                guard let info = attribute.value(bridge_vlan_info.self) else { continue }
                if info.flags & UInt16(BRIDGE_VLAN_INFO_PVID) != 0 {
                    found.untagged = Int(info.vid)
                } else {
                    found.tagged.insert(Int(info.vid))
                }
            }
        }
        return BridgeVLANs(
            of: port, untagged: found.untagged, tagged: found.tagged, in: side, sharing)
    }

    /// Adds the VLANs that are missing and removes the others.
    public func write(_ kernel: Kernel, over found: BridgeVLANs?) throws(KernelError) {
        let index = try kernel.index(of: port, in: side)
        // A new port is in the VLANs the bridge puts it in, so the port is asked even then.
        let found = found == nil ? try read(kernel) : found
        let had = found.map { $0.tagged.union([$0.untagged].compactMap { $0 }) } ?? []
        let wanted = tagged.union([untagged].compactMap { $0 })
        var messages: [Message] = []
        for number in had.subtracting(wanted).sorted() {
            messages.append(message(RTM_DELLINK, index, number, flags: 0))
        }
        for number in wanted.sorted() where !had.contains(number) || number == untagged {
            let isUntagged = number == untagged
            let flags = isUntagged ? BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED : 0
            messages.append(message(RTM_SETLINK, index, number, flags: UInt16(flags)))
        }
        try kernel.perform(side, messages)
    }

    /// Leaves the VLANs to the port, with which they go.
    public func erase(_ kernel: Kernel) {}

    /// The VLANs that are missing or too many.
    public func differences(from found: BridgeVLANs) -> [Difference] {
        let list = { (numbers: Set<Int>) in
            numbers.sorted().map { String($0) }.joined(separator: ",")
        }
        let name = { (number: Int?) in number.map { String($0) } ?? "none" }
        return [
            Difference(
                in: "\(description): untagged", wanted: name(untagged), found: name(found.untagged)),
            Difference(
                in: "\(description): tagged", wanted: list(tagged), found: list(found.tagged)),
        ].compactMap { $0 }
    }

    private func message(_ type: Int, _ index: UInt32, _ number: Int, flags: UInt16) -> Message {
        let verb = type == RTM_DELLINK ? "remove" : "add"
        var message = Message(
            "\(verb) VLAN \(number) of port \(port)", type: type,
            ifinfomsg(index: index, family: UInt8(AF_BRIDGE)))
        message.nest(IFLA_AF_SPEC) {
            $0.put(IFLA_BRIDGE_VLAN_INFO, bridge_vlan_info(flags: flags, vid: UInt16(number)))
        }
        return message
    }
}
