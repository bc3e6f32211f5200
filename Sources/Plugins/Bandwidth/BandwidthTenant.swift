import CNI
import TrafficControl

extension Bandwidth {
    /// The `tenant` object: what several containers have together.
    struct TenantKeys: Sendable {
        /// What they have in one direction.
        struct Part: Sendable {
            let rate: Rate
            let ceil: Rate

            init(_ keys: inout Keys) throws(CNIError) {
                let rate = try positive(
                    "rate", "What is guaranteed to all of them together, in bit/s.", &keys)
                let ceil = try positive(
                    "ceil",
                    "What they may take together when others leave it, in bit/s; without it no "
                        + "more than is guaranteed.", &keys)
                guard let rate else { throw keys.invalid("rate", "missing") }
                self.rate = rate
                self.ceil = ceil ?? rate
                guard self.rate <= self.ceil else {
                    throw keys.invalid(
                        "rate", "\(self.rate) is more than the ceiling, \(self.ceil)")
                }
            }
        }

        let name: String
        private let egress: Part?
        private let ingress: Part?

        init(_ keys: inout Keys) throws(CNIError) {
            let name: String? = try keys(
                "name", "The tenant's name, which all its containers' configurations have.")
            egress = try keys.object("egress", "What they send.", Part.init)
            ingress = try keys.object("ingress", "What they receive.", Part.init)
            guard let name else { throw keys.invalid("name", "missing") }
            try requirePlain(name, "name", keys)
            self.name = name
            guard egress != nil || ingress != nil else {
                throw keys.invalid("egress", "neither egress nor ingress is set")
            }
        }

        subscript(_ direction: Direction) -> Part? { direction == .egress ? egress : ingress }
    }
}
