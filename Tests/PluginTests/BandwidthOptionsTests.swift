import CNI
import Netlink
import PluginRuntime
import Testing
import TrafficControl

@testable import Plugins

/// The bandwidth plugin's configuration.
@Suite struct BandwidthOptionsTests {
    private func options(_ members: String) throws -> Bandwidth.Options {
        try Bandwidth.Options(call(members))
    }

    private func rate(_ mega: UInt64) -> Rate { Rate(bitsPerSecond: mega * 1_000_000) }

    private func limit(
        _ rate: Rate, _ ceil: Rate, burst: Burst? = nil, priority: Int = 3, queue: Int = 16
    ) -> Bandwidth.Options.Limit {
        var limit = Bandwidth.Options.Limit(rate, ceil, burst: burst)
        limit.priority = priority
        limit.queueMilliseconds = queue
        return limit
    }

    @Test("the keys at the top and the runtime's are read, in either spelling")
    func sources() throws {
        let own = try options(#""ingressRate": 8000000, "ingressBurst": 8000"#)
        #expect(own.ingress == limit(rate(8), rate(8), burst: Burst(bits: 8000)))
        #expect(own.egress == nil)
        let given = try options(
            #""RuntimeConfig": {"bandwidth": {"EgressRate": 2000000, "EgressBurst": 9}}"#)
        #expect(given.egress == limit(rate(2), rate(2), burst: Burst(bits: 9)))
    }

    @Test("where all numbers of a range are taken but one, a class gets that; where all are, none")
    func numbers() throws {
        let range = Tree.tenants
        for free in [range.lowerBound, 0xf123, range.upperBound] {
            let number = try Bandwidth.freeNumber(
                for: "blue", in: range, besides: Set(range).subtracting([free]), attempt: 3)
            #expect(number == free)
        }
        let error = #expect(throws: KernelError.self) {
            try Bandwidth.freeNumber(for: "blue", in: range, besides: Set(range), attempt: 0)
        }
        #expect(error?.operation == #"number class "blue""#)
        #expect(error?.errno == .noSpace)
    }

    @Test("one key at the top outweighs all of the runtime's, even a 0")
    func order() throws {
        let options = try options(
            #"""
            "ingressRate": 0,
            "runtimeConfig": {"bandwidth": {"egressRate": 1000, "egressBurst": 1000}}
            """#)
        #expect(Bandwidth.isIdle(options))
    }

    @Test("the largest 32-bit burst and above mean: choose one")
    func anyBurst() throws {
        for burst in [2_147_483_647, 4_294_967_296] {
            let options = try options("\"egressRate\": 1000000, \"egressBurst\": \(burst)")
            #expect(options.egress == limit(rate(1), rate(1)))
        }
    }

    @Test("shaping's rate is the guarantee, the standard key's the ceiling")
    func shaping() throws {
        let options = try options(
            #"""
            "egressRate": 50000000, "egressBurst": 2147483647,
            "shaping": {"group": "blue", "linkRate": 100000000, "classId": "1:20",
                "markMask": 4294901760,
                "egress": {"rate": 10000000, "priority": 0, "queueMs": 5},
                "ingress": {"ceil": 40000000}}
            """#)
        #expect(options.egress == limit(rate(10), rate(50), priority: 0, queue: 5))
        #expect(options.ingress == limit(Rate(bitsPerSecond: 400_000), rate(40)))
        #expect(options.group.link(.egress) == "shp-e-blue")
        #expect(options.group.table == "shaper-blue")
        #expect(options.group.fixedClass == 0x20)
        #expect(options.group.markMask == 0xffff_0000)
        #expect(options.group.linkRate == rate(100))
    }

    @Test("a tenant's container without numbers has the tenant's ceiling and little guaranteed")
    func tenant() throws {
        let options = try options(
            #"""
            "shaping": {"linkRate": 1000000000,
                "tenant": {"name": "gold", "egress": {"rate": 300000000, "ceil": 500000000},
                    "ingress": {"rate": 100000000}},
                "ingress": {"rate": 50000000, "ceil": 80000000}}
            """#)
        #expect(options.egress == limit(rate(3), rate(500)))
        #expect(options.ingress == limit(rate(50), rate(80)))
        #expect(options.group.tenant?[.ingress]?.ceil == rate(100))
    }

    @Test("a class has the container's ceiling, and what the classes leave is the rest's")
    func classes() throws {
        let options = try options(
            #"""
            "shaping": {"egress": {"rate": 30000000, "ceil": 80000000, "priority": 4},
                "classes": [
                    {"name": "db", "cidrs": ["10.0.0.0/8"], "ports": [5432, "6000-6010"],
                        "egress": {"rate": 20000000, "priority": 0}},
                    {"name": "dns", "protocol": "udp", "ports": [53], "egress": {"ceil": 1000000}}]}
            """#)
        #expect(options.parts[0].egress == limit(rate(20), rate(80), priority: 0))
        #expect(options.parts[1].egress == limit(Rate(bitsPerSecond: 300_000), rate(1)))
        #expect(
            options.rest(.egress)
                == limit(Rate(bitsPerSecond: 9_700_000), rate(80), priority: 4))
        let selection = options.parts[0].keys.selection(ClassID(1, 16))
        #expect(selection.ports == [5432...5432, 6000...6010])
        #expect(selection.protocols == [6, 17, 132])
        #expect(options.parts[0].ingress == nil && options.rest(.ingress) == nil)
    }

    @Test(
        "what makes no sense is named by its path and its numbers",
        arguments: [
            (#""ingressRate": 1"#, "ingressBurst: if rate is set, burst must also be set"),
            (#""egressBurst": 1"#, "egressRate: if burst is set, rate must also be set"),
            (
                #""egressRate": 1, "egressBurst": 34359738360"#,
                "egressBurst: burst cannot be more than 4GB"
            ),
            (
                #""egressRate": -1, "egressBurst": 1"#,
                "egressRate: must not be negative: -1"
            ),
            (
                #""runtimeConfig": {"bandwidth": {"ingressRate": 1}}"#,
                "runtimeConfig.bandwidth.ingressBurst: if rate is set, burst must also be set"
            ),
            (
                #""shapedSubnets": ["10.0.0.0/8"], "unshapedSubnets": ["10.1.0.0/16"]"#,
                "shapedSubnets: unshapedSubnets and shapedSubnets cannot be both specified, "
                    + "one of them should be discarded"
            ),
            (
                #""shaping": {"egress": {"rate": 20000000, "ceil": 10000000}}"#,
                "shaping.egress.rate: 20 Mbit/s is more than the ceiling, 10 Mbit/s"
            ),
            (
                #""shaping": {"linkRate": 1000, "ingress": {"rate": 2000}}"#,
                "shaping.ingress.rate: 2 kbit/s is more than linkRate, 1 kbit/s"
            ),
            (
                #""shaping": {"egress": {"rate": 0}}"#, "shaping.egress.rate: must be positive: 0"
            ),
            (
                #""shaping": {"egress": {"ceil": 1, "priority": 8}}"#,
                "shaping.egress.priority: 8 is not within 0 to 7"
            ),
            (
                #""shaping": {"ingress": {"ceil": 1, "queueMs": 0}}"#,
                "shaping.ingress.queueMs: 0 is not within 1 to 10000"
            ),
            (
                #""shaping": {"ingress": {"priority": 1}}"#,
                "shaping.ingress: neither rate nor ceil is set"
            ),
            (
                #""shaping": {"group": "much-too-long"}"#,
                "shaping.group: \"much-too-long\" is not of 1 to 9 lower case letters and digits"
            ),
            (
                #""shaping": {"classId": "1:1"}"#,
                "shaping.classId: \"1:1\" is not within 1:10 to 1:efff"
            ),
            (
                #""shaping": {"tenant": {"egress": {"rate": 1}}}"#, "shaping.tenant.name: missing"
            ),
            (
                #""shaping": {"tenant": {"name": "a b", "egress": {"rate": 1}}}"#,
                "shaping.tenant.name: \"a b\" is not of 1 to 32 letters, digits, dots, hyphens and "
                    + "underscores"
            ),
            (
                #""shaping": {"tenant": {"name": "a"}}"#,
                "shaping.tenant.egress: neither egress nor ingress is set"
            ),
            (
                #""shaping": {"tenant": {"name": "a", "ingress": {"ceil": 1}}}"#,
                "shaping.tenant.ingress.rate: missing"
            ),
            (
                #""shaping": {"tenant": {"name": "a", "egress": {"rate": 2000, "ceil": 1000}}}"#,
                "shaping.tenant.egress.rate: 2 kbit/s is more than the ceiling, 1 kbit/s"
            ),
            (
                #""shaping": {"linkRate": 1000, "tenant": {"name": "a", "egress": {"rate": 2000}}}"#,
                "shaping.tenant.egress.rate: 2 kbit/s is more than linkRate, 1 kbit/s"
            ),
            (
                #"""
                "shaping": {"egress": {"rate": 2000}, "tenant": {"name": "a", "egress": {"rate": 1000}}}
                """#,
                "shaping.egress.rate: 2 kbit/s is more than the tenant's guarantee, 1 kbit/s"
            ),
            (
                #""shaping": {"classes": [{"cidrs": ["10.0.0.0/8"], "egress": {}}]}"#,
                "shaping.classes[0].name: missing"
            ),
            (
                #""shaping": {"classes": [{"name": "a", "egress": {}}]}"#,
                "shaping.classes[0].cidrs: neither cidrs nor protocol, ports or localPorts are set"
            ),
            (
                #""shaping": {"classes": [{"name": "a", "ports": [1]}]}"#,
                "shaping.classes[0].egress: neither egress nor ingress is set"
            ),
            (
                #""shaping": {"classes": [{"name": "a", "protocol": "icmp", "ports": [1]}]}"#,
                "shaping.classes[0].protocol: \"icmp\" is not tcp, udp or sctp"
            ),
            (
                #""shaping": {"classes": [{"name": "a", "ports": [1], "egress": {}}]}"#,
                "shaping.classes[0].egress: the container's egress has no limit"
            ),
            (
                #"""
                "shaping": {"egress": {"rate": 9000}, "classes": [
                    {"name": "a", "ports": [1], "egress": {"rate": 5000}},
                    {"name": "b", "ports": [2], "egress": {"rate": 5000}}]}
                """#,
                "shaping.classes[1].egress.rate: 5 kbit/s and the 5 kbit/s of the classes before it "
                    + "are more than the container's guarantee, 9 kbit/s"
            ),
            (
                #"""
                "shaping": {"egress": {"rate": 9000}, "classes": [
                    {"name": "a", "ports": [1], "egress": {"rate": 5000, "ceil": 4000}}]}
                """#,
                "shaping.classes[0].egress.rate: 5 kbit/s is more than the ceiling, 4 kbit/s"
            ),
            (
                #"""
                "shaping": {"egress": {"rate": 9000}, "classes": [
                    {"name": "a", "ports": [1], "egress": {}}, {"name": "a", "ports": [2], "egress": {}}]}
                """#,
                "shaping.classes[1].name: \"a\" is another class's name"
            ),
            (
                #""shaping": {"markMask": 255}"#,
                "shaping.markMask: 255 is not 16 or more bits in a row of a 32-bit number"
            ),
            (
                #""shaping": {"markMask": 4278255615}"#,
                "shaping.markMask: 4278255615 is not 16 or more bits in a row of a 32-bit number"
            ),
            (
                #"""
                "shaping": {"processes": {"uplink": "eth0", "classes": [
                    {"name": "a", "cgroup": "b/../c", "egress": {"rate": 9000}}]}}
                """#,
                "shaping.processes.classes[0].cgroup: not a path without . and ..: \"b/../c\""
            ),
        ])
    func refused(members: String, message: String) {
        #expect(throws: CNIError(.invalidConfiguration, message)) { try options(members) }
    }

    @Test("only what a group could be called is one, whoever has made a table or a link")
    func names() {
        for (name, group) in [
            ("shaper", "default"), ("shaper-g2", "g2"), ("shaper-default", nil), ("shaper-", nil),
            ("shaper-Lab", nil), ("shaper-a_b", nil), ("shaper-abcdefghij", nil), ("shaperg2", nil),
        ] { #expect(Bandwidth.group(ofTable: name) == group, "\(name)") }
        for (name, group) in [
            ("shp-e", "default"), ("shp-i-g2", "g2"), ("shp-e-abcdefghij", nil), ("shp-e-G", nil),
        ] { #expect(Bandwidth.group(ofLink: name) == group, "\(name)") }
    }
}
