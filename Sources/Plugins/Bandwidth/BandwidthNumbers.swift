import CNI
import Netlink
import Plan
import PluginRuntime
import Rtnetlink
import TrafficControl

extension Bandwidth {
    /// A class's number, and whether it has to be named yet.
    struct Number {
        let id: ClassID
        let isNew: Bool

        init(_ minor: UInt16, isNew: Bool) {
            id = ClassID(Tree.root.major, minor)
            self.isNew = isNew
        }
    }

    /// The numbers of an attachment's classes: those that are its own by name, and new ones.
    struct Numbers {
        /// The container's class.
        let own: Number
        /// The class inside it of what no other one takes, where there are others.
        let rest: Number?
        /// The classes inside it, in the configuration's order.
        let parts: [Number]
        /// The class that it shares with others.
        let tenant: Number?
        /// The classes of the host's processes, in the configuration's order.
        let processes: [Number]

        /// The name of what no class inside a container takes; no class can be called that.
        static let restName = "*"

        init(
            _ owner: Owner, on place: Place, _ ways: Ways, _ options: Options, _ kernel: Kernel,
            attempt: Int
        ) throws(KernelError) {
            let group = options.group
            // A tree that nobody else is in needs no names, and every number in it is free.
            let isShared = ways.egress == .shared || ways.ingress == .shared
            let steering =
                isShared
                ? try place.hostEnd.map { (port) throws(KernelError) in
                    try kernel.steeringElements(of: owner, on: port, group)
                } ?? [] : []
            let known =
                isShared
                ? try kernel.names(
                    of: owner, steering, group, isThorough: !options.parts.isEmpty,
                    attempt: attempt) : []
            var used = Set(known.map(\.id.minor))
            func number(_ text: String, fixed: UInt16? = nil) -> Number {
                let have = known.first { $0.text == text }?.id.minor
                if let have, fixed ?? have == have { return Number(have, isNew: false) }
                var attempt = attempt
                var minor = fixed ?? owner.number(of: text, attempt: attempt)
                while fixed == nil, !used.insert(minor).inserted {
                    attempt += 1
                    minor = owner.number(of: text, attempt: attempt)
                }
                used.insert(minor)
                return Number(minor, isNew: isShared)
            }
            let host = isShared ? group.processes?.classes ?? [] : []
            let names =
                host.isEmpty ? [] : try kernel.classNames(.container, table: group.table)
            used.formUnion(names.map(\.id.minor))
            processes = host.map { one in
                let text = processName(owner.network, one.name)
                if let there = names.first(where: { $0.text == text }) {
                    return Number(there.id.minor, isNew: false)
                }
                var attempt = attempt
                var minor: UInt16
                repeat {
                    minor = PluginRuntime.number(
                        for: text, in: Tree.containers, attempt: attempt)
                    attempt += 1
                } while !used.insert(minor).inserted
                return Number(minor, isNew: true)
            }
            own = number(owner.tag, fixed: group.fixedClass)
            rest = options.parts.isEmpty ? nil : number(owner.tag(Self.restName))
            parts = options.parts.map { number(owner.tag($0.keys.name)) }
            guard let tenant = isShared ? group.tenant : nil else {
                self.tenant = nil
                return
            }
            let number = { () throws(KernelError) -> Number in
                let names = try kernel.classNames(.tenant, table: group.table)
                if let there = names.first(where: { $0.text == tenant.name }) {
                    return Number(there.id.minor, isNew: false)
                }
                var attempt = attempt
                var minor: UInt16
                repeat {
                    minor = PluginRuntime.number(
                        for: tenant.name, in: Tree.tenants, attempt: attempt)
                    attempt += 1
                } while names.contains { $0.id.minor == minor } && attempt < Tree.tenants.count
                return Number(minor, isNew: true)
            }
            self.tenant = try number()
        }
    }
}

/// The name of a class of the host's processes: a network's, not an owner's.
func processName(_ network: String, _ name: String) -> String { network + " " + name }

extension Owner {
    /// The name of a class inside the container.
    func tag(_ part: String) -> String { tag + " " + part }

    /// The owner that a class's name begins with, if it is a container's or one inside it.
    init?(className text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3 || words.count == 4 else { return nil }
        self.init(tag: words.prefix(3).joined(separator: " "))
    }

    fileprivate func number(of text: String, attempt: Int) -> UInt16 {
        PluginRuntime.number(for: text, in: Tree.containers, attempt: attempt)
    }
}

extension Kernel {
    /// The names of an owner's classes.
    ///
    /// They are found from what steers the port, and where there may be several or none is found `isThorough`ly,
    /// in the whole set.
    func names(
        of owner: Owner, _ steering: [Steering], _ group: Bandwidth.Group, isThorough: Bool,
        attempt: Int = 0
    ) throws(KernelError) -> [ClassName] {
        if !isThorough {
            let likely =
                steering.first?.id
                ?? ClassID(Tree.root.major, owner.number(of: owner.tag, attempt: attempt))
            let text = try className(of: likely, .container, table: group.table)
            if text == owner.tag {
                return [ClassName(owner.tag, of: likely, .container, table: group.table, .owned)]
            }
            // A class inside the container's does not come alone.
            guard text.flatMap({ Owner(className: $0) }) == owner else { return [] }
        }
        return try classNames(.container, table: group.table).filter {
            Owner(className: $0.text) == owner
        }
    }

    /// The elements of an owner's port.
    func steeringElements(
        of owner: Owner, on port: String, _ group: Bandwidth.Group
    ) throws(KernelError) -> [Steering] {
        let samples = [Direction.egress, .ingress].map {
            Steering(
                $0, of: port, to: Tree.root, on: group.link($0), table: group.table,
                owner: owner.tag, .owned)
        }
        return try elements(of: samples).compactMap { $0 }.filter { $0.owner == owner.tag }
    }
}
