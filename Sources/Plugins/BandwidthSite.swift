import Addressing
import CNI
import Netlink
import Plan
import PluginRuntime
import Rtnetlink
import TrafficControl

extension Bandwidth {
    /// An attachment, where it is on the host, and which class it has.
    struct Site {
        let owner: Owner
        let hostEnd: String
        let options: Options
        /// The class's number in every tree.
        var minor: UInt16
        /// The directions whose class is there already and ours.
        var known: [Direction] = []

        private var id: ClassID { ClassID(Tree.root.major, minor) }
        private var group: Group { options.group }

        /// Everything there should be, in the order of making.
        ///
        /// Classes come before what sends packets to them.
        var steps: [any Resource<Kernel>] {
            var steps: [any Resource<Kernel>] = []
            var steering: [any Resource<Kernel>] = []
            for (direction, limit) in [
                (Direction.egress, options.egress), (.ingress, options.ingress),
            ] {
                guard let limit else { continue }
                guard options.usesTree(direction, limit) else {
                    steps += ownTree(limit)
                    continue
                }
                steps += sharedTree(direction) + classes(limit, direction)
                steering.append(self.steering(direction))
                if direction == .ingress {
                    steps.append(Qdisc(.clsact, on: hostEnd, .shared))
                    steps.append(LastFilter(of: hostEnd, .owned))
                }
            }
            if !steering.isEmpty { steps.append(SteeringTable(group.table)) }
            return steps + steering
        }

        /// A container that shares nothing with others is held back at its host's end: no
        /// classifying, no second queue.
        private func ownTree(_ limit: Options.Limit) -> [any Resource<Kernel>] {
            var own = TrafficClass(
                id, of: Tree.root, on: hostEnd, rate: limit.ceil, ceil: limit.ceil, .owned)
            own.burst = limit.burst
            return [
                Qdisc(.htb(standard: minor), on: hostEnd, .owned), own,
                leaf(limit, on: hostEnd, .owned),
            ]
        }

        /// What a group's containers share.
        private func sharedTree(_ direction: Direction) -> [any Resource<Kernel>] {
            let link = group.link(direction)
            var ifb = Link(link, .ifb, in: .host, .shared)
            ifb.queueLength = 1000
            ifb.isUp = true
            let rate = group.linkRate ?? Self.unlimited
            var whole = TrafficClass(
                Tree.link, of: Tree.root, on: link, rate: rate, ceil: rate, .shared)
            whole.isAsFound = group.linkRate == nil
            var standard = TrafficClass(
                Tree.standard, of: Tree.link, on: link, rate: Rate(bitsPerSecond: 8_000_000),
                ceil: Self.unlimited, .shared)
            standard.priority = 7
            standard.isAsFound = true
            return [
                ifb, Qdisc(.htb(standard: Tree.standard.minor), on: link, .shared), whole,
                standard,
            ]
        }

        /// The container's class in a shared tree, and its leaf.
        private func classes(
            _ limit: Options.Limit, _ direction: Direction
        ) -> [any Resource<Kernel>] {
            let link = group.link(direction)
            let isNew = !known.contains(direction)
            var own = TrafficClass(
                id, of: Tree.link, on: link, rate: limit.rate, ceil: limit.ceil, .owned)
            own.isExclusive = isNew
            own.burst = limit.burst
            own.priority = limit.priority
            return [own, leaf(limit, on: link, isNew ? .part : .owned)]
        }

        private func leaf(_ limit: Options.Limit, on link: String, _ sharing: Sharing) -> Qdisc {
            .leaf(
                of: id, ceil: limit.ceil, milliseconds: limit.queueMilliseconds, on: link, sharing)
        }

        private func steering(_ direction: Direction) -> Steering {
            var steering = Steering(
                direction, of: hostEnd, to: id, on: group.link(direction), table: group.table,
                owner: owner.tag, .owned)
            steering.onlyTo = options.shapedSubnets
            steering.exceptTo = options.unshapedSubnets
            steering.markMask = group.markMask
            return steering
        }

        /// Refuses a guarantee that the group's rate cannot keep together with the others'.
        func requireRoom(_ kernel: Kernel) throws(CNIError) {
            guard let linkRate = group.linkRate else { return }
            for (direction, limit) in [
                (Direction.egress, options.egress), (.ingress, options.ingress),
            ] {
                guard let limit else { continue }
                let link = group.link(direction)
                let classes = try wrapping { () throws(KernelError) in
                    try kernel.trafficClasses(of: link, in: .host)
                }
                var others: UInt64 = 0
                for other in classes
                where Tree.containers.contains(other.id.minor) && other.id.minor != minor {
                    others += other.rate.bitsPerSecond
                }
                guard others + limit.rate.bitsPerSecond <= linkRate.bitsPerSecond else {
                    throw CNIError(
                        .invalidConfiguration,
                        "shaping.\(direction).rate: \(limit.rate) and the "
                            + "\(Rate(bitsPerSecond: others)) that others are guaranteed on \(link)"
                            + " are more than linkRate, \(linkRate)")
                }
            }
        }

        /// Beyond what any link has.
        private static let unlimited = Rate(bitsPerSecond: 100_000_000_000)
    }
}

extension Bandwidth.Options {
    /// Whether a direction needs the tree that the group shares.
    fileprivate func usesTree(_ direction: Direction, _ limit: Limit) -> Bool {
        direction == .egress || limit.borrows || group.linkRate != nil || group.markMask != nil
            || !shapedSubnets.isEmpty || !unshapedSubnets.isEmpty
    }
}
