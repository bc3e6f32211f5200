import CNI
import TrafficControl

extension Bandwidth {
    /// The `shaping` object: containers that share a rate and borrow from each other.
    struct Group: Sendable {
        /// What `shaping` says of one direction.
        struct Share: Sendable {
            let rate: Rate?
            let ceil: Rate?
            let priority: Int?
            let queueMilliseconds: Int?

            init(_ keys: inout Keys) throws(CNIError) {
                rate = try positive(
                    "rate", "What is guaranteed, in bit/s; without it all of the standard key's.",
                    &keys)
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

        let name: String
        let linkRate: Rate?
        let egress: Share?
        let ingress: Share?
        let fixedClass: UInt16?
        let markMask: UInt32?

        /// What a configuration without `shaping` has.
        static let standard = Group()

        fileprivate static let standardName = "default"
        private static let longestName = 9

        private init() {
            name = Self.standardName
            linkRate = nil
            egress = nil
            ingress = nil
            fixedClass = nil
            markMask = nil
        }

        init(_ keys: inout Keys) throws(CNIError) {
            name = try keys(
                "group", default: Self.standardName, "The containers to borrow from, by a name.")
            linkRate = try positive(
                "linkRate", "What the group has altogether in each direction, in bit/s.", &keys)
            egress = try keys.object("egress", "What the container sends.", Share.init)
            ingress = try keys.object("ingress", "What the container receives.", Share.init)
            let text: String? = try keys(
                "classId", "The class to have, as tc prints it: 1:10 to 1:efff.")
            let mask: Int? = try keys(
                "markMask", "The bits of a packet's mark that get the class's number as well.")
            let isPlain = name.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x61...0x7a).contains($0)
            }
            guard isPlain, (1...Self.longestName).contains(name.utf8.count) else {
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
                guard let mask = UInt32(exactly: mask), mask != 0,
                    (mask >> UInt32(mask.trailingZeroBitCount)) & 0xffff == 0xffff
                else {
                    throw keys.invalid(
                        "markMask", "\(mask) is not 16 or more bits in a row of a 32-bit number")
                }
                return mask
            }
            for (key, direction) in [("egress", egress), ("ingress", ingress)] {
                guard let linkRate, let rate = direction?.rate, rate > linkRate else { continue }
                throw keys.invalid("\(key).rate", "\(rate) is more than linkRate, \(linkRate)")
            }
        }

        /// The link whose tree a direction shares.
        func link(_ direction: Direction) -> String { Self.link(direction, of: name) }

        /// The table of nftables that says whose packets are whose.
        var table: String { Self.table(of: name) }

        static func link(_ direction: Direction, of name: String) -> String {
            "shp-" + direction.letter + suffix(name)
        }

        static func table(of name: String) -> String { "shaper" + suffix(name) }

        private static func suffix(_ name: String) -> String {
            name == standardName ? "" : "-" + name
        }
    }

    /// The group whose tree a link of a name has, for who looks at a host; nil if there is none.
    package static func group(ofLink name: String) -> String? {
        for direction in [Direction.egress, .ingress] {
            let prefix = Group.link(direction, of: Group.standardName)
            if name == prefix { return Group.standardName }
            if name.hasPrefix(prefix + "-") { return String(name.dropFirst(prefix.count + 1)) }
        }
        return nil
    }

    /// The links and the table of a group.
    package static func objects(
        ofGroup name: String
    ) -> (egress: String, ingress: String, table: String) {
        (Group.link(.egress, of: name), Group.link(.ingress, of: name), Group.table(of: name))
    }
}

private func positive(
    _ key: String, _ summary: String, _ keys: inout Keys
) throws(CNIError) -> Rate? {
    let number: Int? = try keys(key, summary)
    guard let number else { return nil }
    guard number > 0 else { throw keys.invalid(key, "must be positive: \(number)") }
    return Rate(bitsPerSecond: UInt64(number))
}
