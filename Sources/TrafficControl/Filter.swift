internal import CLinux
public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// A filter on the packets that a link receives or sends, at its clsact qdisc.
public struct Filter: Resource {
    /// Which packets of the link it sees.
    public enum Hook: Sendable, Equatable {
        /// Those that come in by the link.
        case ingress
        /// Those that leave by the link.
        case egress
    }

    /// What it does.
    public enum Action: Sendable, Equatable, CustomStringConvertible {
        /// Gives packets a class and sends them out of another link, by a program whose name says
        /// whose they are.
        case redirect(to: String, as: ClassID, owner: String)
        /// Lets packets pass, which ends the look for a filter.
        case pass

        /// The action as `tc` prints it.
        public var description: String {
            switch self {
            case .redirect(let link, let id, let owner): "\(id) by \(link) for \(owner)"
            case .pass: "pass"
            }
        }
    }

    /// The link's name.
    public let link: String
    /// The namespace the link is in.
    public let side: Side
    /// Which packets it sees.
    public let hook: Hook
    /// Its place among the filters of the hook: the lowest is asked first.
    public let preference: UInt16
    /// What it does.
    public private(set) var action: Action
    /// Whose it is.
    public let sharing: Sharing

    /// A filter of a link.
    public init(
        _ action: Action, on hook: Hook, of link: String, in side: Side = .host,
        preference: UInt16, _ sharing: Sharing
    ) {
        self.action = action
        self.hook = hook
        self.link = link
        self.side = side
        self.preference = preference
        self.sharing = sharing
    }

    /// `ingress filter 1 of veth0`.
    public var description: String {
        "\(hook == .ingress ? "ingress" : "egress") filter \(preference) of \(link)"
    }

    /// The filter as it is, or nil if there is none of its kind in its place.
    public func read(_ kernel: Kernel) throws(KernelError) -> Filter? {
        guard let index = try kernel.presentIndex(of: link, in: side) else { return nil }
        let message = Message(
            "find \(description)", type: RTM_GETTFILTER, flags: .dump,
            tcmsg(index: index, parent: place))
        let replies = try ifPresent { () throws(KernelError) in
            try kernel.request(side, message)
        }
        for reply in replies ?? [] where reply.type == RTM_NEWTFILTER {
            guard let info = reply.payload.uint32(at: 16), info >> 16 == UInt32(preference)
            else { continue }
            let attributes = reply.attributes(after: tcmsg.self)
            guard attributes[Int(TCA_KIND)]?.text == kindName,
                let options = attributes[Int(TCA_OPTIONS)]?.nested
            else { continue }
            var found = self
            switch action {
            case .pass:
                guard options[Int(TCA_U32_CLASSID)] != nil else { continue }
            case .redirect(let link, _, _):
                let words = (options[Int(TCA_BPF_NAME)]?.text ?? "").split(
                    separator: " ", maxSplits: 1)
                guard words.count == 2, let id = ClassID(words[0]) else { continue }
                found.action = .redirect(to: link, as: id, owner: String(words[1]))
            }
            return found
        }
        return nil
    }

    /// Adds the filter, or puts it in the place of the one that is there.
    public func write(_ kernel: Kernel, over found: Filter?) throws(KernelError) {
        let index = try kernel.index(of: link, in: side)
        var message = Message(
            "add \(description)", type: RTM_NEWTFILTER,
            flags: action == .pass ? [.create] : [.create, .replace],
            header(index, handle: action == .pass ? 0 : 1))
        message.put(Int(TCA_KIND), kindName)
        switch action {
        case .pass:
            guard found == nil else { return }
            message.nest(Int(TCA_OPTIONS)) { options in
                options.put(Int(TCA_U32_CLASSID), Tree.link.handle)
                var selector = tc_u32_sel()
                selector.flags = UInt8(TC_U32_TERMINAL)
                selector.nkeys = 1
                // The selector and its one key, which is all zero: every packet matches.
                var bytes = unsafe withUnsafeBytes(of: selector) { unsafe Array($0) }
                bytes += [UInt8](repeating: 0, count: MemoryLayout<tc_u32_key>.size)
                options.put(Int(TCA_U32_SEL), bytes: bytes)
            }
            try kernel.request(side, message)
        case .redirect(let target, let id, let owner):
            let program = linux_load_redirect(
                id.handle, try kernel.index(of: target, in: side))
            guard program >= 0 else { throw KernelError(lastOf: "load program of \(description)") }
            let descriptor = FileDescriptor(rawValue: program)
            defer { try? descriptor.close() }
            message.nest(Int(TCA_OPTIONS)) { options in
                options.put(Int(TCA_BPF_FD), UInt32(program))
                options.put(Int(TCA_BPF_NAME), "\(id) \(owner)")
                options.put(Int(TCA_BPF_FLAGS), UInt32(TCA_BPF_FLAG_ACT_DIRECT))
            }
            try kernel.request(side, message)
        }
    }

    /// Removes the filter.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard let index = try kernel.presentIndex(of: link, in: side),
            try read(kernel) != nil
        else { return }
        let message = Message("remove \(description)", type: RTM_DELTFILTER, header(index))
        try unlessAbsent { () throws(KernelError) in try kernel.request(side, message) }
    }

    /// How `found` misses this filter.
    public func differences(from found: Filter) -> [Difference] {
        [Difference(in: description, wanted: action, found: found.action)].compactMap { $0 }
    }

    private var place: UInt32 { hook == .ingress ? Place.ingress : Place.egress }

    private var kindName: String { action == .pass ? "u32" : "bpf" }

    private func header(_ index: UInt32, handle: UInt32 = 0) -> tcmsg {
        tcmsg(
            index: index, parent: place, handle: handle,
            info: UInt32(preference) << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian))
    }
}

extension Kernel {
    /// Whether a link has a filter of anybody's at its clsact qdisc.
    func hasFilters(_ link: String, in side: Side) throws(KernelError) -> Bool {
        guard let index = try presentIndex(of: link, in: side) else { return false }
        for place in [Place.ingress, Place.egress] {
            let message = Message(
                "list filters of \(link)", type: RTM_GETTFILTER, flags: .dump,
                tcmsg(index: index, parent: place))
            let replies = try ifPresent { () throws(KernelError) in
                try request(side, message)
            }
            if replies?.contains(where: { $0.type == RTM_NEWTFILTER }) == true { return true }
        }
        return false
    }
}
