import Testing

@Suite("portmap: SCTP", .enabled(if: isRoot && KernelFeature.sctp.isPresent))
struct SCTPTests {
    let world: World
    let outside: Outside

    init() throws {
        world = try World()
        outside = try Outside(world)
        try outside.machine.output(of: "ip route add default via 192.0.2.1")
    }

    private func network(_ backend: String) -> Network {
        let bridge = Network(
            bridge: #"{"isDefaultGateway": true}"#, name: "web", version: "1.1.0", in: world)
        let portmap: JSON = """
            {"type": "portmap", "backend": "\(backend)", "runtimeConfig": {"portMappings":
                [{"hostPort": 3868, "containerPort": 3000, "protocol": "sctp"}]}}
            """
        return Network(
            JSON([
                "name": "web", "cniVersion": "1.1.0",
                "plugins": [bridge.plugins[0].value, portmap.value],
            ]), in: world)
    }

    /// Answers one association with a word.
    private func server(_ word: String, in container: World.Container) throws -> Command {
        try Command(
            [
                "python3", "-c",
                """
                import socket, sys
                s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
                s.settimeout(20); s.bind(('', 3000)); s.listen(4)
                c, peer = s.accept(); c.sendall(sys.argv[1].encode()); c.recv(1)
                print(peer[0])
                """, word,
            ], in: container.path)
    }

    /// What the host's port answers.
    private func ask() throws -> String {
        try Command(
            [
                "python3", "-c",
                """
                import socket, time
                for _ in range(40):
                    try:
                        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
                        s.settimeout(5); s.bind(('', 4000)); s.connect(('192.0.2.1', 3868))
                        print(s.recv(16).decode(), end=''); s.sendall(b'x'); break
                    except OSError: s.close(); time.sleep(0.2)
                """,
            ], in: outside.machine.path
        ).wait().output
    }

    @Test(
        "a port leads to the container, and to the next one by the same client's port",
        arguments: ["nftables", "iptables"])
    func mapped(backend: String) throws {
        let network = network(backend)
        let (one, two) = (try world.container(), try world.container())
        try network.add(one)
        let first = try server("one", in: one)
        #expect(try ask() == "one")
        #expect(first.wait().output == Outside.address + "\n")
        let tracked = { try world.onHost("cat /proc/net/nf_conntrack") }
        #expect(try tracked().contains("dport=3868"))
        try network.del(one)
        #expect(try !tracked().contains("dport=3868"))
        try network.add(two)
        let second = try server("two", in: two)
        #expect(try ask() == "two")
        #expect(second.wait().output == Outside.address + "\n")
        try network.del(two)
        #expect(try world.onHost("nft list ruleset") == "")
    }
}
