import CNI
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

    @Test("the keys at the top and the runtime's are read, in either spelling")
    func sources() throws {
        let own = try options(#""ingressRate": 8000000, "ingressBurst": 8000"#)
        #expect(own.ingress == .init(rate: rate(8), ceil: rate(8), burst: Burst(bits: 8000)))
        #expect(own.egress == nil)
        let given = try options(
            #""RuntimeConfig": {"bandwidth": {"EgressRate": 2000000, "EgressBurst": 9}}"#)
        #expect(given.egress == .init(rate: rate(2), ceil: rate(2), burst: Burst(bits: 9)))
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
            #expect(options.egress == .init(rate: rate(1), ceil: rate(1), burst: nil))
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
        #expect(
            options.egress
                == .init(
                    rate: rate(10), ceil: rate(50), burst: nil, priority: 0, queueMilliseconds: 5))
        #expect(
            options.ingress
                == .init(rate: Rate(bitsPerSecond: 400_000), ceil: rate(40), burst: nil))
        #expect(options.group.link(.egress) == "shp-e-blue")
        #expect(options.group.table == "shaper-blue")
        #expect(options.group.fixedClass == 0x20)
        #expect(options.group.markMask == 0xffff_0000)
        #expect(options.group.linkRate == rate(100))
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
                #""shaping": {"markMask": 255}"#,
                "shaping.markMask: 255 is not 16 or more bits in a row of a 32-bit number"
            ),
        ])
    func refused(members: String, message: String) {
        #expect(throws: CNIError(.invalidConfiguration, message)) { try options(members) }
    }
}
