internal import CLinux
internal import CNftnl

/// A register: expressions hand data on in sixteen words of 32 bits.
public struct Register: Sendable, Equatable {
    let number: UInt32

    /// The register that begins at a word, 0 to 15.
    public init(word: Int) {
        // Every fourth has a name from the time when registers were larger, and the kernel shows it
        // by that one.
        number =
            word % 4 == 0
            ? NFT_REG_1.rawValue + UInt32(word / 4) : NFT_REG32_00.rawValue + UInt32(word)
    }

    /// The register of one of the kernel's numbers.
    init(number: UInt32) { self.number = number }

    /// Where a verdict map's value goes.
    public static let verdict = Register(number: NFT_REG_VERDICT.rawValue)
}

/// What becomes of a packet.
public enum Verdict: Sendable, Equatable {
    /// It passes this chain's hook.
    case accept
    /// It ends here.
    case drop
    /// It goes on in the chain that jumped here, or after the base chain's last rule.
    case `return`
    /// It goes through a chain, then on with the next rule.
    case jump(String)
    /// It goes through a chain, and does not come back.
    case goto(String)

    var code: Int32 {
        switch self {
        case .accept: 1
        case .drop: 0
        case .return: NFT_RETURN.rawValue
        case .jump: NFT_JUMP.rawValue
        case .goto: NFT_GOTO.rawValue
        }
    }

    var chain: String? {
        switch self {
        case .jump(let chain), .goto(let chain): chain
        default: nil
        }
    }

    init?(code: Int32, chain: String?) {
        switch (code, chain) {
        case (1, _): self = .accept
        case (0, _): self = .drop
        case (NFT_RETURN.rawValue, _): self = .return
        case (NFT_JUMP.rawValue, let chain?): self = .jump(chain)
        case (NFT_GOTO.rawValue, let chain?): self = .goto(chain)
        default: return nil
        }
    }
}

/// One step of a rule.
public enum Expression: Sendable, Equatable {
    /// What is known of a packet besides its bytes.
    public enum Meta: Sendable, CaseIterable {
        /// NFPROTO_IPV4 or NFPROTO_IPV6, one byte.
        case family
        /// The protocol above Ethernet, ETH_P_*, two bytes.
        case `protocol`
        /// The protocol above IP, one byte.
        case ipProtocol
        /// The mark, four bytes of the host's order.
        case mark
        /// The traffic class, four bytes of the host's order.
        case priority
        /// The net_cls.classid of the sending process's cgroup, four bytes of the host's order.
        case netClass
        /// The name of the link it came in by.
        case inputName
        /// The name of the link it goes out by.
        case outputName
    }

    /// What a payload's offset counts from.
    public enum Header: Sendable, CaseIterable {
        /// The link header.
        case link
        /// The network header.
        case network
        /// The transport header.
        case transport
    }

    /// How a register is compared.
    public enum Comparison: Sendable, CaseIterable {
        /// It must be equal.
        case equal
        /// It must differ.
        case different
        /// It must be as great or greater, by its bytes.
        case atLeast
        /// It must be as great or less, by its bytes.
        case atMost
    }

    /// What is known of a packet's connection.
    public enum Conntrack: Sendable {
        /// Whether addresses were translated and the like, IPS_*, four bytes of the host's order.
        case status
        /// The mark, four bytes of the host's order.
        case mark
        /// How the packet belongs to it, `ConnectionStates`, four bytes of the host's order.
        case state
        /// The IPv4 address that it was first sent to.
        case originalDestination
        /// The IPv6 address that it was first sent to.
        case originalDestination6
        /// The port that it was first sent to.
        case originalPort
    }

    /// Loads what is known of the packet.
    case meta(Meta, to: Register)
    /// Sets the mark or the priority.
    case setMeta(Meta, from: Register)
    /// Loads bytes of the packet.
    case payload(Header, offset: Int, length: Int, to: Register)
    /// Ends the rule unless a register holds these bytes, or other ones.
    case compare(Register, Comparison, [UInt8])
    /// Masks a register's bytes, then flips bits.
    case bitwise(Register, mask: [UInt8], flip: [UInt8], to: Register)
    /// Ends the rule unless a set has a register's content, or has it not.
    case lookup(Register, in: String, inverted: Bool = false)
    /// Ends the rule unless a register's content is less than the first bytes, or greater than the second.
    case outside(Register, [UInt8], [UInt8])
    /// Ends the rule unless a register's content is within some ranges, or is not.
    case range(Register, in: Ranges, inverted: Bool = false)
    /// Ends the rule unless a map has a register's content; loads the value.
    case map(Register, by: String, to: Register)
    /// Loads these bytes.
    case immediate([UInt8], to: Register)
    /// Decides.
    case verdict(Verdict)
    /// Gives the packet's connection the address of the link it goes out by.
    case masquerade
    /// Gives the packet's connection another destination: address and port.
    case destinationNAT(TableFamily, address: Register, port: Register)
    /// Loads what is known of the packet's connection.
    case conntrack(Conntrack, to: Register)
    /// Loads the type of the destination address: RTN_LOCAL, ….
    case destinationType(to: Register)
    /// Loads the number of the sending process's cgroup of version 2, or of one above it: the
    /// level counts from the root, eight bytes of the host's order.
    case senderCgroup(level: Int, to: Register)
    /// Loads whether a packet of IPv6 has a fragment header, one byte.
    case isFragment(to: Register)
    /// Counts packets and bytes.
    case counter
    /// Sends the packet out of the link whose index a register holds.
    case forward(Register)
    /// Ends the rule unless a match of iptables passes: its name, its revision, its structure.
    case match(String, revision: Int, [UInt8])
    /// Does what a target of iptables does: its name, its revision, its structure.
    case target(String, revision: Int, [UInt8])

    /// The kernel's name of the expression.
    var name: String {
        switch self {
        case .meta, .setMeta: "meta"
        case .payload: "payload"
        case .compare: "cmp"
        case .bitwise: "bitwise"
        case .lookup, .map, .range: "lookup"
        case .immediate, .verdict: "immediate"
        case .masquerade: "masq"
        case .destinationNAT: "nat"
        case .conntrack: "ct"
        case .destinationType: "fib"
        case .senderCgroup: "socket"
        case .outside: "range"
        case .isFragment: "exthdr"
        case .counter: "counter"
        case .forward: "fwd"
        case .match: "match"
        case .target: "target"
        }
    }

    /// Writes the parameters into libnftnl's expression; `set` is the number of the set that the
    /// same batch has made for its ranges.
    func write(to object: borrowing ExpressionObject, set id: UInt32?) {
        switch self {
        case .meta(let key, let register):
            object.set(NFTNL_EXPR_META_KEY, key.number)
            object.set(NFTNL_EXPR_META_DREG, register.number)
        case .setMeta(let key, let register):
            object.set(NFTNL_EXPR_META_KEY, key.number)
            object.set(NFTNL_EXPR_META_SREG, register.number)
        case .payload(let header, let offset, let length, let register):
            object.set(NFTNL_EXPR_PAYLOAD_BASE, header.number)
            object.set(NFTNL_EXPR_PAYLOAD_OFFSET, UInt32(offset))
            object.set(NFTNL_EXPR_PAYLOAD_LEN, UInt32(length))
            object.set(NFTNL_EXPR_PAYLOAD_DREG, register.number)
        case .compare(let register, let comparison, let bytes):
            object.set(NFTNL_EXPR_CMP_SREG, register.number)
            object.set(NFTNL_EXPR_CMP_OP, comparison.number)
            object.set(NFTNL_EXPR_CMP_DATA, bytes)
        case .bitwise(let source, let mask, let flip, let destination):
            object.set(NFTNL_EXPR_BITWISE_SREG, source.number)
            object.set(NFTNL_EXPR_BITWISE_DREG, destination.number)
            object.set(NFTNL_EXPR_BITWISE_LEN, UInt32(mask.count))
            object.set(NFTNL_EXPR_BITWISE_MASK, mask)
            object.set(NFTNL_EXPR_BITWISE_XOR, flip)
        case .lookup(let register, let set, let inverted):
            object.set(NFTNL_EXPR_LOOKUP_SREG, register.number)
            object.set(NFTNL_EXPR_LOOKUP_SET, set)
            if inverted { object.set(NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV.rawValue) }
        case .range(let register, _, let inverted):
            object.set(NFTNL_EXPR_LOOKUP_SREG, register.number)
            object.set(NFTNL_EXPR_LOOKUP_SET, Ranges.setName)
            if let id { object.set(NFTNL_EXPR_LOOKUP_SET_ID, id) }
            if inverted { object.set(NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV.rawValue) }
        case .map(let source, let map, let destination):
            object.set(NFTNL_EXPR_LOOKUP_SREG, source.number)
            object.set(NFTNL_EXPR_LOOKUP_SET, map)
            object.set(NFTNL_EXPR_LOOKUP_DREG, destination.number)
        case .immediate(let bytes, let register):
            object.set(NFTNL_EXPR_IMM_DREG, register.number)
            object.set(NFTNL_EXPR_IMM_DATA, bytes)
        case .verdict(let verdict):
            object.set(NFTNL_EXPR_IMM_DREG, Register.verdict.number)
            object.set(NFTNL_EXPR_IMM_VERDICT, UInt32(bitPattern: verdict.code))
            if let chain = verdict.chain { object.set(NFTNL_EXPR_IMM_CHAIN, chain) }
        case .masquerade, .counter: break
        case .destinationNAT(let family, let address, let port):
            object.set(NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT.rawValue)
            object.set(NFTNL_EXPR_NAT_FAMILY, UInt32(family.number))
            object.set(NFTNL_EXPR_NAT_REG_ADDR_MIN, address.number)
            object.set(NFTNL_EXPR_NAT_REG_PROTO_MIN, port.number)
        case .conntrack(let key, let register):
            object.set(NFTNL_EXPR_CT_KEY, key.number)
            // IP_CT_DIR_ORIGINAL: the first packet's direction.
            if key.hasDirection { object.set(NFTNL_EXPR_CT_DIR, [0]) }
            object.set(NFTNL_EXPR_CT_DREG, register.number)
        case .destinationType(let register):
            object.set(NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE.rawValue)
            object.set(NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR.rawValue)
            object.set(NFTNL_EXPR_FIB_DREG, register.number)
        case .senderCgroup(let level, let register):
            object.set(NFTNL_EXPR_SOCKET_KEY, NFT_SOCKET_CGROUPV2.rawValue)
            object.set(NFTNL_EXPR_SOCKET_LEVEL, UInt32(level))
            object.set(NFTNL_EXPR_SOCKET_DREG, register.number)
        case .outside(let register, let first, let last):
            object.set(NFTNL_EXPR_RANGE_SREG, register.number)
            object.set(NFTNL_EXPR_RANGE_OP, NFT_RANGE_NEQ.rawValue)
            object.set(NFTNL_EXPR_RANGE_FROM_DATA, first)
            object.set(NFTNL_EXPR_RANGE_TO_DATA, last)
        case .isFragment(let register):
            object.set(NFTNL_EXPR_EXTHDR_DREG, register.number)
            object.set(NFTNL_EXPR_EXTHDR_TYPE, [UInt8(IPPROTO_FRAGMENT)])
            object.set(NFTNL_EXPR_EXTHDR_OFFSET, 0)
            object.set(NFTNL_EXPR_EXTHDR_LEN, 1)
            object.set(NFTNL_EXPR_EXTHDR_FLAGS, UInt32(NFT_EXTHDR_F_PRESENT.rawValue))
            object.set(NFTNL_EXPR_EXTHDR_OP, NFT_EXTHDR_OP_IPV6.rawValue)
        case .forward(let register):
            object.set(NFTNL_EXPR_FWD_SREG_DEV, register.number)
        case .match(let name, let revision, let bytes):
            object.set(NFTNL_EXPR_MT_NAME, name)
            object.set(NFTNL_EXPR_MT_REV, UInt32(revision))
            object.give(NFTNL_EXPR_MT_INFO, bytes)
        case .target(let name, let revision, let bytes):
            object.set(NFTNL_EXPR_TG_NAME, name)
            object.set(NFTNL_EXPR_TG_REV, UInt32(revision))
            object.give(NFTNL_EXPR_TG_INFO, bytes)
        }
    }
}

extension Expression.Comparison {
    fileprivate var number: UInt32 {
        switch self {
        case .equal: NFT_CMP_EQ.rawValue
        case .different: NFT_CMP_NEQ.rawValue
        case .atLeast: NFT_CMP_GTE.rawValue
        case .atMost: NFT_CMP_LTE.rawValue
        }
    }

    /// The comparison of one of the kernel's numbers.
    init?(number: UInt32) {
        guard let known = Self.allCases.first(where: { $0.number == number }) else { return nil }
        self = known
    }
}

extension Expression.Meta {
    fileprivate var number: UInt32 {
        switch self {
        case .family: NFT_META_NFPROTO.rawValue
        case .protocol: NFT_META_PROTOCOL.rawValue
        case .ipProtocol: NFT_META_L4PROTO.rawValue
        case .mark: NFT_META_MARK.rawValue
        case .priority: NFT_META_PRIORITY.rawValue
        case .netClass: NFT_META_CGROUP.rawValue
        case .inputName: NFT_META_IIFNAME.rawValue
        case .outputName: NFT_META_OIFNAME.rawValue
        }
    }

    /// The key of one of the kernel's numbers.
    init?(number: UInt32) {
        guard let key = Self.allCases.first(where: { $0.number == number }) else { return nil }
        self = key
    }
}

extension Expression.Conntrack {
    fileprivate var number: UInt32 {
        switch self {
        case .status: NFT_CT_STATUS.rawValue
        case .mark: NFT_CT_MARK.rawValue
        case .state: NFT_CT_STATE.rawValue
        case .originalDestination: NFT_CT_DST_IP.rawValue
        case .originalDestination6: NFT_CT_DST_IP6.rawValue
        case .originalPort: NFT_CT_PROTO_DST.rawValue
        }
    }

    fileprivate var hasDirection: Bool {
        switch self {
        case .status, .mark, .state: false
        case .originalDestination, .originalDestination6, .originalPort: true
        }
    }
}

extension Expression.Header {
    fileprivate var number: UInt32 {
        switch self {
        case .link: NFT_PAYLOAD_LL_HEADER.rawValue
        case .network: NFT_PAYLOAD_NETWORK_HEADER.rawValue
        case .transport: NFT_PAYLOAD_TRANSPORT_HEADER.rawValue
        }
    }

    /// The header of one of the kernel's numbers.
    init?(number: UInt32) {
        guard let header = Self.allCases.first(where: { $0.number == number }) else { return nil }
        self = header
    }
}
