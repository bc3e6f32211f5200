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
                .tcp, to: "198.51.100.9", port: 8080, in: outside.machine.path, within: 1)
            #expect(elsewhere == nil)
            #expect(server.peer(within: 1) == nil)
            let here = try Socket.client(
                .tcp, to: "192.0.2.1", port: 8080, in: outside.machine.path)
            #expect(here != nil)
            #expect(server.peer() != nil)
        }

        @Test("a service of another table keeps its port, though a container asks the host for it")
        func service() throws {
            let outside = try Outside(world)
            let network = try portmap()
            let subject = try #require(Subject.all.first { $0.name == "portmap" })
            let others = try subject.network(for: 81, in: world)
            let (container, other) = (try world.container(), try world.container())
            try network.add(container)
            let target = try others.add(other)["ips"][0]["address"].string?.split(separator: "/")[0]
            let servers = try [container, other].map {
                try Socket.server(.tcp, port: 80, in: $0.path)
            }
            let call = { () throws -> [Bool] in
                _ = try Socket.client(.tcp, to: "192.0.2.1", port: 8080, in: outside.machine.path)
                return servers.map { $0.peer(within: 1) != nil }
            }
            #expect(try call() == [true, false])
            try world.onHost("nft add table ip services")
            try world.onHost(
                "nft add chain ip services in { type nat hook prerouting priority dstnat; }")
            try world.onHost(
                "nft add rule ip services in ip daddr 192.0.2.1 tcp dport 8080 dnat to "
                    + "\(target ?? ""):80")
            #expect(try call() == [false, true])
        }

        @Test(
            "a container's router advertisements change no route of the host's, the first included")
        func advertisements() throws {
            let network = try Network(conflist: "l2-only.conflist", in: world)
            let container = try world.container()
            // A host that routes believes none anyway.
            try world.onHost("sysctl -qw net.ipv6.conf.all.forwarding=0")
            try world.onHost("sysctl -qw net.ipv6.conf.default.accept_ra=2")
            try network.add(container)
            let advertise = { () throws in
                // Type 134, a life of 1800 s, and a prefix for addresses.
                let program = """
                    import socket, struct
                    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
                    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 1800, 1800, 0)
                    prefix += socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
                    head = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
                    s.sendto(head + prefix, ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))
                    """
                // It is from the link-local address, which comes in its own time.
                let own = "ip -6 addr show dev eth0 scope link -tentative"
                try waitFor("link-local address", pause: 100) {
                    try !container.output(of: own).isEmpty
                }
                let ended = try Command(
                    ["python3", "-"], input: Array(program.utf8), in: container.path
                ).wait()
                guard ended.succeeded else { throw Failure(ended.errors) }
                usleep(300_000)
            }
            let routes = { try self.world.onHost("ip -6 route show proto ra") }
            try advertise()
            #expect(try routes() == "")
            // It is the setting that keeps them out.
            try world.onHost("sysctl -qw net.ipv6.conf.cni-l2.accept_ra=2")
            try advertise()
            #expect(try routes().contains("default"))
        }

        @Test("isolation stands when the host's firewall is loaded anew, and meanwhile")
        func reload() throws {
            let first = try Network(conflist: "firewall.conflist", in: world)
            var plugins = first.plugins
            plugins[0]["bridge"] = #""cni-other""#
            plugins[0]["ipam"]["subnet"] = #""10.95.0.0/24""#
            let second = Network(
                JSON([
                    "name": "other", "cniVersion": JSON(first.version).value,
                    "plugins": plugins.map(\.value),
                ]), in: world)
            let (one, two) = (try world.container(), try world.container())
            try first.add(one)
            let address = try second.add(two)["ips"][0]["address"].string?.split(separator: "/")[0]
            let isReached = { try one.run("ping -c 1 -W 1 \(address ?? "")").succeeded }
            #expect(try !isReached())
            // As firewalld and netfilter-persistent do it: what iptables has goes, and comes from a file.
            for program in ["iptables", "ip6tables"] {
                let ended = try Command(
                    ["\(program)-restore"], input: Array("*filter\nCOMMIT\n*nat\nCOMMIT\n".utf8),
                    in: world.host
                ).wait()
                #expect(ended.succeeded, "\(ended.errors)")
            }
            #expect(try !world.onHost("iptables -S").contains("CNI-FORWARD"))
            #expect(try !isReached())
            // It is the plugin's own table that keeps them apart.
            try world.onHost("nft delete table inet cni_firewall")
            #expect(try isReached())
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
                try Socket.client(
                    .tcp, to: "127.0.0.1", port: 8089, in: container.path, within: 1) == nil)
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

        @Test(
            "no program outside the directories of CNI_PATH is run, however ipam.type leads to one",
            arguments: ["../elsewhere/ipam", "below/ipam", "./../elsewhere/ipam"])
        func delegate(type: String) throws {
            let container = try world.container()
            let trace = world.directory + "/was-run"
            let script = "#!/bin/sh\ntouch \(trace)\necho '{}'\n"
            for folder in ["bin", "bin/below", "elsewhere"] {
                try output(of: "mkdir \(world.directory)/\(folder)")
                _ = FileManager.default.createFile(
                    atPath: "\(world.directory)/\(folder)/ipam", contents: Data(script.utf8),
                    attributes: [.posixPermissions: 0o755])
            }
            let path = "\(world.directory)/bin"
            try output(of: "ln -s \(world.plugins)/bridge \(path)/bridge")
            let isRun = { (type: String) throws -> Command.Ended in
                let network = Network(
                    bridge: JSON(["ipam": ["type": type]]), in: self.world)
                return try self.world.call(
                    "bridge", "ADD", network.configuration(), container, path: path)
            }
            let ended = try isRun(type)
            #expect(ended.json["code"].number == 7)
            #expect(ended.json["msg"].string?.contains("ipam.type") == true)
            #expect(!FileManager.default.fileExists(atPath: trace))
            // The same program in a directory of CNI_PATH is run.
            _ = try isRun("ipam")
            #expect(FileManager.default.fileExists(atPath: trace))
        }

        /// Memory for the most input that is read, a copy while it grows, and the program.
        private let limit = ["prlimit", "--as=\(96 << 20)"]

        @Test("hostile input takes neither much memory nor long", arguments: ["[", "{\"a\":", "1"])
        func memory(piece: String) throws {
            let text = String(repeating: piece, count: (15 << 20) / piece.utf8.count)
            let ended = try world.start(
                "bridge", "ADD", text, container: "c", namespace: "/never/was", through: limit
            ).wait()
            #expect(ended.status == 1)
            #expect(ended.json["code"].number == 6)
            #expect(ended.processorTime < 5)
        }

        @Test("input nested deeper than any runtime's is refused")
        func nested() throws {
            let call = { (levels: Int) in
                let list = String(repeating: "[", count: levels - 1)
                let text =
                    #"{"name": "web", "cniVersion": "1.1.0", "type": "loopback", "x": \#(list)"#
                    + String(repeating: "]", count: levels - 1) + "}"
                return try self.world.start(
                    "loopback", "DEL", text, container: "c", namespace: "/never/was"
                ).wait()
            }
            #expect(try call(128).succeeded)
            let refused = try call(129)
            #expect(refused.json["code"].number == 6)
            #expect(refused.json["msg"].string?.contains("128 levels") == true)
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
