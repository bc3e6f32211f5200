import CNI
import Netlink
import Plan
package import PluginRuntime
import Rtnetlink
import SystemPackage
package import TrafficControl

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
    package struct Numbers {
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
        /// The classes that an earlier ADD has given the container, and that it has another one for now.
        let former: [ClassID]

        /// The name of what no class inside a container takes; no class can be called that.
        package static let restName = "*"

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
            let host = isShared ? group.processes?.classes ?? [] : []
            let isSingle = options.parts.isEmpty && host.isEmpty
            let names =
                isShared && !isSingle
                ? try kernel.classNames(.container, table: group.table) : []
            let known =
                isShared && isSingle
                ? try kernel.names(of: owner, steering, group, attempt: attempt)
                : names.filter { Owner(className: $0.text) == owner }
            if !isShared, let fixed = group.fixedClass {
                try kernel.requireFree(fixed, for: owner, on: place, group)
            }
            var numbering = Numbering(owner, known, attempt: attempt, isShared: isShared)
            numbering.used.formUnion(names.map(\.id.minor))
            processes = try host.map { (one) throws(KernelError) in
                let text = processName(owner.network, one.name)
                if let there = names.first(where: { $0.text == text }) {
                    return Number(there.id.minor, isNew: false)
                }
                let minor = try freeNumber(
                    for: text, in: Tree.containers, besides: numbering.used, attempt: attempt)
                numbering.used.insert(minor)
                return Number(minor, isNew: true)
            }
            let own = try numbering.number(owner.tag, fixed: group.fixedClass)
            self.own = own
            former = known.filter { $0.text == owner.tag && $0.id != own.id }.map(\.id)
            rest =
                options.parts.isEmpty ? nil : try numbering.number(owner.tag(Self.restName))
            parts = try options.parts.map { (part) throws(KernelError) in
                try numbering.number(owner.tag(part.keys.name))
            }
            guard let tenant = isShared ? group.tenant : nil else {
                self.tenant = nil
                return
            }
            let tenants = try kernel.classNames(.tenant, table: group.table)
            if let there = tenants.first(where: { $0.text == tenant.name }) {
                self.tenant = Number(there.id.minor, isNew: false)
            } else {
                let minor = try freeNumber(
                    for: tenant.name, in: Tree.tenants, besides: Set(tenants.map(\.id.minor)),
                    attempt: attempt)
                self.tenant = Number(minor, isNew: true)
            }
        }
    }

    /// Numbers for an owner's classes, one after the other: each that it has by name, or one that none
    /// of them has yet.
    private struct Numbering {
        private let owner: Owner
        private let known: [ClassName]
        private let attempt: Int
        private let isShared: Bool
        /// The numbers that are no other's to have.
        var used: Set<UInt16>

        init(_ owner: Owner, _ known: [ClassName], attempt: Int, isShared: Bool) {
            self.owner = owner
            self.known = known
            self.attempt = attempt
            self.isShared = isShared
            used = Set(known.map(\.id.minor))
        }

        mutating func number(
            _ text: String, fixed: UInt16? = nil
        ) throws(KernelError) -> Number {
            let have = known.filter { $0.text == text }.map(\.id.minor)
            if let there = have.first(where: { fixed ?? $0 == $0 }) {
                return Number(there, isNew: false)
            }
            let minor =
                if let fixed { fixed } else {
                    try freeNumber(
                        for: text, in: Tree.containers, besides: used, attempt: attempt)
                }
            used.insert(minor)
            return Number(minor, isNew: isShared)
        }
    }

    /// The names of the classes inside a container's own one, of those in a tree that nobody else is in:
    /// there the kernel has no names of them.
    package static func names(
        inside own: ClassID, of owner: Owner, _ names: [String]
    ) -> [ClassID: String] {
        var numbering = Numbering(owner, [], attempt: 0, isShared: false)
        numbering.used.insert(own.minor)
        var found: [ClassID: String] = [:]
        for name in [Numbers.restName] + names {
            guard let number = try? numbering.number(owner.tag(name)) else { break }
            found[number.id] = name
        }
        return found
    }

    /// The first of the numbers that follow from a class's name that none has yet.
    ///
    /// - Throws: ENOSPC if all of the range are taken.
    static func freeNumber(
        for name: String, in range: ClosedRange<UInt16>, besides used: Set<UInt16>, attempt: Int
    ) throws(KernelError) -> UInt16 {
        for attempt in attempt..<attempt + range.count {
            let number = PluginRuntime.number(for: name, in: range, attempt: attempt)
            if !used.contains(number) { return number }
        }
        throw KernelError(
            "number class \"\(name)\"", .noSpace, detail: "all \(range.count) numbers are taken")
    }
}

/// The name of a class of the host's processes: a network's, not an owner's.
func processName(_ network: String, _ name: String) -> String { network + " " + name }

extension Owner {
    /// The name of a class inside the container.
    func tag(_ part: String) -> String { tag + " " + part }

    /// The owner that a class's name begins with, if it is a container's or one inside it.
    package init?(className text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3 || words.count == 4 else { return nil }
        self.init(tag: words.prefix(3).joined(separator: " "))
    }

    func number(of text: String, attempt: Int) -> UInt16 {
        PluginRuntime.number(for: text, in: Tree.containers, attempt: attempt)
    }
}

extension Kernel {
    /// The names of an owner's classes.
    ///
    /// They are found from what steers the port and from what they would be called; in the whole set where these
    /// are not all there is.
    func names(
        of owner: Owner, _ steering: [Steering], _ group: Bandwidth.Group, attempt: Int = 0
    ) throws(KernelError) -> [ClassName] {
        let likely =
            steering.first?.id
            ?? ClassID(Tree.root.major, owner.number(of: owner.tag, attempt: attempt))
        // With classes inside there is always the one of the rest, and it is named before the others.
        let rest = owner.number(
            of: owner.tag(Bandwidth.Numbers.restName), attempt: attempt)
        let ids =
            [likely]
            + ([rest] + [group.fixedClass].compactMap { $0 }).map {
                ClassID(Tree.root.major, $0)
            }
        let found = try classNames(of: ids.unique, .container, table: group.table)
            .filter { Owner(className: $0.text) == owner }
        guard found.contains(where: { $0.text != owner.tag }) else { return found }
        return try classNames(.container, table: group.table)
            .filter { Owner(className: $0.text) == owner }
    }

    /// Refuses a class that another interface of the container has: they share the link that packets
    /// received wait at, where classes have no names.
    fileprivate func requireFree(
        _ fixed: UInt16, for owner: Owner, on place: Bandwidth.Place, _ group: Bandwidth.Group
    ) throws(KernelError) {
        guard place.hostEnd == nil else { return }
        let holder = try steering(
            of: nil, .ingress, on: group.link(.ingress), in: .container, table: group.table
        ).first { $0.id.minor == fixed && $0.owner != owner.tag }
        guard let holder else { return }
        throw KernelError(
            "name class \(holder.id)", .fileExists, detail: "it belongs to \"\(holder.owner)\"")
    }

    /// The elements of an owner's port.
    func steeringElements(
        of owner: Owner, on port: String, _ group: Bandwidth.Group
    ) throws(KernelError) -> [Steering] {
        try steeringElements(of: port, [group]).filter { $0.owner == owner.tag }
    }

    /// The elements of a port in the tables of some groups, whoever owns them.
    func steeringElements(
        of port: String, _ groups: [Bandwidth.Group]
    ) throws(KernelError) -> [Steering] {
        let samples = groups.flatMap { group in
            Direction.allCases.map {
                Steering(
                    $0, of: port, to: Tree.root, on: group.link($0), table: group.table, owner: "",
                    .owned)
            }
        }
        return try elements(of: samples).compactMap { $0 }
    }
}

extension [ClassID] {
    /// Each of them once.
    fileprivate var unique: [ClassID] {
        enumerated().filter { !self[..<$0.offset].contains($0.element) }.map(\.element)
    }
}
