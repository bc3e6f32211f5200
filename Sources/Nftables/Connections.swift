internal import CLinux
public import Netlink
internal import SystemPackage

/// The connections that a network namespace tracks.
public struct Connections: ~Copyable {
    private var socket: NetlinkSocket

    /// Opens the connections of the thread's network namespace.
    public init() throws(KernelError) { socket = try NetlinkSocket(protocol: NETLINK_NETFILTER) }

    /// A port of a protocol.
    public struct Port: Sendable, Hashable {
        /// The protocol's number.
        public let kind: UInt8
        /// The port.
        public let number: UInt16

        /// A port of a protocol, IPPROTO_*.
        public init(_ kind: UInt8, _ number: UInt16) {
            self.kind = kind
            self.number = number
        }
    }

    /// Forgets the connections that were first sent to one of these ports of an address that counts.
    ///
    /// One that ends by itself meanwhile is as good as forgotten.
    public mutating func forget(
        _ ports: [Port], at counts: (_ address: ArraySlice<UInt8>) throws(KernelError) -> Bool
    ) throws(KernelError) {
        let ports = Set(ports)
        for family in [AF_INET, AF_INET6] {
            let header = CLinux.nfgenmsg(
                nfgen_family: UInt8(family), version: UInt8(NFNETLINK_V0), res_id: 0)
            let list = Message(
                "list connections", type: Self.number(IPCTNL_MSG_CT_GET), answer: .dump, header)
            for reply in try replies(to: list) {
                let attributes = reply.attributes(after: CLinux.nfgenmsg.self)
                guard let tuple = attributes[Int(CTA_TUPLE_ORIG.rawValue)],
                    let end = tuple.nested[Int(CTA_TUPLE_PROTO.rawValue)]?.nested,
                    let kind = end[Int(CTA_PROTO_NUM.rawValue)]?.uint8,
                    let port = end[Int(CTA_PROTO_DST_PORT.rawValue)]?.payload.uint16(at: 0),
                    ports.contains(Port(kind, port.bigEndian)),
                    let address = tuple.nested[Int(CTA_TUPLE_IP.rawValue)]?.nested.first(where: {
                        $0.type == Int(CTA_IP_V4_DST.rawValue)
                            || $0.type == Int(CTA_IP_V6_DST.rawValue)
                    })?.payload, try counts(address)
                else { continue }
                var removal = Message(
                    "forget connection to port \(port.bigEndian)",
                    type: Self.number(IPCTNL_MSG_CT_DELETE), answer: .acknowledgement, header)
                removal.put(
                    Int(CTA_TUPLE_ORIG.rawValue) | Int(NLA_F_NESTED), bytes: Array(tuple.payload))
                if let id = attributes[Int(CTA_ID.rawValue)] {
                    removal.put(Int(CTA_ID.rawValue), bytes: Array(id.payload))
                }
                do throws(KernelError) {
                    try socket.request(removal)
                } catch  where error.errno == .noSuchFileOrDirectory {
                    continue
                }
            }
        }
    }

    /// The answer, or none from a kernel that does not show its connections.
    private mutating func replies(to message: Message) throws(KernelError) -> [Reply] {
        do throws(KernelError) {
            return try socket.request(message)
        } catch  where error.errno == .invalidArgument || error.errno == .notSupported {
            return []
        }
    }

    private static func number(_ type: cntl_msg_types) -> Int {
        Int(NFNL_SUBSYS_CTNETLINK) << 8 | Int(type.rawValue)
    }
}
