internal import CLinux
internal import Netlink

/// Matches and targets of iptables, as `iptables` over nftables writes them.
///
/// Structures and their revisions are those of the kernel's headers; where `iptables` has no match of
/// its own for something, it writes nftables' expressions, and so does who uses these.
extension Expression {
    /// `-m comment --comment`.
    public static func comment(_ text: String) -> Expression {
        let size = MemoryLayout<xt_comment_info>.size
        let bytes = Array(text.utf8.prefix(size - 1))
        return .match(
            "comment", revision: 0, bytes + [UInt8](repeating: 0, count: size - bytes.count))
    }

    /// `-m conntrack --ctstate RELATED,ESTABLISHED`.
    public static var isReply: Expression { .isInState([.established, .related]) }

    /// `-m conntrack --ctstate`, or `! --ctstate`.
    public static func isInState(
        _ states: ConnectionStates, isInverted: Bool = false
    ) -> Expression {
        var info = xt_conntrack_mtinfo3()
        info.match_flags = UInt16(XT_CONNTRACK_STATE)
        info.invert_flags = isInverted ? info.match_flags : 0
        info.state_mask = states.maskOfIptables
        return .match("conntrack", revision: 3, aligned(info))
    }

    /// `-m addrtype --dst-type LOCAL`.
    public static var isForHost: Expression {
        var info = xt_addrtype_info_v1()
        info.dest = UInt16(XT_ADDRTYPE_LOCAL)
        return .match("addrtype", revision: 1, aligned(info))
    }

    /// How many ports `isPort(among:)` takes; a range counts twice.
    public static let mostPorts = Int(XT_MULTI_PORTS)

    /// `-m multiport --sports` or `--dports`; the rule must say the protocol first.
    public static func isPort(
        among ranges: [ClosedRange<UInt16>], isSource: Bool, isInverted: Bool = false
    ) -> Expression {
        var info = xt_multiport_v1()
        let kind = isSource ? XT_MULTIPORT_SOURCE : XT_MULTIPORT_DESTINATION
        info.flags = UInt8(kind.rawValue)
        info.invert = isInverted ? 1 : 0
        var (ports, isStart): ([UInt16], [UInt8]) = ([], [])
        for range in ranges {
            let isSingle = range.count == 1
            ports += isSingle ? [range.lowerBound] : [range.lowerBound, range.upperBound]
            isStart += isSingle ? [0] : [1, 0]
        }
        info.count = UInt8(min(ports.count, mostPorts))
        unsafe withUnsafeMutableBytes(of: &info.ports) { bytes in
            for (index, port) in ports.prefix(mostPorts).enumerated() {
                unsafe bytes.storeBytes(of: port, toByteOffset: 2 * index, as: UInt16.self)
            }
        }
        unsafe withUnsafeMutableBytes(of: &info.pflags) { bytes in
            unsafe bytes.copyBytes(from: isStart.prefix(mostPorts))
        }
        return .match("multiport", revision: 1, aligned(info))
    }

    /// `-m sctp --dport`: for this protocol iptables reads no expression of nftables.
    public static func isSCTPPort(_ port: UInt16) -> Expression {
        var info = xt_sctp_info()
        info.dpts = (port, port)
        info.flags = UInt32(XT_SCTP_DEST_PORTS)
        let none = xt_sctp_flag_info(chunktype: .max, flag: 0, flag_mask: 0)
        info.flag_info = (none, none, none, none)
        return .match("sctp", revision: 0, aligned(info))
    }

    /// `-j MARK --set-xmark`, the same bits as value and as mask.
    public static func setMark(_ bits: UInt32) -> Expression {
        .target("MARK", revision: 2, aligned(xt_mark_tginfo2(mark: bits, mask: bits)))
    }

    /// `-j MASQUERADE`.
    public static func masqueradeTarget(_ family: TableFamily) -> Expression {
        var info = nf_nat_ipv4_multi_range_compat()
        info.rangesize = 1
        return .target(
            "MASQUERADE", revision: 0,
            family == .ip6 ? aligned(nf_nat_range()) : aligned(info))
    }

    /// `-j DNAT --to-destination`: an address, in the network's byte order, and a port.
    public static func destinationTarget(_ address: [UInt8], port: UInt16) -> Expression {
        var info = nf_nat_range2()
        info.flags = UInt32(NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED)
        unsafe withUnsafeMutableBytes(of: &info.min_addr) { bytes in
            unsafe bytes.copyBytes(from: address)
        }
        info.max_addr = info.min_addr
        unsafe info.min_proto.all = port.bigEndian
        info.max_proto = info.min_proto
        // What fills the structure up behind its last field is not always nought, and iptables compares it.
        let length = MemoryLayout<nf_nat_range2>.offset(of: \.base_proto).map { $0 + 2 }
        return .target("DNAT", revision: 2, aligned(info, length: length))
    }

    /// A structure, or its first bytes, as the kernel takes it: a multiple of eight bytes, as XT_ALIGN
    /// makes it.
    private static func aligned<Info>(_ info: Info, length: Int? = nil) -> [UInt8] {
        var bytes = unsafe withUnsafeBytes(of: info) { bytes in
            unsafe Array(bytes.prefix(length ?? bytes.count))
        }
        while bytes.count % 8 != 0 { bytes.append(0) }
        return bytes
    }
}

/// How a packet belongs to a connection, by the kernel's bits of `ct state`.
public struct ConnectionStates: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt32
    /// The states of some bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// To none that can be.
    public static let invalid = ConnectionStates(rawValue: 1)
    /// To one that has been answered.
    public static let established = ConnectionStates(IP_CT_ESTABLISHED)
    /// To one that another one has announced.
    public static let related = ConnectionStates(IP_CT_RELATED)
    /// It may begin one.
    public static let new = ConnectionStates(IP_CT_NEW)
    /// Somebody has asked not to look.
    public static let untracked = ConnectionStates(rawValue: 1 << 6)

    /// NF_CT_STATE_BIT, which is too much of a macro to be imported.
    private init(_ state: ip_conntrack_info) {
        self.init(rawValue: 1 << (state.rawValue % IP_CT_IS_REPLY.rawValue + 1))
    }

    /// The bits of XT_CONNTRACK_STATE_*, which has other things where nftables has `untracked`.
    fileprivate var maskOfIptables: UInt16 {
        let common = UInt16(truncatingIfNeeded: subtracting(.untracked).rawValue)
        return common | (contains(.untracked) ? 1 << UInt16(IP_CT_NUMBER.rawValue + 3) : 0)
    }
}

extension Rule {
    /// The protocol that the rule's matches of iptables may rely on: some ask for it.
    var protocolOfMatches: UInt8? {
        let hasMatches = expressions.contains {
            switch $0 {
            case .match, .target: true
            default: false
            }
        }
        guard hasMatches else { return nil }
        for (load, check) in zip(expressions, expressions.dropFirst()) {
            if case .meta(.ipProtocol, _) = load, case .compare(_, .equal, let bytes) = check {
                return bytes.first
            }
        }
        return nil
    }
}

extension ListedRule {
    /// The ports that a match `multiport` of the rule has, but for ranges; none without one.
    public var portsOfMatch: [UInt16] {
        guard let bytes = matches["multiport"]?[...],
            let count = bytes.uint8(at: 1)
        else { return [] }
        return (0..<min(Int(count), Expression.mostPorts)).compactMap {
            bytes.uint16(at: 2 + 2 * $0)
        }
    }

    /// Where a target `DNAT` of the rule leads: an address of so many bytes in the network's order, and
    /// a port.
    public func translation(size: Int) -> (address: [UInt8], port: UInt16)? {
        guard let target, target.name == "DNAT",
            let place = MemoryLayout<nf_nat_range2>.offset(of: \.min_addr),
            let port = MemoryLayout<nf_nat_range2>.offset(of: \.min_proto),
            let number = target.bytes[...].uint16(at: port)
        else { return nil }
        return (Array(target.bytes.dropFirst(place).prefix(size)), number.bigEndian)
    }

    /// The port that a match `sctp` of the rule has.
    public var portOfSCTP: UInt16? { matches["sctp"]?[...].uint16(at: 0) }

    /// The text of a match `comment`.
    public var commentOfMatch: String? {
        matches["comment"].map { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
