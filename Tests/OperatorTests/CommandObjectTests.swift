import Addressing
import Foundation
import PluginRuntime
import Rtnetlink
import Testing
import TrafficControl

@testable import Operator
@testable import Plugins

@Suite("objects as commands")
struct CommandObjectTests {
    private static let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Sources")

    /// The names that a pattern captures anywhere in the sources.
    private func names(_ pattern: Regex<(Substring, Substring)>) throws -> Set<String> {
        var names: Set<String> = []
        let files = FileManager.default.enumerator(atPath: Self.sources.path)
        for case let path as String in files ?? .init() where path.hasSuffix(".swift") {
            let text = try String(
                contentsOf: Self.sources.appendingPathComponent(path), encoding: .utf8)
            for match in text.matches(of: pattern) { names.insert(String(match.1)) }
        }
        return names
    }

    /// Objects that are only read from the kernel, and copied: what `cnictl plan` says of them is tried
    /// where there is one.
    private static let listed: Set<String> = ["ListedRoute", "ReplacedRoute"]

    /// An object of every kind, and what makes it.
    private static func examples() throws -> [(object: any CommandObject, commands: [String])] {
        let inside = "ip -n \"$NETNS\""
        let address = try #require(IPAddress("10.1.0.5"))
        let gateway = try #require(IPAddress("10.1.0.1"))
        let subnet = try #require(IPPrefix("10.1.0.0/16"))
        var link = Link("cni0", .bridge(filtersVLANs: true), in: .host, .shared)
        link.mtu = 1400
        link.isUp = true
        var own = ContainerLink(
            "eth0", .macvlan(mode: .bridge, queue: nil), on: .init("up0", in: .host),
            firstName: "mac0")
        own.alias = "net c1 eth0"
        var settings = LinkSettings(of: "eth0", in: .container)
        settings.mtu = 1300
        let rate = Rate(bitsPerSecond: 1_000_000)
        let share = { (id: ClassID, parent: ClassID) in
            TrafficClass(id, of: parent, on: "veth0", rate: rate, ceil: rate, .owned)
        }
        let classText = { (id: String, parent: String) in
            "tc class replace dev veth0 parent \(parent) classid \(id) htb rate 1000000bit "
                + "ceil 1000000bit burst 3028 cburst 3028 prio 0 quantum 1514"
        }
        let tenant = ClassName("gold", of: ClassID(1, 0xf000), .tenant, table: "t", .shared)
        let owner = Owner(network: "net", containerID: "c1", interface: "eth0")
        return [
            (
                link,
                [
                    "ip link add cni0 mtu 1400 type bridge vlan_filtering 1", "ip link set cni0 up",
                ]
            ),
            (
                own,
                [
                    "ip link add mac0 link up0 netns \"$NETNS\" type macvlan mode bridge",
                    "\(inside) link set mac0 name eth0",
                    "\(inside) link set eth0 alias 'net c1 eth0'",
                ]
            ),
            (
                MovedLink("eth0", from: .named("card0"), mark: "mark"),
                [
                    "DEVICE=card0",
                    "ip link property add dev \"$DEVICE\" altname mark altname mark.\"$DEVICE\"",
                    "ip link set \"$DEVICE\" netns \"$NETNS\" name eth0 alias \"$DEVICE\"",
                ]
            ),
            (LinkUp("eth0", in: .container), ["\(inside) link set eth0 up"]),
            (settings, ["\(inside) link set eth0 mtu 1300"]),
            (
                Address(try #require(IPPrefix("10.1.0.5/16")), on: "eth0", in: .container),
                ["\(inside) addr add 10.1.0.5/16 dev eth0 broadcast +"]
            ),
            (
                GatewayAddress(
                    prefix: try #require(IPPrefix("10.1.0.1/16")), link: "cni0", bridge: "cni0",
                    port: nil, replacesOthers: false),
                ["ip addr add 10.1.0.1/16 dev cni0 broadcast +"]
            ),
            (
                Route(to: subnet, by: gateway, on: "eth0", in: .container),
                ["\(inside) route add 10.1.0.0/16 via 10.1.0.1 dev eth0"]
            ),
            (
                PolicyRule(from: address, table: 100, in: .container),
                ["\(inside) rule add from 10.1.0.5 lookup 100"]
            ),
            (
                Sysctl("net/ipv4/ip_forward", "1", in: .host, .shared),
                ["sysctl -qw net/ipv4/ip_forward=1"]
            ),
            (
                BridgeVLANs(of: "veth0", untagged: 5, tagged: [7], in: .host),
                [
                    "bridge vlan del dev veth0 vid 1",
                    "bridge vlan add dev veth0 vid 5 pvid untagged",
                    "bridge vlan add dev veth0 vid 7",
                ]
            ),
            (VRF("blue", table: 10), ["\(inside) link add blue up type vrf table 10"]),
            (VRFMember("eth0", of: "blue"), ["\(inside) link set eth0 master blue"]),
            (
                AdmittedAddresses(owner: owner, addresses: [address], by: .zone("trusted")),
                ["firewall-cmd -q --zone=trusted --add-source=10.1.0.5/32"]
            ),
            (
                Qdisc(.htb(standard: 0xfffe), on: "veth0", .owned),
                ["tc qdisc replace dev veth0 root handle 1: htb default fffe r2q 100000"]
            ),
            (share(ClassID(1, 0x10), Tree.link), [classText("1:10", "1:1")]),
            (
                Tenant(tenant, [share(ClassID(1, 0xf000), Tree.link)], .shared),
                [classText("1:f000", "1:1")]
            ),
            (
                LastFilter(of: "veth0", .ingress, .owned),
                [
                    "tc filter replace dev veth0 egress protocol all pref 65535 u32 "
                        + "match u32 0 0 classid 1:1"
                ]
            ),
            (
                ClassFilter(ClassID(1, 0x10), of: "veth1", on: "veth0", .owned),
                [
                    "tc filter add dev veth0 parent 1: protocol all pref 65535 u32 "
                        + "match u32 0 0 indev veth1 classid 1:10"
                ]
            ),
        ]
    }

    @Test("an object of every kind is spelled as the commands that make it")
    func commands() throws {
        let examples = try Self.examples()
        for (object, commands) in examples {
            #expect(object.commands(CommandNames(interface: "eth0")) == commands)
        }
        let tried = Set(examples.map { "\(type(of: $0.object))" })
        let known = try names(/extension (\w+): CommandObject/)
        #expect(known.subtracting(tried) == Self.listed)
    }

    @Test("every kind of object is spelled as commands, or of rules, which nft shows itself")
    func all() throws {
        let rules: Set<String> = [
            "Admission", "AddressCheck", "ClassName", "ContainerTree", "FormerRules", "GroupChain",
            "GroupTree", "IPTablesRules",
            "Masquerade", "PortMappings", "PortSteering", "ProcessSteering", "SpoofCheck",
            "SteeringTable",
            // Only ever taken away.
            "SpareClass",
        ]
        let resources = try names(/struct (\w+): Resource \{/)
        let commands = try names(/extension (\w+): CommandObject/)
        #expect(resources.count > 20)
        #expect(resources.subtracting(commands) == rules)
        #expect(commands.subtracting(resources) == [])
    }
}
