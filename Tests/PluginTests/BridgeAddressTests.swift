import Addressing
import CNI
import PluginRuntime
import Testing

@testable import Plugins

/// How the bridge plugin completes what IPAM answered.
@Suite struct BridgeAddressTests {
    private func completed(_ members: String, _ answer: AddResult) throws -> AddResult {
        let call = try call(members)
        var attachment = Attachment(call)
        attachment.result = answer
        try Bridge.complete(&attachment, Bridge.options(call))
        return attachment.result
    }

    private func answer(_ addresses: String..., gateway: String? = nil) throws -> AddResult {
        var result = AddResult()
        result.addresses = try addresses.map {
            .init(try #require(IPPrefix($0)), gateway: gateway.flatMap { IPAddress($0) })
        }
        return result
    }

    @Test("a gateway that is missing is the network's first address")
    func gateway() throws {
        let result = try completed(#""isGateway": true"#, answer("10.1.2.5/16", "fd00::5/64"))
        #expect(result.addresses.map { $0.gateway?.description } == ["10.1.0.1", "fd00::1"])
        #expect(result.routes.isEmpty)
        let given = try completed(
            #""isGateway": true"#, answer("10.1.2.5/16", gateway: "10.1.9.9"))
        #expect(given.addresses[0].gateway == IPAddress("10.1.9.9"))
        let none = try completed("", answer("10.1.2.5/16"))
        #expect(none.addresses[0].gateway == nil)
    }

    @Test("addresses are of the third interface, the container's")
    func interface() throws {
        let result = try completed("", answer("10.1.2.5/16", "fd00::5/64"))
        #expect(result.addresses.map(\.interface) == [2, 2])
    }

    @Test("a default gateway adds a default route for each family that has none")
    func defaultRoutes() throws {
        var ipam = try answer("10.1.2.5/16", "fd00::5/64")
        ipam.routes = [RouteEntry(IPPrefix(everythingIn: .v6), gateway: IPAddress("fd00::9"))]
        let result = try completed(#""isDefaultGateway": true"#, ipam)
        #expect(
            result.routes.map { "\($0.destination) \($0.gateway?.description ?? "-")" }
                == ["::/0 fd00::9", "0.0.0.0/0 10.1.0.1"])
    }

    @Test("the configuration's dns comes before IPAM's only if it says anything")
    func dns() throws {
        var ipam = try answer("10.1.2.5/16")
        ipam.dns.domain = "ipam"
        #expect(try completed(#""dns": {"domain": "own"}"#, ipam).dns.domain == "own")
        #expect(try completed(#""dns": {}"#, ipam).dns.domain == "ipam")
        #expect(try completed(#""dns": {"nameservers": []}"#, ipam).dns.domain == nil)
        #expect(try completed("", ipam).dns.domain == "ipam")
    }
}
