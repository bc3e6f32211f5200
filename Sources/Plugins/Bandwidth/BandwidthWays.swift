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
            var lost: [String] = []
            var lesser: [String] = []
            for direction in Direction.allCases {
                guard let limit = options[direction] else { continue }
                let choice = Choice(direction, limit, options, hasHostEnd: hasHostEnd)
                if direction == .egress { egress = choice.way } else { ingress = choice.way }
                steering[direction] = choice.steering
                lost += choice.lost
                lesser += choice.lesser
            }
            let isForProcesses = options.group.processes != nil && !Bandwidth.isIdle(options)
            if isForProcesses, egress != .shared { lost.append("shaping.processes") }
            let lacking = options.lacking
            let reasons = Means.allCases.compactMap { means in
                lacking[means].map { "\(means.rawValue) (\($0))" }
            }
            let cause =
                !reasons.isEmpty
                ? "this kernel lacks " + reasons.joined(separator: ", ")
                : hasHostEnd
                    ? "what the container sends has no limit"
                    : "the interface has no end on the host"
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

    /// The best way that a direction has, and what it does not keep.
    private struct Choice {
        /// The way, if there is one.
        private(set) var way: Way?
        /// How packets come to the group's tree, where that is the way.
        private(set) var steering: SteeringWay?
        /// The keys of what is not kept.
        private(set) var lost: [String] = []
        /// What there is instead of the best.
        private(set) var lesser: [String] = []

        init(
            _ direction: Direction, _ limit: Options.Limit, _ options: Options, hasHostEnd: Bool
        ) {
            if hasHostEnd {
                chooseAtHostEnd(direction, limit, options)
            } else {
                way = Self.inside(direction, options)
            }
            if way != .shared { lost += options.shared(direction, limit) }
            if way != .inside(withRules: true), way != .shared { lost += options.ruled(direction) }
            if way == nil { lost.append(direction.description) }
        }

        private mutating func chooseAtHostEnd(
            _ direction: Direction, _ limit: Options.Limit, _ options: Options
        ) {
            let isSent = direction == .egress
            let best: Way = isSent || options.usesTree(direction, limit) ? .shared : .hostEnd
            let steered = SteeringWay.allCases.first { options.has($0.means(for: direction)) }
            if best == .shared, options.has([.classes, .queues]), let steered {
                way = .shared
                steering = steered
                if steered != .rules { lesser.append("\(direction) \(steered.description)") }
                if !steered.tellsApart { lost += options.ruled(direction) }
            } else if options.has([.classes]) {
                way = isSent ? .inside(withRules: false) : .hostEnd
            } else if options.has([.buckets]) {
                way = isSent ? .insideBucket : .hostBucket
            }
            if let way, way != best { lesser.append("\(direction) \(way.description)") }
        }

        /// The way of a container without an end on the host.
        private static func inside(_ direction: Direction, _ options: Options) -> Way? {
            switch direction {
            case .egress where options.has([.classes]):
                .inside(withRules: options.usesRules(direction) && options.has([.sending]))
            case .egress where options.has([.buckets]): .insideBucket
            case .ingress where options.has([.classes, .queues, .receiving]):
                .inside(withRules: true)
            default: nil
            }
        }
    }
}

extension Bandwidth.Options {
    /// Whether the kernel has all of some means, as far as is known.
    fileprivate func has(_ means: [Means]) -> Bool { means.allSatisfy { lacking[$0] == nil } }

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
