import Foundation
import Testing

@Suite("bridge: ipMasq", .enabled(if: isRoot))
struct MasqueradeTests {
    let world: World
    let outside: Outside

    init() throws {
        world = try World()
        outside = try Outside(world)
    }

    static let dualStack: JSON =
        #"{"ranges": [[{"subnet": "10.71.0.0/16"}], [{"subnet": "fd00:71::/64"}]]}"#

    private func network(_ keys: JSON = "{}", ipam: JSON = dualStack, name: String = "web")
        -> Network
    {
        let masquerading: JSON = #"{"isDefaultGateway": true, "ipMasq": true}"#
        return Network(bridge: masquerading.merging(keys), ipam: ipam, name: name, in: world)
    }

    private func ruleset() throws -> String { try world.onHost("nft list ruleset") }

    @Test("what leaves the network has the host's address, in both families")
    func seenOutside() throws {
        let network = network()
        let container = try world.container()
        try network.add(container)
        #expect(try container.reaches(Outside.address))
        #expect(try container.reaches(Outside.address6))
        #expect(try outside.seen() == ["192.0.2.1", "2001:db8::1"])
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try ruleset() == "")
    }

    @Test("without ipMasq nothing comes back, and no rule is made")
    func plain() throws {
        let network = network(#"{"ipMasq": false}"#)
        let container = try world.container()
        try network.add(container)
        #expect(try !container.run("ping -c 3 -i 0.2 -W 1 \(Outside.address)").succeeded)
        let seen = try outside.seen()
        #expect(seen == ["10.71.0.2"])
        #expect(try ruleset() == "")
    }

    @Test("containers of one network see each other's own addresses, other networks the host's")
    func whoSeesWhat() throws {
        let (here, there) = (
            network(ipam: #"{"subnet": "10.71.0.0/16"}"#),
            network(
                #"{"bridge": "cni1", "ipMasq": false}"#, ipam: #"{"subnet": "10.72.0.0/16"}"#,
                name: "db")
        )
        let (first, second, other) = (
            try world.container(), try world.container(), try world.container()
        )
        try here.add(first)
        try here.add(second)
        try there.add(other)
        let watch = { (container: World.Container) in
            try container.output(of: "nft add table ip w")
            try container.output(of: "nft add set ip w s { type ipv4_addr; flags dynamic; }")
            try container.output(
                of: "nft add chain ip w c { type filter hook input priority 0; }")
            try container.output(
                of: "nft add rule ip w c icmp type echo-request add @s { ip saddr }")
        }
        try watch(second)
        try watch(other)
        #expect(try first.reaches("10.71.0.3"))
        #expect(try second.output(of: "nft list set ip w s").contains("10.71.0.2"))
        #expect(try first.reaches("10.72.0.2"))
        #expect(try other.output(of: "nft list set ip w s").contains("10.72.0.1"))
    }

    @Test("the rules are as many for ten containers as for one, and an element says whose it is")
    func constantRules() throws {
        let network = network()
        let containers = try (0..<10).map { _ in try world.container() }
        let rules = {
            JSON(text: try world.onHost("nft -j list ruleset"))["nftables"].array
                .filter { !$0["rule"].isNull }.count
        }
        try network.add(containers[0])
        let few = try rules()
        for container in containers.dropFirst() { try network.add(container) }
        #expect(try rules() == few)
        #expect(try ruleset().contains("comment \"web \(containers[3].id) eth0\""))
        for container in containers.dropLast() { try network.del(container) }
        #expect(try containers[9].reaches(Outside.address))
        try network.del(containers[9])
        #expect(try ruleset() == "")
    }

    @Test("DEL removes the rules when namespace, link, result and lease are gone")
    func nothingLeft() throws {
        let network = network()
        let container = try world.container()
        let result = try network.add(container)
        #expect(try ruleset().contains(container.id))
        try world.onHost("ip link del \(result["interfaces"][1]["name"].string ?? "")")
        try world.onHost("rm -rf \(world.directory)/web")
        let gone = World.Container(id: container.id, path: "/run/netns/none")
        try network.del(gone, withResult: false)
        #expect(try ruleset() == "")
        try network.del(gone, withResult: false)
    }

    @Test("DEL does its work where the container's port is down", arguments: [true, false])
    func portDown(checksSpoofing: Bool) throws {
        let network = network(checksSpoofing ? #"{"macspoofchk": true}"# : "{}")
        let (first, container) = (try world.container(), try world.container())
        try network.add(first)
        try world.unchanged {
            let port = try network.add(container)["interfaces"][1]["name"].string ?? ""
            try world.onHost("ip link set \(port) down")
            try network.del(container)
        }
    }

    @Test("of two owners of one address neither takes it from the other", arguments: [true, false])
    func sharedAddress(firstGoesFirst: Bool) throws {
        let fixed = { (length: Int) -> JSON in
            JSON([
                "type": "static", "addresses": [["address": "10.71.0.9/\(length)"]],
            ])
        }
        // The second is on another bridge and in a network of another size.
        let (one, two) = (
            network(#"{"isDefaultGateway": false, "isGateway": false}"#, ipam: fixed(16)),
            network(
                #"{"bridge": "cni1", "isDefaultGateway": false, "isGateway": false}"#,
                ipam: fixed(24), name: "db")
        )
        let (first, second) = (try world.container(), try world.container())
        try one.add(first)
        try two.add(second)
        let (goes, stays) =
            firstGoesFirst ? ((one, first), (two, second)) : ((two, second), (one, first))
        try goes.0.del(goes.1)
        #expect(try stays.0.check(stays.1) == nil)
        let network = firstGoesFirst ? "10.71.0.0/24" : "10.71.0.0/16"
        #expect(try ruleset().contains(": goto net-\(network)"))
        #expect(try !ruleset().contains(goes.1.id))
        try stays.0.del(stays.1)
        #expect(try ruleset() == "")
    }

    @Test("a late DEL of an address's former owner leaves the new owner's")
    func lateDel() throws {
        let network = network()
        let new = try network.successor()
        #expect(try network.check(new) == nil)
        #expect(try new.reaches(Outside.address))
    }

    @Test("a container that is started anew without a DEL has its new address masqueraded alone")
    func startedAnew() throws {
        let network = network()
        let first = try world.container("web")
        try network.add(first, with: #"{"args": {"cni": {"ips": ["10.71.0.50"]}}}"#)
        let second = try network.startAnew(first)
        try network.add(second, with: #"{"args": {"cni": {"ips": ["10.71.0.60"]}}}"#)
        #expect(try second.reaches(Outside.address))
        #expect(try network.check(second) == nil)
        #expect(try !ruleset().contains("10.71.0.50"))
        try network.del(second)
        #expect(try ruleset() == "")
    }

    @Test("GC removes thousands of elements in one transaction")
    func thousands() throws {
        let web = network()
        let current = Network(
            JSON(["name": "web", "cniVersion": "1.1.0", "plugins": web.plugins.map(\.value)]),
            in: world)
        let container = try world.container()
        try web.add(container)
        let numbers = 0..<6000
        let target = "goto net-10.71.0.0/16"
        let address = { (number: Int) in "10.71.\(100 + number / 250).\(number % 250 + 1)" }
        let holders = numbers.map {
            "\"v\($0)\" . 0 comment \"web c\($0) eth0\" : \(address($0)) . 16"
        }
        let sources = numbers.map {
            "\(address($0)) comment \"web c\($0) eth0\" : \(target)"
        }
        let text =
            "add element inet cni_masquerade holders4 { \(holders.joined(separator: ",")) }\n"
            + "add element inet cni_masquerade sources4 { \(sources.joined(separator: ",")) }\n"
        let file = world.directory + "/elements"
        try text.write(toFile: file, atomically: true, encoding: .utf8)
        try world.onHost("nft -f \(file)")
        try current.gc(keeping: [(container, "eth0")])
        #expect(try !ruleset().contains("web c5999 eth0"))
        #expect(try web.check(container) == nil)
        #expect(try container.reaches(Outside.address))
    }

    @Test("the longest owner that fits is found again")
    func longestOwner() throws {
        let network = network()
        let fits = try world.container(String(repeating: "x", count: 242))
        try network.add(fits)
        #expect(try network.check(fits) == nil)
        try network.del(fits)
        #expect(try ruleset() == "")
        let tooLong = try world.container(String(repeating: "x", count: 243))
        #expect(try network.tryAdd(tooLong).json["code"].number == 4)
    }

    @Test("GC removes the rules of what is not in the list, and leaves other networks'")
    func collected() throws {
        let (web, db) = (
            network(),
            network(#"{"bridge": "cni1"}"#, ipam: #"{"subnet": "10.72.0.0/16"}"#, name: "db")
        )
        let current = Network(
            JSON(["name": "web", "cniVersion": "1.1.0", "plugins": web.plugins.map(\.value)]),
            in: world)
        let (kept, stale, other) = (
            try world.container(), try world.container(), try world.container()
        )
        try web.add(kept)
        try web.add(stale)
        try db.add(other)
        try current.gc(keeping: [(kept, "eth0")])
        let rules = try ruleset()
        #expect(rules.contains(kept.id) && rules.contains(other.id) && !rules.contains(stale.id))
        try current.gc(keeping: [])
        #expect(try !ruleset().contains("web "))
        #expect(try ruleset().contains(other.id))
    }

    @Test(
        "CHECK names an address that is no longer masqueraded",
        arguments: [
            "nft delete table inet cni_masquerade",
            "nft delete element inet cni_masquerade sources4 { 10.71.0.2 }",
            "nft flush chain inet cni_masquerade postrouting",
            "nft flush chain inet cni_masquerade net-10.71.0.0/16",
        ])
    func damage(command: String) throws {
        let network = network()
        let container = try world.container()
        try network.add(container)
        try world.onHost(command)
        let message = try network.check(container)
        #expect(message?.contains("masquerade of 10.71.0.2/16") == true)
        try network.del(container)
        #expect(try ruleset() == "")
    }

    @Test("an ADD that fails later leaves no rule and takes nobody's away")
    func rolledBack() throws {
        let network = network()
        let (lasting, failing) = (try world.container(), try world.container())
        try network.add(lasting)
        try world.unchanged {
            // A route by a hop that is on no link fails after the rules are made.
            let broken: JSON = """
                {"ipam": {"type": "static", "addresses": [{"address": "10.71.0.99/16"}],
                 "routes": [{"dst": "10.99.0.0/16", "gw": "203.0.113.1"}]}}
                """
            let ended = try network.tryAdd(failing, with: broken)
            #expect(ended.status == 1)
        }
        #expect(try lasting.reaches(Outside.address))
    }

    @Test("twenty ADDs at once all masquerade, and their DELs at once leave nothing")
    func atOnce() throws {
        let network = network()
        let containers = try (0..<20).map { _ in try world.container() }
        for verb in ["ADD", "DEL"] {
            let calls = try containers.map {
                try world.start(
                    "bridge", verb, network.configuration().description, container: $0.id,
                    namespace: $0.path)
            }
            for call in calls {
                let ended = call.wait()
                #expect(ended.succeeded, "\(verb): \(ended.output)")
            }
            let rules = try ruleset()
            if verb == "ADD" {
                for container in containers { #expect(rules.contains(container.id)) }
            } else {
                #expect(rules == "")
            }
        }
    }

    @Test("the table of the reference plugin is left alone, and both masquerade")
    func besideReference() throws {
        try world.onHost("nft add table inet cni_plugins_masquerade")
        try world.onHost(
            "nft add chain inet cni_plugins_masquerade masq_checks "
                + "{ type nat hook postrouting priority srcnat; }")
        try world.onHost(
            "nft add rule inet cni_plugins_masquerade masq_checks "
                + "ip saddr == 10.72.0.2 ip daddr != 10.72.0.0/16 masquerade")
        let before = try ruleset()
        let other = Network(
            bridge: #"{"bridge": "cni1", "isDefaultGateway": true}"#,
            ipam: #"{"subnet": "10.72.0.0/16"}"#, name: "db", in: world)
        let (own, theirs) = (try world.container(), try world.container())
        let network = network()
        try other.add(theirs)
        try network.add(own)
        #expect(try own.reaches(Outside.address))
        #expect(try theirs.reaches(Outside.address))
        #expect(try outside.seen() == ["192.0.2.1"])
        try network.del(own)
        #expect(try ruleset() == before)
    }

    @Test("a backend that there is not is refused by name")
    func backends() throws {
        let container = try world.container()
        try world.unchanged {
            let unknown = try network(#"{"ipMasqBackend": "x"}"#).tryAdd(container)
            #expect(unknown.json["msg"].string?.contains("unknown ipmasq backend") == true)
        }
        let named = network(#"{"ipMasqBackend": "nftables"}"#)
        try named.add(container)
        #expect(try container.reaches(Outside.address))
    }

    @Test(
        "an ADD fills chains again that somebody has emptied",
        arguments: [
            "flush table inet cni_masquerade", "flush chain inet cni_masquerade net-10.71.0.0/16",
        ])
    func emptied(command: String) throws {
        let network = network()
        let containers = try (0..<4).map { _ in try world.container() }
        for container in containers.dropLast() { try network.add(container) }
        try world.onHost("nft \(command)")
        try network.add(containers[3])
        for container in containers {
            #expect(try container.reaches(Outside.address))
            #expect(try network.check(container) == nil)
        }
        let seen = try outside.seen()
        #expect(seen.contains("192.0.2.1") && seen.allSatisfy { !$0.hasPrefix("10.71.") })
        for container in containers { try network.del(container) }
        #expect(try ruleset() == "")
    }

    @Test("an address in two networks is masqueraded once")
    func twice() throws {
        let network = network(
            #"""
            {"isGateway": false, "isDefaultGateway": false, "ipam": {"type": "static",
                "addresses": [{"address": "10.71.0.9/16"}, {"address": "10.71.0.9/24"}]}}
            """#)
        let container = try world.container()
        try network.add(container)
        #expect(try ruleset().contains("10.71.0.9 comment"))
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try ruleset() == "")
    }

    @Test(
        "DEL removes the rules where the configuration no longer asks for them",
        arguments: [true, false])
    func formerConfiguration(isByIPTables: Bool) throws {
        let keys: JSON = isByIPTables ? #"{"ipMasqBackend": "iptables"}"# : "{}"
        let network = network(keys.merging(#"{"macspoofchk": true}"#))
        let container = try world.container()
        try network.add(container)
        #expect(try ruleset() != "")
        let now = network.configuration(with: #"{"ipMasq": false, "macspoofchk": false}"#)
        #expect(try world.call("bridge", "DEL", now, container).succeeded)
        let left = try ruleset()
        #expect(left == "", "\(left)")
    }
}
