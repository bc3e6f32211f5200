import Glibc
import Testing

/// Rates are measured on a machine with other work: bounds are wide.
@Suite("bandwidth: what traffic gets", .serialized, .enabled(if: isRoot))
struct ShapingTests {
    let world: World

    init() throws { world = try World() }

    @Test("a limit is kept in both directions, and from the first second")
    func limits() throws {
        let network = BandwidthTests.network(BandwidthTests.caps, in: world)
        let container = try world.container()
        try network.add(container)
        let sent = try Flow(
            from: container.path, to: world.host, address: "10.71.0.1", port: 5001, seconds: 3
        ).rate()
        #expect(carried(8.5...10.5).contains(sent), "\(sent) Mbit/s of 10")
        let received = try Flow(
            from: world.host, to: container.path, address: "10.71.0.2", port: 5002, seconds: 3
        ).rate()
        #expect(carried(17...21).contains(received), "\(received) Mbit/s of 20")
    }

    @Test("containers share what is left by their guarantees, and one alone has all of it")
    func borrowing() throws {
        let network = { (rate: Int) in
            BandwidthTests.network(
                """
                {"shaping": {"linkRate": 50000000,
                    "egress": {"rate": \(rate), "ceil": 50000000, "queueMs": 50}}}
                """, in: world)
        }
        let (small, large) = (try world.container(), try world.container())
        try network(10_000_000).add(small)
        try network(30_000_000).add(large)
        let flow = { (container: World.Container, port: Int) in
            try Flow(
                from: container.path, to: world.host, address: "10.71.0.1", port: port, seconds: 3)
        }
        let alone = try flow(small, 5001).rate()
        #expect(carried(42...52).contains(alone), "\(alone) Mbit/s of 50")
        let rates = try Flow.rates(of: [flow(small, 5002), flow(large, 5003)])
        let (less, more) = (rates[0], rates[1])
        #expect(carried(9...20).contains(less), "\(less) Mbit/s of 50, 10 guaranteed")
        #expect(carried(28...40).contains(more), "\(more) Mbit/s of 50, 30 guaranteed")
    }

    @Test("unshapedSubnets pass by the limit, and with shapedSubnets all others do")
    func subnets() throws {
        for (keys, isShaped) in [
            (#""unshapedSubnets": ["10.71.0.1/32"]"#, false),
            (#""shapedSubnets": ["10.71.0.0/16"]"#, true),
            (#""shapedSubnets": ["10.72.0.0/16"]"#, false),
        ] as [(String, Bool)] {
            let network = BandwidthTests.network(
                "{\"egressRate\": 10000000, \"egressBurst\": 100000, \(keys)}", in: world)
            let container = try world.container()
            try network.add(container)
            let rate = try Flow(
                from: container.path, to: world.host, address: "10.71.0.1", port: 5001,
                seconds: 1
            ).rate()
            #expect((rate < 11) == isShaped, "\(rate) Mbit/s: \(keys)")
            try network.del(container)
        }
    }

    @Test("filters in the container see what it receives through the shared tree")
    func visible() throws {
        let network = BandwidthTests.network(BandwidthTests.shares, in: world)
        let container = try world.container()
        try network.add(container)
        for words in [
            "add table netdev t",
            "add chain netdev t c { type filter hook ingress device eth0 priority 0 ; }",
            "add rule netdev t c ip protocol icmp counter",
        ] {
            try container.output(of: "nft " + words)
        }
        for _ in 0..<3 { #expect(try container.reaches("10.71.0.1")) }
        let seen = try container.output(of: "nft list chain netdev t c")
        #expect(seen.contains("counter packets 3 "), "\(seen)")
    }

    @Test("what one container sends another of the host is held back by both their classes")
    func sameHost() throws {
        let network = { (keys: String) in
            BandwidthTests.network("{\"shaping\": {\(keys)}}", in: world)
        }
        let sender = try world.container("sender")
        try network(#""egress": {"ceil": 40000000}, "ingress": {"ceil": 90000000}"#).add(sender)
        let receiver = try world.container("receiver")
        try network(
            """
            "egress": {"ceil": 90000000}, "ingress": {"ceil": 16000000}, "linkRate": 100000000,
            "classes": [{"name": "slow", "protocol": "tcp", "localPorts": ["5010-5012"],
                "ingress": {"ceil": 5000000}}]
            """
        ).add(receiver)
        let rate = { (port: Int, address: String) in
            try Flow(
                from: sender.path, to: receiver.path, address: address, port: port, seconds: 3
            ).rate()
        }
        let whole = try rate(5001, "10.71.0.3")
        #expect(carried(13...17).contains(whole), "\(whole) Mbit/s of 16")
        let part = try rate(5011, "10.71.0.3")
        #expect(carried(4...5.5).contains(part), "\(part) Mbit/s of 5")
        let back = try Flow(
            from: receiver.path, to: sender.path, address: "10.71.0.2", port: 5001, seconds: 3
        ).rate()
        #expect(carried(75...95).contains(back), "\(back) Mbit/s of 90")
        #expect(try receiver.reaches("10.71.0.2"))
    }

    @Test("a short packet does not wait behind a long queue of another container")
    func neighbour() throws {
        let network = BandwidthTests.network(BandwidthTests.caps, in: world)
        let (busy, quiet) = (try world.container(), try world.container())
        try network.add(busy)
        try network.add(quiet)
        let flow = try Flow(
            from: busy.path, to: world.host, address: "10.71.0.1", port: 5001, seconds: 2)
        let text = try quiet.output(of: "ping -i 0.1 -c 10 10.71.0.1")
        _ = try flow.rate()
        // Each would wait behind the queue; few do for a processor.
        let waits = waits(text)
        try #require(waits.count >= 8, "\(text)")
        #expect(waits[waits.count / 2] < 5, "\(text)")
    }

    /// How long each ping of an output took, in milliseconds, the shortest first.
    private func waits(_ text: String) -> [Double] {
        text.matches(of: /time=([0-9.]+)/).compactMap { Double($0.output.1) }.sorted()
    }

    @Test("with queueMs, a packet waits behind its own container's flow no longer than that")
    func shortQueue() throws {
        let network = BandwidthTests.network(
            """
            {"shaping": {"egress": {"rate": 100000000, "ceil": 100000000, "queueMs": 4}}}
            """, in: world)
        let container = try world.container()
        try network.add(container)
        let idle = try world.container()
        try Network(
            bridge: #"{"bridge": "cni1"}"#, ipam: #"{"subnet": "10.72.0.0/16"}"#, name: "idle",
            in: world
        ).add(idle)
        // On a busy machine a ping also waits for a processor, as one without a flow does.
        var best = Double.infinity
        for turn in 0..<6 where best > 5 {
            let flow = try Flow(
                from: container.path, to: world.host, address: "10.71.0.1", port: 5001 + turn,
                seconds: 2.5)
            usleep(300_000)
            let pings = try [(container, "10.71.0.1"), (idle, "10.72.0.1")].map { from, address in
                try Command(
                    ["ping", "-i", "0.01", "-c", "200", address], in: from.path)
            }
            let (own, others) = (waits(pings[0].wait().output), waits(pings[1].wait().output))
            // What finds the queue full is lost, as the flow's own packets are.
            guard try flow.rate() > 80, own.count > 100, others.count > 100 else { continue }
            best = min(best, own[own.count * 99 / 100] - others[others.count * 99 / 100])
        }
        #expect(best <= 5, "\(best) ms, p99")
    }
}
