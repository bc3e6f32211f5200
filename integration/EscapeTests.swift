import Foundation
import Testing

@Suite("packets of containers that go", .enabled(if: isRoot), .serialized)
struct EscapeTests {
    /// Datagrams without end to a port of an address, whatever the kernel says to it.
    private static let flood = """
        import socket, sys, time
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end = time.monotonic() + 600
        while time.monotonic() < end:
            try: s.sendto(b'x', (sys.argv[1], int(sys.argv[2])))
            except OSError: pass
            time.sleep(0.0002)
        """

    @Test(
        "nothing with a container's address leaves the host while its DEL runs, under load",
        arguments: ["bridge", "ptp"])
    func removal(plugin: String) throws {
        let world = try World()
        let outside = try Outside(world)
        try world.onHost("ip route add default via \(Outside.address)")
        let rules = """
            table inet escapes {
                counter out { }
                counter in { }
                counter hidden { }
                chain seen {
                    type filter hook prerouting priority raw
                    ip saddr 10.71.0.0/16 counter name out
                    ip daddr 10.71.0.0/16 counter name in
                    ip saddr 192.0.2.1 udp dport 9 counter name hidden
                }
            }
            """
        let loaded = try Command(
            ["nft", "-f", "-"], input: Array((rules + "\n").utf8), in: outside.machine.path
        ).wait()
        try #require(loaded.succeeded, "\(loaded.errors)")
        let count = { (counter: String) in
            JSON(
                text: try outside.machine.output(of: "nft -j list counter inet escapes \(counter)"))[
                    "nftables"
                ].array.compactMap { $0["counter"]["packets"].number }.first ?? -1
        }
        let network = Network(
            JSON(
                text: """
                    {"cniVersion": "1.1.0", "name": "web", "plugins": [
                      {"type": "\(plugin)", "isDefaultGateway": true, "ipMasq": true,
                       "ipam": {"type": "host-local", "subnet": "10.71.0.0/16",
                                "dataDir": "\(world.directory)",
                                "routes": [{"dst": "0.0.0.0/0"}]}},
                      {"type": "portmap", "runtimeConfig": {"portMappings": [
                          {"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]}}]}
                    """), in: world)
        let container = try world.container()
        let floods = try [
            (container, Outside.address, "9"), (outside.machine, "192.0.2.1", "5353"),
        ].map { from, address, port in
            try Command(["python3", "-c", Self.flood, address, port], in: from.path)
        }
        defer {
            for flood in floods {
                kill(flood.process, SIGKILL)
                _ = flood.wait()
            }
        }
        var received = 0
        for _ in 0..<(Sweep.isWhole ? 1_000 : 30) {
            try network.add(container)
            usleep(20_000)
            let link = try container.ip("-s link show eth0")[0]
            received += link["stats64"]["rx"]["packets"].number ?? 0
            try network.del(container)
        }
        #expect(try count("hidden") > 0)
        #expect(received > 0)
        #expect(try count("out") == 0)
        #expect(try count("in") == 0)
        // It is the order that keeps them in: a link that goes first lets them out.
        guard plugin == "ptp" else { return }
        let result = try network.add(container)
        usleep(50_000)
        try world.onHost("ip link del \(result["interfaces"][0]["name"].string ?? "")")
        try waitFor("packet that goes astray", pause: 50) { try count("in") > 0 }
        try network.del(container)
    }
}
