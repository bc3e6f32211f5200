import Foundation
import Testing

extension Torture {
    @Suite("what must not be possible", .enabled(if: isRoot), .serialized)
    struct SecurityTests {
        let world: World

        init() throws { world = try World() }

        private func portmap() throws -> Network {
            let subject = try #require(Subject.all.first { $0.name == "portmap" })
            return try subject.network(for: 80, in: world)
        }

        @Test("a host port takes nothing that is on its way to somewhere else")
        func transit() throws {
            let outside = try Outside(world)
            try outside.machine.output(of: "ip route add default via 192.0.2.1")
            let network = try portmap()
            let container = try world.container()
            try network.add(container)
            let server = try Socket.server(.tcp, port: 80, in: container.path)
            let elsewhere = try Socket.client(
                .tcp, to: "198.51.100.9", port: 8080, in: outside.machine.path)
            #expect(elsewhere == nil)
            #expect(server.peer(within: 1) == nil)
            let here = try Socket.client(
                .tcp, to: "192.0.2.1", port: 8080, in: outside.machine.path)
            #expect(here != nil)
            #expect(server.peer() != nil)
        }

        @Test("a container does not reach what the host offers to itself, though its bridge could")
        func loopback() throws {
            let network = try portmap()
            let container = try world.container()
            let result = try network.add(container)
            let gateway = result["ips"][0]["gateway"].string ?? ""
            _ = try Socket.server(.tcp, port: 8088, in: world.host)
            let server = try Socket.server(.tcp, port: 8089, in: world.host)
            // Only a container with capabilities of its own can send such packets at all.
            try container.output(of: "sysctl -qw net.ipv4.conf.eth0.route_localnet=1")
            _ = try container.run("ip route del local 127.0.0.0/8 dev lo table local")
            try container.output(of: "ip route add 127.0.0.1 via \(gateway) dev eth0")
            #expect(
                try Socket.client(.tcp, to: "127.0.0.1", port: 8089, in: container.path) == nil)
            // It is the rules that keep it out.
            let chains = try world.onHost("nft -j list chains")
            for chain in JSON(text: chains)["nftables"].array.map({ $0["chain"] })
            where chain["table"].string == "cni_portmap" {
                if chain["prio"].number.map({ $0 < -150 }) == true {
                    try world.onHost(
                        "nft flush chain inet cni_portmap \(chain["name"].string ?? "")")
                }
            }
            #expect(
                try Socket.client(.tcp, to: "127.0.0.1", port: 8089, in: container.path) != nil)
            #expect(server.peer() != nil)
        }

        /// Memory for the most input that is read, a copy while it grows, and the program.
        private let limit = ["prlimit", "--as=\(96 << 20)"]

        @Test("hostile input takes neither much memory nor long", arguments: ["[", "{\"a\":", "1"])
        func memory(piece: String) throws {
            let text = String(repeating: piece, count: (15 << 20) / piece.utf8.count)
            let start = Date()
            let ended = try world.start(
                "bridge", "ADD", text, container: "c", namespace: "/never/was", through: limit
            ).wait()
            #expect(ended.status == 1)
            #expect(ended.json["code"].number == 6)
            #expect(Date().timeIntervalSince(start) < 5)
        }

        @Test("more input than any runtime sends is refused, not read to its end")
        func endless() throws {
            let text = String(repeating: " ", count: 64 << 20)
            let ended = try world.start(
                "bridge", "ADD", text, container: "c", namespace: "/never/was", through: limit
            ).wait()
            #expect(ended.json["msg"].string?.contains("more than 16777216 bytes") == true)
        }
    }
}
