import CNI
import Netlink
import Plan
import PluginRuntime
import Rtnetlink
import TrafficControl

extension Bandwidth.Site {
    /// Refuses a guarantee that the one above it cannot keep together with the others', unless it is no
    /// more than what the attachment has already.
    func requireRoom(_ kernel: Kernel) throws(CNIError) {
        for direction in Direction.allCases {
            guard let limit = options[direction], ways[direction] == .shared else { continue }
            let link = options.group.link(direction)
            let tenant = options.group.tenant?[direction]
            let room = try wrapping { () throws(KernelError) -> Room? in
                let given = options.group.linkRate
                let whole = given == nil ? try kernel.linkRate(of: link) : given
                guard tenant != nil || whole != nil else { return nil }
                // Two at once would both find the same room.
                try kernel.takeTurn("guarantees of \(options.group.name)")
                return Room(
                    link, whole, isBound: given != nil || tenant != nil,
                    try kernel.guarantees(on: link, in: .host))
            }
            guard let room else { continue }
            let own = Set([numbers.own.id] + numbers.former)
            if let tenant, let id = numbers.tenant?.id {
                try room.require(
                    limit.rate, of: "\(direction)", in: id, instead: own, tenant.rate,
                    "the tenant's guarantee")
            }
            guard let whole = room.whole else { continue }
            var (wanted, instead) = (tenant?.rate ?? limit.rate, own)
            if let id = numbers.tenant?.id { instead.insert(id) }
            instead.formUnion(room.tenants(of: own))
            if direction == .egress, let processes = options.group.processes {
                wanted = processes.classes.map(\.limit.rate).reduce(wanted, +)
                instead.formUnion(numbers.processes.map(\.id))
            }
            try room.require(
                wanted, of: tenant == nil ? "\(direction)" : "tenant.\(direction)", in: Tree.link,
                instead: instead, whole, "linkRate")
        }
    }

    /// What is guaranteed in a tree.
    private struct Room {
        let link: String
        /// What the link has; nil for what it can.
        let whole: Rate?
        /// Whether that is of the configuration, and not of others in the tree.
        let isBound: Bool
        let classes: [(id: ClassID, parent: ClassID, rate: Rate)]

        init(
            _ link: String, _ whole: Rate?, isBound: Bool,
            _ classes: [(id: ClassID, parent: ClassID, rate: Rate)]
        ) {
            self.link = link
            self.whole = whole
            self.isBound = isBound
            self.classes = classes
        }

        /// The tenants that nobody is in but an attachment's classes: they go with them.
        func tenants(of own: Set<ClassID>) -> Set<ClassID> {
            Set(classes.filter { own.contains($0.id) }.map(\.parent)).filter { parent in
                Tree.tenants.contains(parent.minor)
                    && classes.allSatisfy { $0.parent != parent || own.contains($0.id) }
            }
        }

        /// Refuses a guarantee in a class that takes the place of some others, if the class has not
        /// so much left.
        func require(
            _ wanted: Rate, of key: String, in parent: ClassID, instead former: Set<ClassID>,
            _ most: Rate, _ whole: String
        ) throws(CNIError) {
            let there = classes.filter { $0.parent == parent && $0.id != Tree.standard }
            let had = there.filter { former.contains($0.id) }.map(\.rate).reduce(.none, +)
            let others = there.filter { !former.contains($0.id) }.map(\.rate).reduce(.none, +)
            guard wanted > had, others + wanted > most, isBound || others > .none else { return }
            throw CNIError(
                .invalidConfiguration,
                "shaping.\(key).rate: \(wanted) and the \(others) that others are guaranteed on "
                    + "\(link) are more than \(whole), \(most)")
        }
    }
}

extension Kernel {
    /// What another container's configuration has said that a link has; nil if none has.
    fileprivate func linkRate(of link: String) throws(KernelError) -> Rate? {
        let whole = TrafficClass(
            Tree.link, of: Tree.root, on: link, rate: .none, ceil: .none, .shared)
        return try whole.read(self).flatMap {
            $0.rate < Tree.unlimited ? $0.rate : nil
        }
    }
}
