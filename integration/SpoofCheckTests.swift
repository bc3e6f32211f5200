import Foundation
import Testing

@Suite("bridge: macspoofchk", .enabled(if: isRoot))
struct SpoofCheckTests {
    let world: World

    init() throws { world = try World() }

    private func network(_ keys: JSON = "{}", name: String = "web") -> Network {
        let checking: JSON = #"{"macspoofchk": true}"#
        return Network(bridge: checking.merging(keys), name: name, in: world)
    }

    private func ruleset() throws -> String { try world.onHost("nft list ruleset") }

    @Test("a container is heard with its own hardware address and with no other")
    func dropped() throws {
        let network = network()
        let container = try world.container()
        let result = try network.add(container)
        #expect(try container.reaches("10.71.0.1"))
        #expect(try network.check(container) == nil)
        try container.output(of: "ip link set eth0 address 02:00:00:00:00:66")
        #expect(try !container.run("ping -c 1 -W 1 10.71.0.1").succeeded)
        let own = result["interfaces"][2]["mac"].string ?? ""
        try container.output(of: "ip link set eth0 address \(own)")
        #expect(try container.reaches("10.71.0.1"))
        try network.del(container)
        #expect(try ruleset() == "")
    }

    @Test("a container without the key may send from any address beside one with it")
    func others() throws {
        let (watched, free) = (try world.container(), try world.container())
        try network().add(watched)
        try Network(name: "db", in: world).add(free, arguments: "IP=10.71.0.77")
        try free.output(of: "ip link set eth0 address 02:00:00:00:00:66")
        #expect(try free.reaches("10.71.0.1"))
    }

    @Test("the rules of one container serve ten, and DEL leaves the others'")
    func constantRule() throws {
        let network = network()
        let containers = try (0..<10).map { _ in try world.container() }
        let count = {
            JSON(text: try world.onHost("nft -j list ruleset"))["nftables"].array
                .filter { !$0["rule"].isNull }.count
        }
        try network.add(containers[0])
        let few = try count()
        for container in containers.dropFirst() { try network.add(container) }
        #expect(try count() == few)
        for container in containers.dropLast() { try network.del(container) }
        #expect(try network.check(containers[9]) == nil)
        #expect(try containers[9].reaches("10.71.0.1"))
        try network.del(containers[9])
        #expect(try ruleset() == "")
    }

    @Test("with ipspoofchk another's IPv4 or IPv6 address gets no answer, its own do")
    func addresses() throws {
        let network = Network(
            bridge: #"{"ipspoofchk": true}"#,
            ipam: #"{"ranges": [[{"subnet": "10.71.0.0/16"}], [{"subnet": "fd00:71::/64"}]]}"#,
            in: world)
        let (container, neighbour) = (try world.container(), try world.container())
        try network.add(container)
        try network.add(neighbour)
        #expect(try network.check(container) == nil)
        for address in ["10.71.0.1", "10.71.0.3", "fd00:71::1", "fd00:71::3"] {
            #expect(try container.reaches(address))
        }
        try container.output(of: "ip addr add 10.71.0.99/16 dev eth0")
        try container.output(of: "ip addr add fd00:71::99/64 dev eth0 nodad")
        #expect(try !container.run("ping -c 1 -W 1 -I 10.71.0.99 10.71.0.1").succeeded)
        #expect(try !container.run("ping -c 1 -W 1 -I fd00:71::99 fd00:71::1").succeeded)
        // Nobody learns where the other address is, by ARP or by neighbour discovery.
        #expect(try !neighbour.reaches("10.71.0.99", within: 2))
        #expect(try !neighbour.reaches("fd00:71::99", within: 2))
        #expect(try container.reaches("10.71.0.1"))
        try network.del(container)
        try network.del(neighbour, withResult: false)
        #expect(try ruleset() == "")
    }

    @Test("DEL removes the check when namespace and link are gone")
    func nothingLeft() throws {
        let network = network()
        let container = try world.container()
        let result = try network.add(container)
        #expect(try ruleset().contains(container.id))
        try world.onHost("ip link del \(result["interfaces"][1]["name"].string ?? "")")
        let gone = World.Container(id: container.id, path: "/run/netns/none")
        try network.del(gone, withResult: false)
        #expect(try ruleset() == "")
    }

    @Test("a container that is started anew without a DEL is heard with its new addresses alone")
    func startedAnew() throws {
        let network = network(#"{"ipspoofchk": true}"#)
        let first = try world.container("web")
        try network.add(first, with: #"{"args": {"cni": {"ips": ["10.71.0.50"]}}}"#)
        let second = try network.startAnew(first)
        try network.add(second, with: #"{"args": {"cni": {"ips": ["10.71.0.60"]}}}"#)
        #expect(try second.reaches("10.71.0.1"))
        #expect(try network.check(second) == nil)
        try second.output(of: "ip addr add 10.71.0.50/16 dev eth0")
        #expect(try !second.run("ping -c 1 -W 1 -I 10.71.0.50 10.71.0.1").succeeded)
        try network.del(second)
        #expect(try ruleset() == "")
    }

    @Test("a second ADD of the same interface leaves the first one's check as it was")
    func again() throws {
        let network = network()
        let container = try world.container()
        try network.add(container)
        try world.unchanged {
            let fixed: JSON =
                #"{"ipam": {"type": "static", "addresses": [{"address": "10.71.0.9/16"}]}}"#
            let ended = try network.tryAdd(container, with: fixed)
            #expect(ended.status == 1)
        }
        #expect(try network.check(container) == nil)
    }

    @Test(
        "CHECK names a check that is gone or is of another address",
        arguments: [
            "nft delete table bridge cni_macspoofchk",
            "nft flush set bridge cni_macspoofchk senders",
            "nft flush chain bridge cni_macspoofchk prerouting",
        ])
    func damage(command: String) throws {
        let network = network()
        let container = try world.container()
        try network.add(container)
        try world.onHost(command)
        #expect(try network.check(container)?.contains("hardware address check of port") == true)
        try network.del(container)
    }

    @Test("GC removes the checks of what is not in the list")
    func collected() throws {
        let web = network()
        let current = Network(
            JSON(["name": "web", "cniVersion": "1.1.0", "plugins": web.plugins.map(\.value)]),
            in: world)
        let (kept, stale) = (try world.container(), try world.container())
        try web.add(kept)
        try web.add(stale)
        #expect(try ruleset().contains(stale.id))
        try current.gc(keeping: [(kept, "eth0")])
        #expect(try !ruleset().contains(stale.id) && ruleset().contains(kept.id))
        #expect(try web.check(kept) == nil)
    }

    @Test(
        "a link-local frame from another's hardware address takes nothing away from that one",
        arguments: [true, false])
    func linkLocalFrame(isBridgeThere: Bool) throws {
        let (watched, victim) = (try world.container(), try world.container())
        let open = Network(name: "db", in: world)
        if isBridgeThere { try open.add(victim, arguments: "IP=10.71.0.77") }
        let port = try network().add(watched)["interfaces"][1]["name"].string ?? ""
        if !isBridgeThere { try open.add(victim, arguments: "IP=10.71.0.77") }
        let mac = try victim.ip("link show eth0")[0]["address"].string ?? ""
        for last in ["00", "02", "0e"] {
            let sent = try Command(
                [
                    "python3", "-c",
                    """
                    import socket, sys
                    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                    s.bind(('eth0', 0))
                    mac = bytes.fromhex(sys.argv[1].replace(':', ''))
                    s.send(bytes.fromhex('0180c20000' + sys.argv[2]) + mac + bytes.fromhex('88cc') + bytes(46))
                    """, mac, last,
                ], in: watched.path
            ).wait()
            #expect(sent.succeeded, "\(sent.errors)")
        }
        #expect(try !world.onHost("bridge fdb show brport \(port)").contains(mac))
        #expect(try victim.reaches("10.71.0.1"))
    }

    @Test(
        "an ADD fills chains again that somebody has emptied",
        arguments: ["flush table bridge cni_macspoofchk", "flush chain bridge cni_macspoofchk mac"])
    func emptied(command: String) throws {
        let network = network()
        let (first, second) = (try world.container(), try world.container())
        try network.add(first)
        try world.onHost("nft \(command)")
        try network.add(second)
        for container in [first, second] {
            #expect(try network.check(container) == nil)
            #expect(try container.reaches("10.71.0.1"))
            try container.output(of: "ip link set eth0 address 02:00:00:00:00:66")
            #expect(try !container.run("ping -c 1 -W 1 10.71.0.1").succeeded)
            try network.del(container)
        }
        #expect(try ruleset() == "")
    }

    @Test("the rules of hardware addresses may be saved and loaded by nft, and check as before")
    func saved() throws {
        let network = network()
        let container = try world.container()
        try network.add(container)
        let before = try ruleset()
        #expect(!before.contains("icmpv6"))
        try world.load(before)
        #expect(try ruleset() == before)
        #expect(try network.check(container) == nil)
        try network.del(container)
        #expect(try ruleset() == "")
    }
}
