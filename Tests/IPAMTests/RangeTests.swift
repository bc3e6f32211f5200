import Addressing
import CNI
import IPAM
import Testing

/// Ranges as configured, with the reference's defaults and refusals.
@Suite struct RangeTests {
    @Test(
        "a subnet alone gives all its addresses but network, gateway and broadcast",
        arguments: [
            ("10.1.0.0/24", "10.1.0.1", "10.1.0.1-10.1.0.254"),
            ("10.1.0.0/30", "10.1.0.1", "10.1.0.1-10.1.0.2"),
            ("0.0.0.0/0", "0.0.0.1", "0.0.0.1-255.255.255.254"),
            ("fd00::/64", "fd00::1", "fd00::1-fd00::ffff:ffff:ffff:ffff"),
            ("fd00::/126", "fd00::1", "fd00::1-fd00::3"),
        ])
    func defaults(subnet: String, gateway: String, range: String) throws {
        let set = try rangeSet(#"{"subnet": "\#(subnet)"}"#)
        #expect("\(set)" == range)
        #expect("\(set.ranges[0].gateway)" == gateway)
    }

    @Test(
        "what makes no range is refused with code 7 and the reference's text",
        arguments: [
            (#"{}"#, "subnet: missing"),
            (#"{"subnet": "10.1.0.0/31"}"#, "Network 10.1.0.0/31 too small to allocate from"),
            (#"{"subnet": "fd00::/127"}"#, "Network fd00::/127 too small to allocate from"),
            (
                #"{"subnet": "10.1.0.5/24"}"#,
                "Network has host bits set. For a subnet mask of length 24 the network address is "
                    + "10.1.0.0"
            ),
            (
                #"{"subnet": "10.1.0.0/24", "rangeStart": "10.1.1.5"}"#,
                "RangeStart 10.1.1.5 not in network 10.1.0.0/24"
            ),
            (
                #"{"subnet": "10.1.0.0/24", "rangeEnd": "fd00::5"}"#,
                "RangeEnd fd00::5 not in network 10.1.0.0/24"
            ),
            (
                #"{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}"#,
                "RangeStart 10.1.0.9 not in network 10.1.0.0/24"
            ),
            (
                #"{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.0"}"#,
                "RangeEnd 10.1.0.0 not in network 10.1.0.0/24"
            ),
        ])
    func refused(range: String, message: String) {
        #expect(failure { try rangeSet(range) } == CNIError(.invalidConfiguration, message))
    }

    @Test("a set is not empty, of one family, and its ranges have no address in common")
    func sets() throws {
        #expect(failure { try RangeSet([]) } == CNIError(.invalidConfiguration, "empty range set"))
        #expect(
            failure { try rangeSet(#"{"subnet": "10.1.0.0/24"}"#, #"{"subnet": "fd00::/64"}"#) }
                == CNIError(.invalidConfiguration, "mixed address families"))
        #expect(
            failure { try rangeSet(#"{"subnet": "10.1.0.0/24"}"#, #"{"subnet": "10.1.0.0/28"}"#) }
                == CNIError(
                    .invalidConfiguration,
                    "subnets 10.1.0.1-10.1.0.254 and 10.1.0.1-10.1.0.14 overlap"))
        let set = try rangeSet(
            #"{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.9"}"#,
            #"{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10"}"#)
        #expect("\(set)" == "10.1.0.1-10.1.0.9,10.1.0.10-10.1.0.254")
        #expect(set.range(of: try address("10.1.0.10")) == set.ranges[1])
        #expect(set.range(of: try address("10.1.0.255")) == nil)
        #expect(set.overlaps(try rangeSet(#"{"subnet": "10.1.0.128/25"}"#)))
        #expect(!set.overlaps(try rangeSet(#"{"subnet": "10.1.1.0/24"}"#)))
        #expect(!set.overlaps(try rangeSet(#"{"subnet": "fd00::/64"}"#)))
    }
}
