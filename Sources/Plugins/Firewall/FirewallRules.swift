import Addressing
import Nftables
import PluginRuntime

/// The rules of the firewall plugin: those of iptables, which its users see, and the plugin's own.
enum FirewallRules {
    static let table = Table(.inet, "cni_firewall")
    /// Where each owner's packets are checked, by its host's end; no packet is looked up here.
    ///
    /// The kernel counts what leads to a chain, and so the owners that need it.
    static let members = NamedSet("members", in: table, of: [.interfaceName], to: .verdict)
    /// The ports whose owners are isolated.
    static let ports = Claims("ports", in: table, of: [.interfaceName])
    static let open = Chain("open", in: table)
    private static let forward = Chain("forward", in: table, forwarding(priority: -10))

    /// The addresses that each owner has rules for.
    static func claims(_ family: Family) -> Claims {
        family == .v4
            ? Claims("holders4", in: table, of: [.ipv4])
            : Claims("holders6", in: table, of: [.ipv6])
    }

    /// What the kernel calls the rules that each owner has in the chains of iptables, so that DEL need not
    /// look for them among the others'.
    static func handles(_ family: Family) -> Claims {
        Claims(family == .v4 ? "rules4" : "rules6", in: table, of: [.mark])
    }

    /// The bridges of a policy: as a map that leads to the rules of what comes in there, and as a
    /// set of where it may not go out.
    static func bridges(_ policy: Firewall.Policy) -> (from: NamedSet, to: NamedSet) {
        let name = policy == .isolated ? "isolated" : "separate"
        return (
            NamedSet("from_" + name, in: table, of: [.interfaceName], to: .verdict),
            NamedSet("to_" + name, in: table, of: [.interfaceName])
        )
    }

    private static let policies: [Firewall.Policy] = [.isolated, .sameBridge]

    static var allSets: [NamedSet] {
        [members, ports.map] + Family.allCases.flatMap { [claims($0).map, handles($0).map] }
            + policies.flatMap { [bridges($0).from, bridges($0).to] }
    }

    /// The chains that are there for all, with their rules.
    static var chains: [(chain: Chain, rules: [Rule])] {
        let checks = policies.map { policy in
            Rule(
                in: forward,
                [
                    .meta(.inputName, to: name),
                    .map(name, by: bridges(policy).from.name, to: .verdict),
                ])
        }
        return [(open, [Rule(in: open, [.verdict(.accept)])]), (forward, checks)]
    }

    /// The chain of an owner, with its rules.
    static func chain(_ isolation: Isolation?) -> (chain: Chain, rules: [Rule]) {
        guard let isolation else { return chains[0] }
        return chain(isolation.policy, isolation.bridge)
    }

    static func chain(
        _ policy: Firewall.Policy, _ bridge: String
    ) -> (chain: Chain, rules: [Rule]) {
        let chain = Chain(policy.rawValue + "/" + bridge, in: table)
        let own: [Expression] = [
            .meta(.outputName, to: name),
            .compare(name, .equal, Element.interfaceName(bridge)), .verdict(.return),
        ]
        let others = policies.map { policy -> [Expression] in
            [
                .meta(.outputName, to: name), .lookup(name, in: bridges(policy).to.name),
                .verdict(.drop),
            ]
        }
        return (chain, ((policy == .sameBridge ? [own] : []) + others).map { Rule(in: chain, $0) })
    }

    /// Policy and bridge of a chain.
    static func bridge(ofChain name: String) -> (policy: Firewall.Policy, bridge: String)? {
        let parts = name.split(separator: "/", maxSplits: 1)
        guard parts.count == 2, let policy = Firewall.Policy(rawValue: String(parts[0])) else {
            return nil
        }
        return (policy, String(parts[1]))
    }

    static let name = Register(word: 0)

    /// What bridges forward by themselves, which the rules above never see.
    enum Bridged {
        static let table = Table(.bridge, "cni_firewall")
        static let isolated = NamedSet(
            "isolated", in: table, of: [.interfaceName], to: .verdict)
        static let alone = Chain("alone", in: table)

        static var chains: [(chain: Chain, rules: [Rule])] {
            let forward = Chain("forward", in: table, forwarding(priority: -200))
            let checks = [Expression.Meta.inputName, .outputName].map { direction in
                Rule(
                    in: forward,
                    [.meta(direction, to: name), .map(name, by: isolated.name, to: .verdict)])
            }
            return [(alone, [Rule(in: alone, [.verdict(.drop)])]), (forward, checks)]
        }

        static func element(_ port: String, _ owner: Owner) -> Element {
            Element(
                Element.interfaceName(port), .verdict(.goto(alone.name)), comment: owner.tag)
        }
    }

    /// The hook of what is neither from nor for the host.
    private static func forwarding(priority: Int) -> Chain.Hook {
        .forward(.filter, priority: priority)
    }
}
