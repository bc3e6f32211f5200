internal import CLinux

/// Which packets a table sees.
public enum TableFamily: Sendable, Hashable {
    /// IPv4 and IPv6.
    case inet
    /// IPv4.
    case ip
    /// IPv6.
    case ip6
    /// Packets that a bridge handles.
    case bridge
    /// All packets of a device.
    case netdev

    /// The word that `nft` has for it.
    public var name: String {
        switch self {
        case .inet: "inet"
        case .ip: "ip"
        case .ip6: "ip6"
        case .bridge: "bridge"
        case .netdev: "netdev"
        }
    }

    /// The NFPROTO_* number.
    var number: UInt8 {
        switch self {
        case .inet: UInt8(NFPROTO_INET)
        case .ip: UInt8(NFPROTO_IPV4)
        case .ip6: UInt8(NFPROTO_IPV6)
        case .bridge: UInt8(NFPROTO_BRIDGE)
        case .netdev: UInt8(NFPROTO_NETDEV)
        }
    }
}

/// A table: the name space of chains and sets.
public struct Table: Sendable, Hashable, CustomStringConvertible {
    /// Which packets it sees.
    public let family: TableFamily
    /// Its name.
    public let name: String

    /// A table.
    public init(_ family: TableFamily, _ name: String) {
        self.family = family
        self.name = name
    }

    /// `table inet nat`.
    public var description: String { "table " + family.name + " " + name }
}

/// A list of rules.
public struct Chain: Sendable, Hashable, CustomStringConvertible {
    /// How many bytes a chain's name has at most: NFT_CHAIN_MAXNAMELEN, less the byte that ends it.
    public static let longestName = Int(NFT_CHAIN_MAXNAMELEN) - 1

    /// Where packets enter a chain by themselves.
    public struct Hook: Sendable, Hashable {
        /// What a chain may do with packets.
        public enum Kind: String, Sendable {
            /// Pass or drop them.
            case filter
            /// Translate the addresses of their connections.
            case nat
            /// Route them again.
            case route
        }

        /// What the chain may do.
        public let kind: Kind
        /// NF_INET_PRE_ROUTING, …, or NF_NETDEV_INGRESS, ….
        public let number: Int
        /// The chain's place among those of the hook; lower ones come first.
        public let priority: Int
        /// The device, for a table of family netdev.
        public let device: String?

        /// A hook.
        public init(_ kind: Kind, _ number: Int, priority: Int, device: String? = nil) {
            self.kind = kind
            self.number = number
            self.priority = priority
            self.device = device
        }

        /// Before a packet is routed, or seen by a bridge.
        public static func prerouting(_ kind: Kind, priority: Int) -> Hook {
            Hook(kind, Int(NF_INET_PRE_ROUTING.rawValue), priority: priority)
        }
        /// A packet that is for the host itself.
        public static func input(_ kind: Kind, priority: Int) -> Hook {
            Hook(kind, Int(NF_INET_LOCAL_IN.rawValue), priority: priority)
        }
        /// A packet that the host itself sends, before it is routed.
        public static func output(_ kind: Kind, priority: Int) -> Hook {
            Hook(kind, Int(NF_INET_LOCAL_OUT.rawValue), priority: priority)
        }
        /// A packet that the host, or a bridge, passes on.
        public static func forward(_ kind: Kind, priority: Int) -> Hook {
            Hook(kind, Int(NF_INET_FORWARD.rawValue), priority: priority)
        }
        /// Before a packet leaves the host.
        public static func postrouting(_ kind: Kind, priority: Int) -> Hook {
            Hook(kind, Int(NF_INET_POST_ROUTING.rawValue), priority: priority)
        }
        /// A packet that a device has received.
        public static func ingress(of device: String, priority: Int) -> Hook {
            Hook(.filter, Int(NF_NETDEV_INGRESS.rawValue), priority: priority, device: device)
        }
        /// A packet that a device is about to send.
        public static func egress(of device: String, priority: Int) -> Hook {
            Hook(.filter, Int(NF_NETDEV_EGRESS.rawValue), priority: priority, device: device)
        }
    }

    /// The table it is in.
    public let table: Table
    /// Its name.
    public let name: String
    /// Where packets enter it; nil for a chain that others jump to.
    public let hook: Hook?

    /// A chain.
    public init(_ name: String, in table: Table, _ hook: Hook? = nil) {
        self.table = table
        self.name = name
        self.hook = hook
    }

    /// `chain postrouting in table inet nat`.
    public var description: String { "chain " + name + " in " + table.description }
}

/// A rule: expressions that a packet passes through until one does not match.
public struct Rule: Sendable, Equatable {
    /// The chain it is in.
    public let chain: Chain
    /// The expressions, in order.
    public let expressions: [Expression]
    /// The comment that `nft` shows.
    public let comment: String?
    /// Whose it is, where no tool shows it; with a comment there is no room for it.
    public let owner: String?

    /// The number of an owner among the user data, of which neither nft nor iptables has one.
    static let ownerType: UInt32 = 0x6f

    /// A rule.
    public init(
        in chain: Chain, comment: String? = nil, owner: String? = nil,
        _ expressions: [Expression]
    ) {
        self.owner = owner
        self.chain = chain
        self.expressions = expressions
        self.comment = comment
    }
}

/// The type of a set's key or of a map's value, as `nft` knows it.
public struct DataType: Sendable, Equatable {
    /// nft's number of the type.
    let number: UInt32
    /// Bytes of a value.
    let size: Int
    /// Whether values are in the host's byte order, not the network's.
    let isHostOrder: Bool

    private init(_ number: UInt32, _ size: Int, isHostOrder: Bool = false) {
        self.number = number
        self.size = size
        self.isHostOrder = isHostOrder
    }

    /// An IPv4 address.
    public static let ipv4 = DataType(7, 4)
    /// An IPv6 address.
    public static let ipv6 = DataType(8, 16)
    /// A hardware address.
    public static let ethernet = DataType(9, 6)
    /// A protocol above IP.
    public static let ipProtocol = DataType(12, 1)
    /// A port.
    public static let port = DataType(13, 2)
    /// A packet's mark.
    public static let mark = DataType(19, 4, isHostOrder: true)
    /// A link's index.
    public static let interfaceIndex = DataType(20, 4, isHostOrder: true)
    /// A number.
    public static let number = DataType(4, 4, isHostOrder: true)
    /// A cgroup of version 2.
    public static let cgroup = DataType(46, 8, isHostOrder: true)
    /// A traffic class, as in `skb->priority`.
    public static let classID = DataType(23, 4, isHostOrder: true)
    /// A link's name.
    public static let interfaceName = DataType(41, 16, isHostOrder: true)
}

/// A named set, or a map when it has values.
public struct NamedSet: Sendable, Hashable, CustomStringConvertible {
    /// What a map gives for a key.
    public enum Value: Sendable, Equatable {
        /// Nothing: it is a set.
        case none
        /// Data of a type, or of several one after another.
        case data([DataType])
        /// A verdict.
        case verdict
    }

    /// The table it is in.
    public let table: Table
    /// Its name.
    public let name: String
    /// The types that make up a key.
    public let key: [DataType]
    /// What its elements have besides a key.
    public let value: Value
    /// Whether each element counts the packets and bytes that find it.
    public let isCounting: Bool

    /// A set, or a map.
    public init(
        _ name: String, in table: Table, of key: [DataType], to value: Value = .none,
        isCounting: Bool = false
    ) {
        self.table = table
        self.name = name
        self.key = key
        self.value = value
        self.isCounting = isCounting
    }

    /// Its name tells it from nearly all others.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(table.name)
        hasher.combine(name)
    }

    /// `set ports in table inet nat`.
    public var description: String {
        (value == .none ? "set " : "map ") + name + " in " + table.description
    }
}

/// An element of a set or of a map.
public struct Element: Sendable, Equatable {
    /// What a map gives for the key.
    public enum Value: Sendable, Equatable {
        /// Data.
        case data([UInt8])
        /// A verdict.
        case verdict(Verdict)
    }

    /// The key.
    public let key: [UInt8]
    /// The value, in a map.
    public let value: Value?
    /// The comment, which says whose it is.
    public let comment: String?
    /// What has found it, as the kernel shows it, in a set that counts.
    public internal(set) var count: Count?
    /// Whether an interval ends before the key, in a set of intervals.
    var isEnd = false

    /// Packets and bytes.
    public struct Count: Sendable, Equatable {
        /// Packets.
        public let packets: UInt64
        /// Their bytes, link headers included.
        public let bytes: UInt64
    }

    /// The longest comment, in bytes, that the kernel keeps.
    ///
    /// Its type, length and NUL come to it, and from 255 bytes on the kernel takes the whole
    /// without an error but loses it.
    public static let longestComment = 251

    /// An element.
    public init(_ key: [UInt8], _ value: Value? = nil, comment: String? = nil) {
        self.key = key
        self.value = value
        self.comment = comment
    }

    /// The parts of a key one after another, each filled up to a multiple of four bytes.
    public static func key(_ parts: [UInt8]...) -> [UInt8] {
        guard parts.count > 1 else { return parts.first ?? [] }
        var key: [UInt8] = []
        for part in parts {
            key += part
            while key.count % 4 != 0 { key.append(0) }
        }
        return key
    }

    /// A link's name as a key or as a part of one.
    public static func interfaceName(_ name: String) -> [UInt8] {
        var bytes = Array(name.utf8.prefix(15))
        while bytes.count < 16 { bytes.append(0) }
        return bytes
    }
}
