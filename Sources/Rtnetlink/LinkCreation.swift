internal import Addressing
internal import CLinux
internal import Netlink
internal import Plan
internal import SystemPackage

/// How a link that is not there is made.
extension Link {
    /// One message makes the link, its peer in the peer's namespace, and joins it to its bridge.
    func create(_ kernel: Kernel) throws(KernelError) {
        var message = Message(
            "add \(description)\(peerDescription)", type: RTM_NEWLINK,
            flags: [.create, .exclusive], ifinfomsg())
        message.put(IFLA_IFNAME, name)
        if let mtu { message.put(IFLA_MTU, UInt32(mtu)) }
        if let mac = mac ?? firstMAC { message.put(IFLA_ADDRESS, bytes: mac.bytes) }
        if let queueLength { message.put(IFLA_TXQLEN, UInt32(queueLength)) }
        if let master {
            message.put(IFLA_MASTER, try kernel.index(of: master, in: side))
        }
        let namespace =
            if case .veth(let peer) = kind, peer.side != side {
                try kernel.containerDescriptor().rawValue
            } else { Int32?.none }
        message.nest(IFLA_LINKINFO) { info in
            info.put(IFLA_INFO_KIND, kind.name)
            guard kind != .ifb else { return }
            info.nest(IFLA_INFO_DATA) { data in
                switch kind {
                case .ifb: break
                case .bridge(let filtersVLANs):
                    if filtersVLANs { data.put(IFLA_BR_VLAN_FILTERING, UInt8(1)) }
                    if let learnsFromLinkLocal { data.putLearning(learnsFromLinkLocal) }
                case .veth(let peer):
                    data.nest(VETH_INFO_PEER) { end in
                        // The peer must not come up here: veth cannot open before its other end.
                        end.embed(ifinfomsg())
                        end.put(IFLA_IFNAME, peer.name)
                        if let mtu { end.put(IFLA_MTU, UInt32(mtu)) }
                        if let mac = peer.mac { end.put(IFLA_ADDRESS, bytes: mac.bytes) }
                        if let namespace { end.put(IFLA_NET_NS_FD, UInt32(namespace)) }
                    }
                }
            }
        }
        try create(message, kernel)
    }

    private func create(_ creation: Message, _ kernel: Kernel) throws(KernelError) {
        var look = Message("find \(description)", type: RTM_GETLINK, ifinfomsg())
        look.put(IFLA_IFNAME, name)
        look.skipCounters()
        let before = try steadying(kernel)
        let results = try kernel.exchange(side, before + [creation, look])
            .dropFirst(before.count)
        do throws(KernelError) {
            _ = try results[results.startIndex].get()
        } catch  where error.errno == .fileExists && sharing == .shared {
            // Another ADD made it between our look and our message: it is as good as ours.
            return
        } catch  where error.errno == .exchangeFull {
            throw KernelError(
                error.operation, error.errno,
                detail: "\(master ?? "") has \(Kernel.mostBridgePorts) ports, the most of a bridge")
        }
        guard
            let state = try results[results.startIndex + 1].get().lazy.compactMap({ LinkState($0) })
                .first
        else {
            throw KernelError("find \(description)", .noSuchDevice)
        }
        try kernel.remember(state, in: side)
        if case .veth(let peer) = kind, let index = state.peer {
            kernel.remember(index, of: peer.name, in: peer.side)
        }
    }

    /// What makes an idle bridge keep its address: it would take its first port's, and lose it
    /// again with the port.
    private func steadying(_ kernel: Kernel) throws(KernelError) -> [Message] {
        guard let master, let bridge = try kernel.known(master, in: side),
            bridge.kind == "bridge", !bridge.isRunning, let mac = bridge.mac
        else { return [] }
        return [try kernel.confirmation(of: mac, of: master, in: side)]
    }

    private var peerDescription: String {
        guard case .veth(let peer) = kind else { return "" }
        return " with peer \(peer.name) in the \(peer.side)"
    }
}

extension Message {
    /// Says whether a bridge learns from link-local frames.
    mutating func putLearning(_ isOn: Bool) {
        let bit = UInt32(1) << BR_BOOLOPT_NO_LL_LEARN.rawValue
        let options = br_boolopt_multi(optval: isOn ? 0 : bit, optmask: bit)
        put(
            IFLA_BR_MULTI_BOOLOPT,
            bytes: unsafe withUnsafeBytes(of: options) { bytes in unsafe Array(bytes) })
    }
}
