import CNI
import Netlink
import Plan
import PluginRuntime
import Rtnetlink
import TrafficControl

extension Bandwidth {
    /// An attachment, where and in which way it is held back, and which classes it has.
    struct Site {
        let owner: Owner
        let place: Place
        let ways: Ways
        let options: Options
        let numbers: Numbers

        private var group: Group { options.group }

        /// Everything there should be, in the order of making.
        ///
        /// Names come before classes, and classes before what sends packets to them.
        func steps() throws(CNIError) -> [any Resource<Kernel>] {
            var names: [any Resource<Kernel>] = []
            var trees: [any Resource<Kernel>] = []
            var classes: [any Resource<Kernel>] = []
            var common: [any Resource<Kernel>] = []
            var filters: [any Resource<Kernel>] = []
            var steering: [Steering] = []
            for direction in Direction.allCases {
                guard let limit = options[direction], let way = ways[direction] else { continue }
                let hostEnd = place.hostEnd ?? ""
                switch way {
                case .shared:
                    let link = Port(group.link(direction), .host)
                    trees += sharedTree(on: link)
                    classes += self.classes(limit, direction, on: link)
                    let own = self.steering(direction, of: Port(hostEnd, .host), to: link)
                    steering.append(own)
                    if own.way == .rules {
                        common.append(GroupChain(direction, to: link.name, table: group.table))
                    }
                    if own.way == .filters {
                        classes.append(ClassFilter(own.id, of: hostEnd, on: link.name, .owned))
                    }
                    guard direction == .ingress || own.way != .rules else { continue }
                    filters.append(LastFilter(own, .owned))
                case .hostEnd: trees += ownTree(limit, on: Port(hostEnd, .host))
                case .hostBucket: trees.append(bucket(limit, on: Port(hostEnd, .host)))
                case .inside(let hasRules):
                    let own = Port(place.interface, .container)
                    guard hasRules else {
                        trees += ownTree(limit, on: own)
                        continue
                    }
                    let isSent = direction == .egress
                    let link = isSent ? own : Port(group.link(direction), .container)
                    trees += isSent ? [rootQdisc(0, on: own)] : sharedTree(on: link)
                    trees.append(SteeringTable(group.table, in: .container))
                    classes += self.classes(limit, direction, on: link)
                    steering.append(self.steering(direction, of: own, to: link))
                case .insideBucket:
                    trees.append(bucket(limit, on: Port(place.interface, .container)))
                }
            }
            if ways.egress == .shared || ways.ingress == .shared {
                names = [SteeringTable(group.table)] + self.names
            }
            if !filters.isEmpty {
                filters.insert(Qdisc(.clsact, on: place.hostEnd ?? "", .shared), at: 0)
            }
            return try trees + names + common + tenant + classes + filters
                + portSteering(steering) + processes()
        }

        /// The steering of the port, which leaves nothing of a direction that an earlier ADD steered and
        /// this one does not.
        private func portSteering(_ parts: [Steering]) -> [any Resource<Kernel>] {
            guard let first = parts.first else { return [] }
            guard parts.count == 1 else { return [PortSteering(parts)] }
            let other: Direction = first.direction == .egress ? .ingress : .egress
            let isOwnTree = other == .egress && first.side == .container
            let unwanted = Steering(
                other, of: first.port, in: first.side, to: first.id,
                on: isOwnTree ? first.port : group.link(other), table: group.table,
                owner: owner.tag, .owned)
            return [PortSteering(parts, without: unwanted)]
        }

        /// Refuses a link that processes of the host cannot send by.
        func requireUplink(_ kernel: Kernel) throws(CNIError) {
            guard let uplink = group.processes?.uplink, ways.egress == .shared else { return }
            let link = try wrapping { () throws(KernelError) in try kernel.seen(uplink, in: .host) }
            guard link == nil else { return }
            throw CNIError(
                .invalidConfiguration, "shaping.processes.uplink: there is no link \"\(uplink)\"")
        }

        /// The classes of the host's processes, which are the group's and stay.
        private func processes() throws(CNIError) -> [any Resource<Kernel>] {
            guard let keys = group.processes, ways.egress == .shared else { return [] }
            let link = group.link(.egress)
            var steps: [any Resource<Kernel>] = []
            var steered: [ProcessSteering.Processes] = []
            for (index, (number, one)) in zip(numbers.processes, keys.classes).enumerated() {
                let text = processName(owner.network, one.name)
                var name = ClassName(text, of: number.id, .container, table: group.table, .shared)
                name.isExclusive = number.isNew
                var own = TrafficClass(
                    number.id, of: Tree.link, on: link, rate: one.limit.rate,
                    ceil: one.limit.ceil, .shared)
                own.isExclusive = number.isNew
                own.priority = one.limit.priority
                let port = Port(link, .host)
                steps += [name, own, leaf(number.id, one.limit, on: port, .shared)]
                let selector = try one.selector("shaping.processes.classes[\(index)]")
                steered.append(.init(selector, number.id, text))
            }
            steps.append(
                ProcessSteering(
                    steered, of: owner.network, by: keys.uplink, to: link, table: group.table))
            return steps
        }

        /// A link and where it is.
        private struct Port {
            let name: String
            let side: Side

            init(_ name: String, _ side: Side) {
                self.name = name
                self.side = side
            }
        }

        /// A container that shares nothing with others is held back at an end of its own: no
        /// classifying, no second queue.
        private func ownTree(_ limit: Options.Limit, on link: Port) -> [any Resource<Kernel>] {
            let id = numbers.own.id
            var own = TrafficClass(
                id, of: Tree.root, on: link.name, in: link.side, rate: limit.ceil,
                ceil: limit.ceil, .owned)
            own.burst = limit.burst
            return [rootQdisc(id.minor, on: link), own, leaf(id, limit, on: link, .owned)]
        }

        private func rootQdisc(_ standard: UInt16, on link: Port) -> Qdisc {
            Qdisc(.htb(standard: standard), on: link.name, in: link.side, .owned)
        }

        private func bucket(_ limit: Options.Limit, on link: Port) -> Qdisc {
            .bucket(
                limit.ceil, limit.burst, milliseconds: limit.queueMilliseconds, on: link.name,
                in: link.side, .owned)
        }

        /// What a group's containers share, or a container's interfaces.
        private func sharedTree(on port: Port) -> [any Resource<Kernel>] {
            let link = port.name
            var ifb = Link(link, .ifb, in: port.side, .shared)
            ifb.queueLength = 1000
            ifb.isUp = true
            let linkRate = port.side == .host ? group.linkRate : nil
            let rate = linkRate ?? Tree.unlimited
            var whole = TrafficClass(
                Tree.link, of: Tree.root, on: link, in: port.side, rate: rate, ceil: rate, .shared)
            whole.isAsFound = linkRate == nil
            var standard = TrafficClass(
                Tree.standard, of: Tree.link, on: link, in: port.side,
                rate: Rate(bitsPerSecond: 8_000_000), ceil: Tree.unlimited, .shared)
            standard.priority = 7
            standard.isAsFound = true
            let root = Qdisc(
                .htb(standard: Tree.standard.minor), on: link, in: port.side, .shared)
            return [ifb, root, whole, standard]
        }

        /// The names of the container's class and of those inside it.
        private var names: [ClassName] {
            var all = [(numbers.own, owner.tag)]
            if let rest = numbers.rest { all.append((rest, owner.tag(Numbers.restName))) }
            for (number, part) in zip(numbers.parts, options.parts) {
                all.append((number, owner.tag(part.keys.name)))
            }
            return all.map { number, text in
                var name = ClassName(text, of: number.id, .container, table: group.table, .owned)
                name.isExclusive = number.isNew
                return name
            }
        }

        /// The classes that the container's are in, where it has a tenant.
        private var tenant: [Tenant] {
            guard let keys = group.tenant, let number = numbers.tenant else { return [] }
            var name = ClassName(keys.name, of: number.id, .tenant, table: group.table, .shared)
            name.isExclusive = number.isNew
            let classes = Direction.allCases.compactMap { direction in
                keys[direction].map { part in
                    var own = TrafficClass(
                        number.id, of: Tree.link, on: group.link(direction), rate: part.rate,
                        ceil: part.ceil, .shared)
                    own.isExclusive = number.isNew
                    return own
                }
            }
            return [Tenant(name, classes, .shared)]
        }

        /// The container's class in a tree and those inside it, with their leaves.
        private func classes(
            _ limit: Options.Limit, _ direction: Direction, on link: Port
        ) -> [any Resource<Kernel>] {
            var parent = link.name == place.interface ? Tree.root : Tree.link
            if ways[direction] == .shared, group.tenant?[direction] != nil {
                parent = numbers.tenant?.id ?? parent
            }
            guard let rest = numbers.rest, let most = options.rest(direction) else {
                return leafClass(numbers.own, of: parent, on: link, limit)
            }
            var own = trafficClass(numbers.own, of: parent, on: link, limit)
            own.isLeaf = false
            var steps: [any Resource<Kernel>] = [own]
            steps += leafClass(rest, of: own.id, on: link, most)
            for (number, part) in zip(numbers.parts, options.parts) {
                guard let limit = part[direction] else { continue }
                steps += leafClass(number, of: own.id, on: link, limit)
            }
            return steps
        }

        private func leafClass(
            _ number: Number, of parent: ClassID, on link: Port, _ limit: Options.Limit
        ) -> [any Resource<Kernel>] {
            [
                trafficClass(number, of: parent, on: link, limit),
                leaf(number.id, limit, on: link, number.isNew ? .part : .owned),
            ]
        }

        private func trafficClass(
            _ number: Number, of parent: ClassID, on link: Port, _ limit: Options.Limit
        ) -> TrafficClass {
            var own = TrafficClass(
                number.id, of: parent, on: link.name, in: link.side, rate: limit.rate,
                ceil: limit.ceil, .owned)
            own.isExclusive = number.isNew
            own.burst = limit.burst
            own.priority = limit.priority
            return own
        }

        private func leaf(
            _ id: ClassID, _ limit: Options.Limit, on link: Port, _ sharing: Sharing
        ) -> Qdisc {
            .leaf(
                of: id, rate: limit.rate, ceil: limit.ceil,
                milliseconds: limit.queueMilliseconds, mtu: place.mtu, on: link.name,
                in: link.side, sharing)
        }

        private func steering(
            _ direction: Direction, of port: Port, to link: Port
        ) -> Steering {
            var steering = Steering(
                direction, of: port.name, in: port.side, to: (numbers.rest ?? numbers.own).id,
                on: link.name, table: group.table, owner: owner.tag, .owned)
            steering.way = ways.steering(direction)
            guard steering.way.tellsApart else { return steering }
            steering.onlyTo = options.shapedSubnets
            steering.exceptTo = options.unshapedSubnets
            steering.markMask = group.markMask
            for (number, part) in zip(numbers.parts, options.parts) where part[direction] != nil {
                steering.selections.append(part.keys.selection(number.id))
            }
            return steering
        }
    }
}
