import Foundation
import Testing

/// Shaping on a kernel that lacks something.
///
/// The kernel here has everything. A library loaded into the plugin spoils its messages about what a
/// test says is lacking, so that the kernel refuses them; see `lacking/lacking.c`.
@Suite("bandwidth: what a kernel lacks", .enabled(if: isRoot))
struct FallbackTests {
    let world: World

    init() throws { world = try World() }

    private func tc(_ words: String) throws -> String { try world.onHost("tc " + words) }

    private func port(_ result: JSON) -> String { result["interfaces"][1]["name"].string ?? "" }

    private static func shares(_ more: String = "") -> JSON {
        """
        {"shaping": {"linkRate": 50000000, \(more)
            "egress": {"rate": 10000000, "ceil": 20000000},
            "ingress": {"rate": 10000000, "ceil": 20000000}}}
        """
    }

    @Test(
        "plain limits need no more than a kernel has, and hold",
        arguments: [
            ("egress", "in the tree", "htb"), ("fwd", "in the tree", "htb"),
            ("fwd bpf", "in the tree", "htb"), ("fwd bpf u32", "htb", "htb"),
            ("fwd mirred", "htb", "htb"), ("ifb", "htb", "htb"),
            ("htb", "tbf", "tbf"), ("ifb fwd egress", "htb", "htb"), ("ifb htb", "tbf", "tbf"),
        ])
    func limits(lacking: String, sent: String, received: String) throws {
        try world.lack(lacking)
        let network = BandwidthTests.network(BandwidthTests.caps, in: world)
        let first = try world.container()
        try network.add(first)
        try network.del(first)
        try world.unchanged {
            let container = try world.container()
            let result = try network.add(container)
            #expect(try network.check(container) == nil)
            let inside = try container.output(of: "tc qdisc show dev eth0")
            #expect(
                inside.contains(sent == "in the tree" ? "noqueue" : "qdisc \(sent)"), "\(inside)")
            #expect(try tc("qdisc show dev \(port(result))").contains("qdisc \(received)"))
            if lacking == "ifb" || lacking == "htb" {
                let out = try Flow(
                    from: container.path, to: world.host, address: "10.71.0.1", port: 5001,
                    seconds: 1.5
                ).rate()
                #expect(carried(6...11).contains(out), "\(out) Mbit/s of 10")
                let back = try Flow(
                    from: world.host, to: container.path,
                    address: result["ips"][0]["address"].string?.split(separator: "/").first
                        .map(String.init) ?? "", port: 5002, seconds: 1.5
                ).rate()
                #expect(carried(12...22).contains(back), "\(back) Mbit/s of 20")
            }
            // A second ADD changes it in place.
            let faster = BandwidthTests.network(
                BandwidthTests.caps.merging(#"{"egressRate": 15000000}"#), in: world)
            let again = faster.configuration(faster.plugins[1], previous: result)
            let ended = try world.call("bandwidth", "ADD", again, container)
            #expect(ended.succeeded, "\(ended.output)")
            let checked = try world.call("bandwidth", "CHECK", again, container)
            #expect(checked.succeeded, "\(checked.output)")
            try network.del(container)
        }
    }

    @Test(
        "what cannot be kept is refused with what the kernel lacks, and the host is as it was",
        arguments: [
            (
                "egress bpf u32", "shaping.linkRate, shaping.ingress.rate: cannot be kept",
                "egress hook"
            ),
            ("ifb", "shaping.linkRate, shaping.egress.rate, shaping.ingress.rate", "IFB"),
            ("fwd mirred", "shaping.linkRate, shaping.egress.rate", "forwarding at ingress"),
            ("htb", "shaping.linkRate, shaping.egress.rate", "HTB"),
        ])
    func refused(lacking: String, keys: String, named: String) throws {
        let bridge = Network(version: "1.1.0", in: world)
        let container = try world.container()
        let result = try bridge.add(container)
        let network = BandwidthTests.network(Self.shares(), in: world)
        try world.onHost("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
        try world.lack(lacking)
        try world.unchanged {
            for verb in ["ADD", "STATUS"] {
                let ended = try world.call(
                    "bandwidth", verb,
                    network.configuration(network.plugins[1], previous: result), container)
                let message = ended.json["msg"].string ?? ""
                #expect(ended.json["code"].number == 50, "\(verb): \(ended.output)")
                #expect(message.hasPrefix(keys), "\(verb): \(message)")
                #expect(message.contains("because this kernel lacks"), "\(verb): \(message)")
                #expect(message.contains(named), "\(verb): \(message)")
            }
        }
        try bridge.del(container)
    }

    @Test("with onMissing the ceilings are kept, and ADD and CHECK say what is not")
    func degraded() throws {
        try world.lack("ifb")
        let network = BandwidthTests.network(
            Self.shares(#""onMissing": "degrade", "#), in: world)
        let container = try world.container()
        let ended = try network.tryAdd(container)
        #expect(ended.succeeded, "\(ended.output)")
        let remark =
            "shaping.linkRate, shaping.egress.rate, shaping.ingress.rate not kept; egress by HTB in "
            + "the container, ingress by HTB at the host's end, because this kernel lacks IFB ("
        #expect(ended.errors.hasPrefix("bandwidth: " + remark), "\(ended.errors)")
        #expect(
            try container.output(of: "tc class show dev eth0").contains("rate 20Mbit ceil 20Mbit"))
        #expect(try network.check(container) == nil)
        try container.output(of: "tc qdisc del dev eth0 root")
        let message = try network.check(container) ?? ""
        #expect(message.hasPrefix(remark), "\(message)")
        #expect(message.contains("root qdisc of eth0: wanted present"), "\(message)")
        try network.del(container)
    }

    @Test("a kernel that lacks all of it is told of by ADD and STATUS")
    func nothing() throws {
        try world.lack("ifb htb tbf")
        let network = BandwidthTests.network(BandwidthTests.caps, in: world)
        let ended = try network.tryAdd(try world.container())
        #expect(ended.json["code"].number == 50)
        #expect(
            ended.json["msg"].string?.hasPrefix(
                "egress, ingress: cannot be kept, because this kernel lacks HTB (") == true,
            "\(ended.output)")
    }
}

extension World {
    /// Makes the kernel lack things, if the plugins' program can be made to believe it.
    func lack(_ names: String) throws {
        let library = "\(directory)/lacking.so"
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("lacking/lacking.c").path
        try output(of: "gcc -shared -fPIC -O1 -Wall -Werror -o \(library) \(source)")
        guard try run("ldd \(plugins)/bandwidth").succeeded else {
            try Test.cancel("the program is static, nothing can be loaded into it")
        }
        environment = ["LD_PRELOAD": library, "LACKING": names]
    }
}
