import CNI
import Netlink
import TrafficControl

extension Bandwidth {
    /// Where a direction's packets are held back, and by what.
    enum Way: Sendable, Equatable {
        /// In the tree that the group shares.
        case shared
        /// At the host's end, by classes of its own.
        case hostEnd
        /// At the host's end, by a ceiling alone.
        case hostBucket
        /// In the container, by classes of its own; by rules too, where they can be had there.
        case inside(withRules: Bool)
        /// In the container, by a ceiling alone.
        case insideBucket

        var description: String {
            switch self {
            case .shared: "in the group's tree"
            case .hostEnd: "by HTB at the host's end"
            case .hostBucket: "by TBF at the host's end"
            case .inside: "by HTB in the container"
            case .insideBucket: "by TBF in the container"
            }
        }
    }

    /// The ways of both directions, the best that there are, and what they do not keep.
    struct Ways: Sendable {
        /// The way of what the container sends, if that is limited.
        private(set) var egress: Way?
        /// The way of what it receives, if that is limited.
        private(set) var ingress: Way?
        /// How packets come to the group's tree, where that is the way.
        private var steering: [Direction: SteeringWay] = [:]
        /// What is not kept of the configuration, and why; empty if all is.
        private(set) var remark = ""

        /// How packets of a direction come to the group's tree.
        func steering(_ direction: Direction) -> SteeringWay { steering[direction] ?? .rules }

        subscript(_ direction: Direction) -> Way? { direction == .egress ? egress : ingress }

        /// The ways for a container with an end on the host or without, on a kernel that lacks what
        /// `options` say.
        ///
        /// - Throws: Code 50 if the kernel cannot, and code 7 if the interface cannot, what must not
        ///   be missing.
        init(_ options: Options, hasHostEnd: Bool) throws(CNIError) {
            let lacking = options.lacking
            func has(_ means: Means...) -> Bool { means.allSatisfy { lacking[$0] == nil } }
            var lost: [String] = []
            var lesser: [String] = []
            for direction in Direction.allCases {
                guard let limit = options[direction] else { continue }
                let isSent = direction == .egress
                let usesTree = options.usesTree(direction, limit)
                var way: Way?
                if hasHostEnd {
                    let best: Way = isSent || usesTree ? .shared : .hostEnd
                    let steered = SteeringWay.allCases.first { steering in
                        steering.means(for: direction).allSatisfy { lacking[$0] == nil }
                    }
                    if best == .shared, has(.classes, .queues), let steered {
                        way = .shared
                        steering[direction] = steered
                        if steered != .rules {
                            lesser.append("\(direction) \(steered.description)")
                        }
                        if !steered.tellsApart { lost += options.ruled(direction) }
                    } else if has(.classes) {
                        way = isSent ? .inside(withRules: false) : .hostEnd
                    } else if has(.buckets) {
                        way = isSent ? .insideBucket : .hostBucket
                    }
                    if let way, way != best { lesser.append("\(direction) \(way.description)") }
                } else if isSent {
                    if has(.classes) {
                        way = .inside(withRules: options.usesRules(direction) && has(.sending))
                    } else if has(.buckets) {
                        way = .insideBucket
                    }
                } else if has(.classes, .queues, .receiving) {
                    way = .inside(withRules: true)
                }
                if way != .shared { lost += options.shared(direction, limit) }
                if way != .inside(withRules: true), way != .shared {
                    lost += options.ruled(direction)
                }
                if way == nil { lost.append(direction.description) }
                if isSent { egress = way } else { ingress = way }
            }
            let reasons = Means.allCases.compactMap { means in
                lacking[means].map { "\(means.rawValue) (\($0))" }
            }
            let cause =
                reasons.isEmpty
                ? "the interface has no end on the host"
                : "this kernel lacks " + reasons.joined(separator: ", ")
            var unique: [String] = []
            for key in lost where !unique.contains(key) { unique.append(key) }
            if !unique.isEmpty, !options.group.degrades {
                throw CNIError(
                    reasons.isEmpty ? .invalidConfiguration : .notAvailable,
                    unique.joined(separator: ", ") + ": cannot be kept, because \(cause)")
            }
            var parts: [String] = []
            if !unique.isEmpty { parts.append(unique.joined(separator: ", ") + " not kept") }
            if !lesser.isEmpty { parts.append(lesser.joined(separator: ", ")) }
            if !parts.isEmpty { remark = parts.joined(separator: "; ") + ", because " + cause }
        }
    }
}

extension Bandwidth.Options {
    /// Whether a direction needs the tree that the group shares.
    func usesTree(_ direction: Direction, _ limit: Limit) -> Bool {
        !shared(direction, limit).isEmpty || usesRules(direction)
    }

    /// Whether packets of a direction are told apart by rules.
    func usesRules(_ direction: Direction) -> Bool { !ruled(direction).isEmpty }

    /// The keys that are about containers beside this one.
    fileprivate func shared(_ direction: Direction, _ limit: Limit) -> [String] {
        var keys: [String] = []
        if group.tenant?[direction] != nil { keys.append("shaping.tenant.\(direction)") }
        if group.linkRate != nil { keys.append("shaping.linkRate") }
        if limit.borrows { keys.append("shaping.\(direction).rate") }
        return keys
    }

    /// The keys that need rules.
    fileprivate func ruled(_ direction: Direction) -> [String] {
        var keys: [String] = []
        if parts.contains(where: { $0[direction] != nil }) { keys.append("shaping.classes") }
        if group.markMask != nil { keys.append("shaping.markMask") }
        if !shapedSubnets.isEmpty { keys.append("shapedSubnets") }
        if !unshapedSubnets.isEmpty { keys.append("unshapedSubnets") }
        return keys
    }
}
