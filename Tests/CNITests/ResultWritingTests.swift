import Addressing
import CNI
import Testing

/// A result in the shape of each version.
@Suite struct ResultWritingTests {
    /// A result that says all that 1.1.0 can say.
    static func full() throws -> AddResult {
        let prefix = { (text: String) in try #require(IPPrefix(text)) }
        let address = { (text: String) in try #require(IPAddress(text)) }
        var result = AddResult()
        var interface = AddResult.Interface(
            name: "eth0", mac: "02:fc:00:00:00:01", sandbox: "/run/netns/c")
        interface.mtu = 1400
        interface.socketPath = "/run/s"
        interface.pciID = "0000:00:1f.6"
        result.interfaces = [.init(name: "cni0"), interface]
        result.addresses = [
            .init(try prefix("10.1.0.5/16"), gateway: try address("10.1.0.1"), interface: 1),
            .init(try prefix("10.2.0.5/16")),
            .init(try prefix("fd00::5/64"), gateway: try address("fd00::1"), interface: 1),
        ]
        var route = RouteEntry(try prefix("0.0.0.0/0"), gateway: try address("10.1.0.1"))
        (route.mtu, route.advmss, route.priority, route.table, route.scope) = (1300, 1260, 7, 9, 0)
        result.routes = [route, RouteEntry(try prefix("fd01::/64"))]
        result.dns.nameservers = ["10.1.0.1"]
        result.dns.domain = "example"
        result.dns.search = ["a", "b"]
        result.dns.options = ["ndots:5"]
        return result
    }

    private static let dns =
        #""dns":{"nameservers":["10.1.0.1"],"domain":"example","search":["a","b"],"#
        + #""options":["ndots:5"]}"#

    private static let routes =
        #""routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1","mtu":1300,"advmss":1260,"#
        + #""priority":7,"table":9,"scope":0},{"dst":"fd01::/64"}]"#

    /// What 1.0.0 and 1.1.0 have in common, in alphabetical order.
    private static let sortedDNS =
        #""dns":{"domain":"example","nameservers":["10.1.0.1"],"options":["ndots:5"],"#
        + #""search":["a","b"]}"#
    private static let sortedEnd =
        #""ips":[{"address":"10.1.0.5/16","gateway":"10.1.0.1","interface":1},"#
        + #"{"address":"10.2.0.5/16"},"#
        + #"{"address":"fd00::5/64","gateway":"fd00::1","interface":1}],"#
        + #""routes":[{"advmss":1260,"dst":"0.0.0.0/0","gw":"10.1.0.1","mtu":1300,"#
        + #""priority":7,"scope":0,"table":9},{"dst":"fd01::/64"}]}"#

    private func text(_ result: AddResult, _ version: SpecVersion) throws -> String {
        try result.json(for: version).text(indented: false)
    }

    @Test("1.1.0 says everything, its members in alphabetical order")
    func v1_1_0() throws {
        #expect(
            try text(Self.full(), .v1_1_0)
                == #"{"cniVersion":"1.1.0","# + Self.sortedDNS
                + #","interfaces":[{"name":"cni0"},{"mac":"02:fc:00:00:00:01","mtu":1400,"#
                + #""name":"eth0","pciID":"0000:00:1f.6","sandbox":"/run/netns/c","#
                + #""socketPath":"/run/s"}],"# + Self.sortedEnd)
    }

    @Test("1.0.0 has none of the interface's keys of 1.1.0, and as in the reference the route's")
    func v1_0_0() throws {
        #expect(
            try text(Self.full(), .v1_0_0)
                == #"{"cniVersion":"1.0.0","# + Self.sortedDNS
                + #","interfaces":[{"name":"cni0"},{"mac":"02:fc:00:00:00:01","#
                + #""name":"eth0","sandbox":"/run/netns/c"}],"# + Self.sortedEnd)
    }

    @Test(
        "0.3.0 to 0.4.0 have the version of each address",
        arguments: [SpecVersion.v0_3_0, .v0_3_1, .v0_4_0])
    func v0_3_0(version: SpecVersion) throws {
        #expect(
            try text(Self.full(), version)
                == #"{"cniVersion":"\#(version)","interfaces":[{"name":"cni0"},"#
                + #"{"name":"eth0","mac":"02:fc:00:00:00:01","sandbox":"/run/netns/c"}],"#
                + #""ips":[{"version":"4","interface":1,"address":"10.1.0.5/16","#
                + #""gateway":"10.1.0.1"},{"version":"4","address":"10.2.0.5/16"},"#
                + #"{"version":"6","interface":1,"address":"fd00::5/64","gateway":"fd00::1"}],"#
                + Self.routes + "," + Self.dns + "}")
    }

    @Test(
        "0.1.0 and 0.2.0 have the first address of each family, with its family's routes",
        arguments: [SpecVersion.v0_1_0, .v0_2_0])
    func v0_2_0(version: SpecVersion) throws {
        #expect(
            try text(Self.full(), version)
                == #"{"cniVersion":"\#(version)","ip4":{"ip":"10.1.0.5/16","gateway":"10.1.0.1","#
                + #""routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1"}]},"#
                + #""ip6":{"ip":"fd00::5/64","gateway":"fd00::1","#
                + #""routes":[{"dst":"fd01::/64"}]},"# + Self.dns + "}")
    }

    @Test("what is zero or empty is left out, but for a route's table and scope")
    func zeroes() throws {
        var result = try Self.full()
        (result.interfaces[1].mtu, result.interfaces[1].socketPath) = (0, "")
        result.interfaces[1].pciID = ""
        (result.routes[0].mtu, result.routes[0].advmss, result.routes[0].priority) = (0, 0, 0)
        result.routes[0].table = 0
        let text = try text(result, .v1_1_0)
        #expect(
            text.contains(
                #"{"mac":"02:fc:00:00:00:01","name":"eth0","sandbox":"/run/netns/c"}"#), "\(text)")
        #expect(
            text.contains(#"{"dst":"0.0.0.0/0","gw":"10.1.0.1","scope":0,"table":0}"#), "\(text)")
    }

    @Test("an empty result has an empty dns before 1.0.0 and none from then on")
    func empty() throws {
        #expect(try text(AddResult(), .v1_1_0) == #"{"cniVersion":"1.1.0"}"#)
        #expect(try text(AddResult(), .v1_0_0) == #"{"cniVersion":"1.0.0"}"#)
        #expect(try text(AddResult(), .v0_4_0) == #"{"cniVersion":"0.4.0","dns":{}}"#)
    }

    @Test(
        "0.1.0 and 0.2.0 cannot say a result without addresses",
        arguments: [SpecVersion.v0_1_0, .v0_2_0])
    func withoutAddress(version: SpecVersion) {
        #expect(
            failure { () throws(CNIError) in try AddResult().json(for: version) }
                == CNIError(.internalError, "cannot convert: no valid IP addresses"))
    }

    @Test("what 0.3.0 and later print reads back, but for what they cannot say")
    func roundTrip() throws {
        let full = try Self.full()
        #expect(try AddResult(full.json(for: .v1_1_0), path: "result") == full)
        var plain = full
        plain.interfaces[1].mtu = nil
        plain.interfaces[1].socketPath = nil
        plain.interfaces[1].pciID = nil
        for version in SpecVersion.all where version >= .v0_3_0 && version < .v1_1_0 {
            #expect(try AddResult(full.json(for: version), path: "result") == plain, "\(version)")
        }
    }

    @Test("what 0.2.0 prints reads back as one address a family")
    func roundTripLegacy() throws {
        let full = try Self.full()
        let read = try AddResult(full.json(for: .v0_2_0), path: "result")
        #expect(read.interfaces.isEmpty)
        #expect(read.addresses.map(\.address.description) == ["10.1.0.5/16", "fd00::5/64"])
        #expect(read.addresses.map { $0.gateway?.description } == ["10.1.0.1", "fd00::1"])
        #expect(read.routes.map(\.destination.description) == ["0.0.0.0/0", "fd01::/64"])
        #expect(read.dns == full.dns)
    }
}
