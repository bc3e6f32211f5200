internal import CLinux
public import Netlink
internal import SystemPackage

/// The nftables of a network namespace.
public struct Ruleset: ~Copyable {
    var socket: NetlinkSocket

    /// Opens the nftables of the thread's network namespace.
    public init() throws(KernelError) { socket = try NetlinkSocket(protocol: NETLINK_NETFILTER) }

    /// Makes all changes, or none.
    ///
    /// - Throws: The error of the first change that the kernel refuses; ERESTART if a generation is
    ///   given and somebody has changed the ruleset since.
    public mutating func commit(
        _ batch: Batch, generation: UInt32? = nil
    ) throws(KernelError) {
        try socket.commit(
            batch.messages, to: Int32(NFNL_SUBSYS_NFTABLES), generation: generation)
    }

    /// Makes all changes, or none, and returns what the kernel calls the rules whose handles are asked for,
    /// in their order.
    public mutating func commitHandled(_ batch: Batch) throws(KernelError) -> [UInt64] {
        let replies = try socket.commit(batch.messages, to: Int32(NFNL_SUBSYS_NFTABLES))
        return replies.joined().compactMap { reply in
            guard reply.type == number(NFT_MSG_NEWRULE) else { return nil }
            let attributes = reply.attributes(after: CLinux.nfgenmsg.self)
            return attributes[Int(NFTA_RULE_HANDLE.rawValue)]?.uint64?.bigEndian
        }
    }

    /// The ruleset's generation, which every change raises; nil on a kernel without nftables.
    public mutating func generation() throws(KernelError) -> UInt32? {
        let message = Message(
            "read the ruleset's generation", type: number(NFT_MSG_GETGEN), answer: .object,
            nfgenmsg(nil))
        do throws(KernelError) {
            let attributes = try socket.request(message).first?
                .attributes(after: CLinux.nfgenmsg.self)
            return attributes?[Int(NFTA_GEN_ID.rawValue)]?.uint32?.bigEndian
        } catch  where error.errno == .invalidArgument {
            // What a netfilter without this subsystem answers.
            return nil
        }
    }
}
