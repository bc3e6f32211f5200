import Addressing
import CNI
import Plan
import PluginRuntime
import Rtnetlink
import Testing

@testable import Plugins

/// What the bridge plugin says there should be.
@Suite struct BridgePlanTests {
    private func planned(_ members: String) throws -> (plan: Plan<Kernel>, hostEnd: String) {
        let call = try call(members)
        let options = try Bridge.options(call)
        var attachment = Attachment(call)
        attachment.result.addresses = [
            .init(try #require(IPPrefix("10.1.0.5/16")), gateway: IPAddress("10.1.0.1"))
        ]
        return (
            Bridge.interfaces(attachment, options) + Bridge.network(attachment, options),
            attachment.hostEnd
        )
    }

    private func plan(_ members: String = "") throws -> [String] {
        try planned(members).plan.steps.map(\.description)
    }

    @Test("what all containers share is never removed by one of them")
    func sharing() throws {
        let (plan, hostEnd) = try planned(
            #"""
            "isGateway": true, "vlan": 100, "ipMasq": true, "ipspoofchk": true,
            "ipam": {"type": "static"}
            """#)
        let names = { (sharing: Sharing) in
            plan.steps.filter { $0.sharing == sharing }.map(\.description)
        }
        let port = vethName(for: "cni0.100")
        #expect(
            names(.shared) == [
                "link cni0", "link cni0.100", "link \(port)", "VLANs of port \(port)",
                "gateway 10.1.0.1/16 on cni0.100", "sysctl net/ipv4/ip_forward=1",
            ])
        #expect(
            names(.owned) == [
                "hardware address check of port \(hostEnd)", "link \(hostEnd)",
                "address check of port \(hostEnd)", "masquerade of 10.1.0.5/16",
            ])
    }

    @Test("an interface that stays down has no addresses")
    func down() throws {
        let up = try plan()
        let down = try plan(#""disableContainerInterface": true"#)
        #expect(up.contains { $0.contains("10.1.0.5/16") })
        #expect(!down.contains { $0.contains("10.1.0.5/16") })
        #expect(down.count == 2)
    }

    @Test("a gateway's address and forwarding come only with isGateway")
    func gateway() throws {
        let isGateway = { (steps: [String]) in
            (
                steps.contains { $0.contains("10.1.0.1/16") },
                steps.contains { $0.contains("ip_forward") }
            )
        }
        #expect(try isGateway(plan()) == (false, false))
        #expect(try isGateway(plan(#""isGateway": true"#)) == (true, true))
    }

    @Test("the owner's host end has a name that follows from the owner alone")
    func names() {
        let owner = Owner(network: "net", containerID: "c1", interface: "eth0")
        #expect(
            owner.hostEnd == Owner(network: "net", containerID: "c1", interface: "eth0").hostEnd)
        var names: Set<String> = []
        for number in 0..<2000 {
            let owner = Owner(network: "net", containerID: "c\(number)", interface: "eth0")
            #expect(owner.hostEnd.hasPrefix("veth") && owner.hostEnd.utf8.count == 15)
            #expect(Owner(tag: owner.tag) == owner)
            names.insert(owner.hostEnd)
        }
        #expect(names.count == 2000)
    }

    @Test("what is no tag of ours has no owner", arguments: ["", "a b", "a b c d", "a  c", " b c"])
    func foreignTags(tag: String) { #expect(Owner(tag: tag) == nil) }
}
