import CNI
import TrafficControl

extension Bandwidth {
    /// The `shaping` object: containers that share a rate and borrow from each other.
    struct Group: Sendable {
        let name: String
        let linkRate: Rate?
        let tenant: TenantKeys?
        let egress: Share?
        let ingress: Share?
        let classes: [ClassKeys]
        let processes: ProcessKeys?
        let fixedClass: UInt16?
        let markMask: UInt32?
        /// Whether what cannot be kept is left out, instead of being an error.
        let degrades: Bool

        /// What a configuration without `shaping` has.
        static let standard = Group(named: standardName)

        fileprivate static let standardName = "default"
        private static let longestName = 9

        /// A group of which only the name is known.
        init(named name: String) {
            self.name = name
            linkRate = nil
            tenant = nil
            egress = nil
            ingress = nil
            classes = []
            processes = nil
            fixedClass = nil
            markMask = nil
            degrades = false
        }

        init(_ keys: inout Keys) throws(CNIError) {
            name = try keys(
                "group", default: Self.standardName, "The containers to borrow from, by a name.")
            linkRate = try positive(
                "linkRate", "What the group has altogether in each direction, in bit/s.", &keys)
            tenant = try keys.object(
                "tenant", "Several containers of the group that share a guarantee and a ceiling.",
                TenantKeys.init)
            egress = try keys.object("egress", "What the container sends.", Share.init)
            ingress = try keys.object("ingress", "What the container receives.", Share.init)
            classes =
                try keys.list(
                    "classes",
                    "Classes for some of the container's packets; a packet is in the first that it "
                        + "matches.", ClassKeys.init) ?? []
            processes = try keys.object(
                "processes", "Classes of the group for processes of the host itself, by cgroup.",
                ProcessKeys.init)
            let text: String? = try keys(
                "classId", "The class to have, as tc prints it: 1:10 to 1:efff.")
            let mask: Int? = try keys(
                "markMask", "The bits of a packet's mark that get the class's number as well.")
            let missing = try keys(
                "onMissing", default: "fail",
                "What to do if the kernel or the interface cannot keep all of it: fail, or degrade "
                    + "to the ceilings.")
            guard ["fail", "degrade"].contains(missing) else {
                throw keys.invalid("onMissing", "\"\(missing)\" is neither fail nor degrade")
            }
            degrades = missing == "degrade"
            guard Self.isName(name) else {
                throw keys.invalid(
                    "group",
                    "\"\(name)\" is not of 1 to \(Self.longestName) lower case letters and digits")
            }
            fixedClass = try text.map { (text) throws(CNIError) in
                guard let id = ClassID(text), id.major == Tree.root.major,
                    Tree.containers.contains(id.minor)
                else {
                    throw keys.invalid("classId", "\"\(text)\" is not within 1:10 to 1:efff")
                }
                return id.minor
            }
            markMask = try mask.map { (mask) throws(CNIError) in
                guard let mask = UInt32(exactly: mask), mask.nonzeroBitCount >= 16,
                    mask.nonzeroBitCount + mask.trailingZeroBitCount + mask.leadingZeroBitCount
                        == UInt32.bitWidth
                else {
                    throw keys.invalid(
                        "markMask", "\(mask) is not 16 or more bits in a row of a 32-bit number")
                }
                return mask
            }
            try requireRoom(keys)
            for (index, one) in classes.enumerated()
            where classes[..<index].contains(where: { $0.name == one.name }) {
                throw keys.invalid(
                    "classes[\(index)].name", "\"\(one.name)\" is another class's name")
            }
        }

        /// Refuses guarantees that are more than those above them, as far as one configuration tells.
        private func requireRoom(_ keys: Keys) throws(CNIError) {
            for direction in Direction.allCases {
                if let own = tenant?[direction], let linkRate, own.rate > linkRate {
                    throw keys.invalid(
                        "tenant.\(direction).rate",
                        "\(own.rate) is more than linkRate, \(linkRate)")
                }
                guard let rate = self[direction]?.rate else { continue }
                if let linkRate, rate > linkRate {
                    throw keys.invalid(
                        "\(direction).rate", "\(rate) is more than linkRate, \(linkRate)")
                }
                if let own = tenant?[direction], rate > own.rate {
                    throw keys.invalid(
                        "\(direction).rate",
                        "\(rate) is more than the tenant's guarantee, \(own.rate)")
                }
            }
        }

        subscript(_ direction: Direction) -> Share? { direction == .egress ? egress : ingress }

        /// The link whose tree a direction shares.
        func link(_ direction: Direction) -> String { Self.link(direction, of: name) }

        /// The table of nftables that says whose packets are whose.
        var table: String { Self.table(of: name) }

        /// What its containers share.
        var tree: GroupTree { GroupTree([link(.egress), link(.ingress)], table: table) }

        static func link(_ direction: Direction, of name: String) -> String {
            "shp-" + direction.letter + suffix(name)
        }

        static func table(of name: String) -> String { "shaper" + suffix(name) }

        /// Whether a group may be called so.
        fileprivate static func isName(_ name: String) -> Bool {
            (1...longestName).contains(name.utf8.count)
                && name.utf8.allSatisfy {
                    (0x30...0x39).contains($0) || (0x61...0x7a).contains($0)
                }
        }

        /// The group that something is of whose name begins with `prefix`; nil if there is none.
        fileprivate static func name(of object: String, after prefix: String) -> String? {
            if object == prefix { return standardName }
            guard object.hasPrefix(prefix + "-") else { return nil }
            let name = String(object.dropFirst(prefix.utf8.count + 1))
            return isName(name) && name != standardName ? name : nil
        }

        private static func suffix(_ name: String) -> String {
            name == standardName ? "" : "-" + name
        }
    }

    /// The group whose tree a link of a name has, for who looks at a host; nil if there is none.
    package static func group(ofLink name: String) -> String? {
        for direction in Direction.allCases {
            let prefix = Group.link(direction, of: Group.standardName)
            if let group = Group.name(of: name, after: prefix) { return group }
        }
        return nil
    }

    /// The group whose table has a name; nil if there is none.
    static func group(ofTable name: String) -> String? {
        Group.name(of: name, after: Group.table(of: Group.standardName))
    }

    /// The links and the table of a group.
    package static func objects(
        ofGroup name: String
    ) -> (egress: String, ingress: String, table: String) {
        (Group.link(.egress, of: name), Group.link(.ingress, of: name), Group.table(of: name))
    }

    /// What `shaping`, or a class of it, says of one direction.
    struct Share: Sendable {
        let rate: Rate?
        let ceil: Rate?
        let priority: Int?
        let queueMilliseconds: Int?

        init(_ keys: inout Keys) throws(CNIError) {
            rate = try positive("rate", "What is guaranteed, in bit/s.", &keys)
            ceil = try positive(
                "ceil", "What it may take when others leave it, in bit/s.", &keys)
            priority = try keys(
                "priority", "Who is offered first what is left: 0 to 7, 0 being first.")
            queueMilliseconds = try keys(
                "queueMs", "How long a packet may wait at the ceiling, in ms, 1 to 10000.")
            if let priority, !(0...7).contains(priority) {
                throw keys.invalid("priority", "\(priority) is not within 0 to 7")
            }
            if let queueMilliseconds, !(1...10_000).contains(queueMilliseconds) {
                throw keys.invalid("queueMs", "\(queueMilliseconds) is not within 1 to 10000")
            }
        }
    }
}

/// Reads a rate, if there is one.
func positive(
    _ key: String, _ summary: String, _ keys: inout Keys
) throws(CNIError) -> Rate? {
    let number: Int? = try keys(key, summary)
    guard let number else { return nil }
    guard number > 0 else { throw keys.invalid(key, "must be positive: \(number)") }
    return Rate(bitsPerSecond: UInt64(number))
}

/// Refuses a name that cannot stand in a comment of nftables as one word.
func requirePlain(_ name: String, _ key: String, _ keys: Keys) throws(CNIError) {
    let longest = 32
    let isPlain = name.utf8.allSatisfy {
        (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
            || [0x2d, 0x2e, 0x5f].contains($0)
    }
    guard isPlain, (1...longest).contains(name.utf8.count) else {
        throw keys.invalid(
            key,
            "\"\(name)\" is not of 1 to \(longest) letters, digits, dots, hyphens and underscores")
    }
}
