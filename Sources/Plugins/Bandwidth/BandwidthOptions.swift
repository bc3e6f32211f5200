import Addressing
import CNI
import Netlink
import PluginRuntime
import TrafficControl

extension Bandwidth {
    /// The keys of the bandwidth plugin.
    public struct Options: Sendable {
        /// What one direction may take.
        struct Limit: Sendable, Equatable {
            var rate: Rate
            var ceil: Rate
            var burst: Burst?
            var priority: Int
            var queueMilliseconds: Int

            init(_ rate: Rate, _ ceil: Rate, burst: Burst? = nil, _ share: Share? = nil) {
                self.rate = rate
                self.ceil = ceil
                self.burst = burst
                priority = share?.priority ?? Options.standardPriority
                queueMilliseconds = share?.queueMilliseconds ?? Qdisc.standardMilliseconds
            }

            /// Whether it may take what others leave.
            var borrows: Bool { rate < ceil }
        }

        /// A class inside the container, and what it may take in each direction.
        struct Part: Sendable {
            let keys: ClassKeys
            let egress: Limit?
            let ingress: Limit?

            subscript(_ direction: Direction) -> Limit? {
                direction == .egress ? egress : ingress
            }
        }

        static let standardPriority = 3

        /// What a container may send.
        let egress: Limit?
        /// What a container may receive.
        let ingress: Limit?
        let shapedSubnets: [IPPrefix]
        let unshapedSubnets: [IPPrefix]
        let group: Group
        /// The classes inside the container.
        let parts: [Part]
        /// The network's name.
        private(set) var network = ""
        /// What the kernel has been found to lack; nil where nobody has looked.
        var known: [Means: KernelError]?

        /// What the kernel lacks, as far as is known.
        var lacking: [Means: KernelError] { known ?? [:] }

        init(_ keys: inout Keys) throws(CNIError) {
            let own = try Standard(&keys, in: "")
            let given = try Standard(&keys, in: "runtimeConfig.bandwidth.")
            let standard = own.isPresent ? own : given
            shapedSubnets = own.shaped ?? given.shaped ?? []
            unshapedSubnets = own.unshaped ?? given.unshaped ?? []
            let group =
                try keys.object(
                    "shaping", "Guarantees, priorities and borrowing.", Group.init) ?? .standard
            self.group = group
            let egress = try Self.limit(
                standard.egress, group.egress, group.tenant?[.egress], "shaping.egress", keys)
            let ingress = try Self.limit(
                standard.ingress, group.ingress, group.tenant?[.ingress], "shaping.ingress", keys)
            self.egress = egress
            self.ingress = ingress
            var parts: [Part] = []
            for (index, one) in group.classes.enumerated() {
                let path = "shaping.classes[\(index)]"
                parts.append(
                    Part(
                        keys: one,
                        egress: try Self.limit(
                            one, .egress, within: egress, beside: parts, path, keys),
                        ingress: try Self.limit(
                            one, .ingress, within: ingress, beside: parts, path, keys)))
            }
            self.parts = parts
            if !shapedSubnets.isEmpty, !unshapedSubnets.isEmpty {
                throw keys.invalid(
                    "shapedSubnets",
                    "unshapedSubnets and shapedSubnets cannot be both specified, one of them "
                        + "should be discarded")
            }
        }

        init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys)
            network = call.configuration.name
        }

        subscript(_ direction: Direction) -> Limit? { direction == .egress ? egress : ingress }

        /// What is left for the packets that are in no class of the container's.
        func rest(_ direction: Direction) -> Limit? {
            guard var rest = self[direction] else { return nil }
            let taken = parts.compactMap { $0[direction]?.rate }.reduce(.none, +)
            // The kernel knows no class without a guarantee.
            let left = rest.rate.bitsPerSecond - min(taken, rest.rate).bitsPerSecond
            rest.rate = max(Rate(bitsPerSecond: left), Self.least)
            return rest
        }

        /// Puts a direction's sources together: the standard keys give the ceiling, and all of it is
        /// guaranteed unless `shaping` says otherwise; a tenant's container may have none of its own.
        private static func limit(
            _ standard: (rate: Rate, burst: Burst?)?, _ shaping: Share?, _ tenant: TenantKeys.Part?,
            _ path: String, _ keys: Keys
        ) throws(CNIError) -> Limit? {
            let own = shaping?.ceil ?? standard?.rate ?? shaping?.rate
            guard let ceil = own ?? tenant?.ceil else {
                if shaping?.priority != nil || shaping?.queueMilliseconds != nil {
                    throw keys.invalid(path, "neither rate nor ceil is set")
                }
                return nil
            }
            let small = own == nil ? tenant?.rate.hundredth : nil
            let rate = shaping?.rate ?? standard?.rate ?? min(ceil, small ?? ceil.hundredth)
            guard rate <= ceil else {
                throw keys.invalid(
                    "\(path).rate", "\(rate) is more than the ceiling, \(ceil)")
            }
            return Limit(rate, ceil, burst: standard?.burst, shaping)
        }

        /// What a class inside the container may take of what the container may.
        private static func limit(
            _ one: ClassKeys, _ direction: Direction, within whole: Limit?, beside others: [Part],
            _ path: String, _ keys: Keys
        ) throws(CNIError) -> Limit? {
            guard let share = one[direction] else { return nil }
            guard let whole else {
                throw keys.invalid(
                    "\(path).\(direction)", "the container's \(direction) has no limit")
            }
            let ceil = share.ceil ?? whole.ceil
            let rate = share.rate ?? min(ceil, whole.rate.hundredth)
            guard rate <= ceil else {
                throw keys.invalid(
                    "\(path).\(direction).rate", "\(rate) is more than the ceiling, \(ceil)")
            }
            let taken = others.compactMap { $0[direction]?.rate }.reduce(.none, +)
            guard taken + rate <= whole.rate else {
                throw keys.invalid(
                    "\(path).\(direction).rate",
                    "\(rate) and the \(taken) of the classes before it are more than the "
                        + "container's guarantee, \(whole.rate)")
            }
            return Limit(rate, ceil, burst: nil, share)
        }

        /// The least that is guaranteed where nothing is said.
        static let least = Rate(bitsPerSecond: 8000)
    }

    /// The reference plugin's keys, at the top or where a runtime puts them.
    private struct Standard {
        let ingress: (rate: Rate, burst: Burst?)?
        let egress: (rate: Rate, burst: Burst?)?
        let shaped: [IPPrefix]?
        let unshaped: [IPPrefix]?
        /// Whether one of the four numbers is given, be it 0.
        let isPresent: Bool

        init(_ keys: inout Keys, in place: String) throws(CNIError) {
            let again = place.isEmpty ? "" : " Counts where the key at the top is absent."
            let ingressRate: Int? = try keys(
                place + "ingressRate",
                "What the container may receive, in bit/s; 0 for all." + again)
            let ingressBurst: Int? = try keys(
                place + "ingressBurst", "What it may receive at once, in bits." + again)
            let egressRate: Int? = try keys(
                place + "egressRate", "What the container may send, in bit/s; 0 for all." + again)
            let egressBurst: Int? = try keys(
                place + "egressBurst", "What it may send at once, in bits." + again)
            shaped = try keys(
                place + "shapedSubnets", "The only networks to and from which limits apply." + again
            )
            unshaped = try keys(
                place + "unshapedSubnets", "Networks to and from which no limits apply." + again)
            isPresent =
                ingressRate != nil || ingressBurst != nil || egressRate != nil || egressBurst != nil
            ingress = try Self.limit(ingressRate, ingressBurst, place + "ingress", keys)
            egress = try Self.limit(egressRate, egressBurst, place + "egress", keys)
        }

        /// What runtimes write who want no burst of their own: the largest 32-bit number, and more.
        private static let anyBurst = Int(Int32.max)

        private static func limit(
            _ rate: Int?, _ burst: Int?, _ name: String, _ keys: Keys
        ) throws(CNIError) -> (rate: Rate, burst: Burst?)? {
            let (rate, burst) = (rate ?? 0, burst ?? 0)
            for (key, value) in [("Rate", rate), ("Burst", burst)] where value < 0 {
                throw keys.invalid(name + key, "must not be negative: \(value)")
            }
            if rate != 0, burst == 0 {
                throw keys.invalid(
                    name + "Burst", "if rate is set, burst must also be set", because: name + "Rate"
                )
            }
            if rate == 0, burst != 0 {
                throw keys.invalid(
                    name + "Rate", "if burst is set, rate must also be set", because: name + "Burst"
                )
            }
            guard burst / 8 < Int(UInt32.max) else {
                throw keys.invalid(name + "Burst", "burst cannot be more than 4GB")
            }
            guard rate > 0 else { return nil }
            let chosen = burst >= anyBurst ? nil : Burst(bits: UInt64(burst))
            return (Rate(bitsPerSecond: UInt64(rate)), chosen)
        }
    }
}

extension Rate {
    /// What is guaranteed of a ceiling where nothing is said.
    var hundredth: Rate {
        max(Rate(bitsPerSecond: bitsPerSecond / 100), Bandwidth.Options.least)
    }
}
