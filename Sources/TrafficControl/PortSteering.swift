public import Netlink
internal import Nftables
public import Plan
public import Rtnetlink
internal import SystemPackage

/// What steers the packets of a port, in one direction or in both: one transaction, as the kernel looks
/// through the whole table for each.
public struct PortSteering: Resource {
    /// The directions that are steered.
    public let parts: [Steering]
    /// One that is not, or is not any more.
    private let unwanted: Steering?

    /// The steering of a port, one part of each direction at most and one at least; in the direction of
    /// `unwanted` nothing is to be left.
    public init(_ parts: [Steering], without unwanted: Steering? = nil) {
        self.parts = parts
        self.unwanted = unwanted
    }

    /// An attachment's alone.
    public var sharing: Sharing { .owned }

    /// `steering of veth0 by shaper`.
    public var description: String {
        parts.first.map { "steering of \($0.port) by \($0.table)" } ?? "steering of nothing"
    }

    private var side: Side { parts.first?.side ?? .host }

    /// What the port has, whoever owns it.
    public func read(_ kernel: Kernel) throws(KernelError) -> PortSteering? {
        let all = parts + [unwanted].compactMap { $0 }
        var found: [Steering] = []
        for (part, element) in zip(all, try kernel.elements(of: all)) where element != nil {
            if let there = try part.read(kernel) { found.append(there) }
        }
        return found.isEmpty ? nil : PortSteering(found)
    }

    /// Puts what differs in place, and takes away what is found beside it.
    public func write(_ kernel: Kernel, over found: PortSteering?) throws(KernelError) {
        var new: [Steering] = []
        var changed: [Steering] = []
        for part in parts {
            guard let there = found?[part.direction] else {
                new.append(part)
                continue
            }
            if !part.differences(from: there).isEmpty || part.rules(link: 0) != there.rules(link: 0)
            {
                changed.append(part)
            }
        }
        let surplus = found?.parts.filter { self[$0.direction] == nil } ?? []
        guard !new.isEmpty || !changed.isEmpty || !surplus.isEmpty else { return }
        var indices: [String: UInt32] = [:]
        for part in parts { indices[part.link] = try kernel.index(of: part.link, in: part.side) }
        func commit(replacingChains: Bool) throws(KernelError) {
            var batch = Batch()
            if let table = parts.first?.map.table { batch.add(table) }
            for part in new + changed {
                let isChanged = found?[part.direction] != nil
                part.add(
                    to: &batch, link: indices[part.link] ?? 0,
                    replacesChain: replacingChains || isChanged, replacesElement: isChanged)
            }
            for part in surplus { part.remove(from: &batch, withChain: part.way == .rules) }
            try kernel.withRules(side) { (rules) throws(KernelError) in try rules.commit(batch) }
        }
        do throws(KernelError) {
            // A chain is rarely there without its element, and removing one costs milliseconds.
            try commit(replacingChains: false)
        } catch  where error.errno == .fileExists && !new.isEmpty {
            try commit(replacingChains: true)
        }
    }

    /// Takes chains and elements away, as far as they are the owner's.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        let there = zip(parts, try kernel.elements(of: parts)).filter { $0.owner == $1?.owner }
            .map(\.0)
        guard !there.isEmpty else { return }
        func commit(_ parts: [Steering], withChains: Bool) throws(KernelError) {
            var batch = Batch()
            for part in parts { part.remove(from: &batch, withChain: withChains) }
            try kernel.withRules(side) { (rules) throws(KernelError) in try rules.commit(batch) }
        }
        do throws(KernelError) {
            try commit(there, withChains: true)
        } catch  where error.errno == .noSuchFileOrDirectory {
            // Some kernels take a chain away with its device, and not every way has one.
            for part in there {
                do throws(KernelError) {
                    try commit([part], withChains: true)
                } catch  where error.errno == .noSuchFileOrDirectory {
                    try unlessAbsent { () throws(KernelError) in
                        try commit([part], withChains: false)
                    }
                }
            }
        }
    }

    /// How `found` misses this.
    public func differences(from found: PortSteering) -> [Difference] {
        var all: [Difference] = []
        for part in parts {
            if let there = found[part.direction] {
                all += part.differences(from: there)
            } else {
                all.append(Difference(part.description, wanted: "present", found: "absent"))
            }
        }
        for there in found.parts where self[there.direction] == nil {
            all.append(Difference(there.description, wanted: "absent", found: "present"))
        }
        return all
    }

    private subscript(_ direction: Direction) -> Steering? {
        parts.first { $0.direction == direction }
    }
}

extension Kernel {
    /// The elements of ports in one namespace, which say whose class each has; nil for each that has none.
    ///
    /// There is no look at the rules.
    public func elements(of ports: [Steering]) throws(KernelError) -> [Steering?] {
        guard let side = ports.first?.side else { return [] }
        let found = try withRules(side) { (rules) throws(KernelError) in
            try rules.find(ports.map { .element($0.map, $0.key) })
        }
        return zip(ports, found).map { port, finding in
            finding?.element.flatMap { Steering($0, like: port) }
        }
    }
}
