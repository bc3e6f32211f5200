import Addressing
import CNI
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
            var priority = Options.standardPriority
            var queueMilliseconds = Options.standardQueue

            /// Whether it may take what others leave.
            var borrows: Bool { rate < ceil }
        }

        static let standardPriority = 3
        static let standardQueue = 20

        /// What a container may send.
        let egress: Limit?
        /// What a container may receive.
        let ingress: Limit?
        let shapedSubnets: [IPPrefix]
        let unshapedSubnets: [IPPrefix]
        let group: Group

        init(_ keys: inout Keys) throws(CNIError) {
            let own = try Standard(&keys, in: "")
            let given = try Standard(&keys, in: "runtimeConfig.bandwidth.")
            let standard = own.isPresent ? own : given
            shapedSubnets = own.shaped ?? given.shaped ?? []
            unshapedSubnets = own.unshaped ?? given.unshaped ?? []
            group =
                try keys.object(
                    "shaping", "Guarantees, priorities and borrowing.", Group.init) ?? .standard
            egress = try Self.limit(
                standard.egress, group.egress, "shaping.egress", keys)
            ingress = try Self.limit(
                standard.ingress, group.ingress, "shaping.ingress", keys)
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
        }

        /// Puts a direction's two sources together: the standard keys give the ceiling, and all of
        /// it is guaranteed unless `shaping` says otherwise.
        private static func limit(
            _ standard: (rate: Rate, burst: Burst?)?, _ shaping: Group.Share?, _ path: String,
            _ keys: Keys
        ) throws(CNIError) -> Limit? {
            let ceil = shaping?.ceil ?? standard?.rate ?? shaping?.rate
            guard let ceil else {
                if shaping?.priority != nil || shaping?.queueMilliseconds != nil {
                    throw keys.invalid(path, "neither rate nor ceil is set")
                }
                return nil
            }
            let hundredth = Rate(bitsPerSecond: max(8000, ceil.bitsPerSecond / 100))
            let rate = shaping?.rate ?? standard?.rate ?? min(ceil, hundredth)
            guard rate <= ceil else {
                throw keys.invalid(
                    "\(path).rate", "\(rate) is more than the ceiling, \(ceil)")
            }
            var limit = Limit(rate: rate, ceil: ceil, burst: standard?.burst)
            limit.priority = shaping?.priority ?? standardPriority
            limit.queueMilliseconds = shaping?.queueMilliseconds ?? standardQueue
            return limit
        }
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
                throw keys.invalid(name + "Burst", "if rate is set, burst must also be set")
            }
            if rate == 0, burst != 0 {
                throw keys.invalid(name + "Rate", "if burst is set, rate must also be set")
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
