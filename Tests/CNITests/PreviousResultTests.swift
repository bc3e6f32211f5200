import Addressing
import CNI
import Testing

/// `prevResult`, in the shape of every version.
@Suite struct PreviousResultTests {
    private func previous(
        _ text: String, version: String = "1.1.0"
    ) throws(CNIError) -> AddResult? {
        let text = #"{"cniVersion":"\#(version)","name":"n","prevResult":\#(text)}"#
        return try NetworkConfiguration(parsing: Array(text.utf8)).previous
    }

    private func error(_ text: String) -> CNIError? {
        failure { () throws(CNIError) in try previous(text) }
    }

    @Test("0.3.0 to 1.1.0 list interfaces and addresses")
    func lists() throws {
        for version in SpecVersion.all where version >= .v0_3_0 {
            let result = try #require(
                try previous(
                    #"""
                    {"cniVersion":"\#(version)",
                     "interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/n"}],
                     "ips":[{"version":"4","interface":0,"address":"10.1.0.5/16",
                             "gateway":"10.1.0.1"}],
                     "routes":[{"dst":"0.0.0.0/0"}], "dns":{"nameservers":["10.1.0.1"]}}
                    """#, version: "\(version)"))
            #expect(
                result.interfaces == [
                    .init(name: "eth0", mac: "02:00:00:00:00:01", sandbox: "/n")
                ])
            #expect(result.addresses.map(\.address) == [IPPrefix("10.1.0.5/16")])
            #expect(result.addresses.map(\.gateway) == [IPAddress("10.1.0.1")])
            #expect(result.addresses.map(\.interface) == [0])
            #expect(result.routes.map(\.destination) == [IPPrefix("0.0.0.0/0")])
            #expect(result.dns.nameservers == ["10.1.0.1"])
        }
    }

    @Test("a result may be of any version whose results have the same shape, and of no other")
    func family() throws {
        let shapes: [[SpecVersion]] = [
            [.v0_1_0, .v0_2_0], [.v0_3_0, .v0_3_1, .v0_4_0], [.v1_0_0, .v1_1_0],
        ]
        for version in SpecVersion.all {
            let shape = shapes.first { $0.contains(version) } ?? []
            for other in SpecVersion.all {
                let text = #"{"cniVersion":"\#(other)","dns":{"domain":"x"}}"#
                let result = try? previous(text, version: "\(version)")
                #expect((result != nil) == shape.contains(other), "\(other) in \(version)")
            }
        }
        #expect(error(#"{"cniVersion":"1.1"}"#)?.code == 6)
    }

    @Test("0.1.0 and 0.2.0 have an address a family", arguments: ["0.1.0", "0.2.0"])
    func legacy(version: String) throws {
        let result = try #require(
            try previous(
                #"""
                {"ip4":{"ip":"10.1.0.5/16","gateway":"10.1.0.1","routes":[{"dst":"0.0.0.0/0"}]},
                 "ip6":{"ip":"fd00::5/64"}, "dns":{"domain":"x"}}
                """#, version: version))
        #expect(
            result.addresses.map(\.address) == [IPPrefix("10.1.0.5/16"), IPPrefix("fd00::5/64")])
        #expect(result.addresses.map(\.gateway) == [IPAddress("10.1.0.1"), nil])
        #expect(result.routes.count == 1)
        #expect(result.dns.domain == "x")
    }

    @Test("1.1.0 has more of interfaces and routes")
    func details() throws {
        let result = try #require(
            try previous(
                #"""
                {"interfaces":[{"name":"eth0","mtu":1400,"socketPath":"/s","pciID":"1:2"}],
                 "routes":[{"dst":"fd00::/8","mtu":1300,"advmss":1200,"priority":5,"table":100,
                            "scope":253}]}
                """#))
        #expect(result.interfaces[0].mtu == 1400)
        #expect(result.interfaces[0].socketPath == "/s")
        #expect(result.interfaces[0].pciID == "1:2")
        let route = result.routes[0]
        #expect(
            [route.mtu, route.advmss, route.priority, route.table, route.scope]
                == [1300, 1200, 5, 100, 253])
    }

    @Test("keys in other cases and nulls are taken, as Go writes and reads them")
    func goHabits() throws {
        let result = try previous(
            #"{"CNIVersion":"1.1.0","IPs":[{"Address":"10.1.0.5/16"}],"routes":null,"dns":{}}"#)
        #expect(result?.addresses.count == 1)
        #expect(result?.routes == [])
        #expect(try previous("null") == nil)
    }

    @Test("name servers that are listed empty are not absent ones")
    func emptyNameservers() throws {
        #expect(try previous(#"{"dns":{"nameservers":[]}}"#)?.dns.nameservers == [])
        #expect(try previous(#"{"dns":{}}"#)?.dns.nameservers == nil)
        #expect(try previous(#"{"dns":{"nameservers":[]}}"#)?.dns.isEmpty == true)
    }

    @Test("a result of another version than the configuration's is an error of code 6")
    func otherVersion() {
        #expect(
            error(#"{"cniVersion":"0.4.0"}"#)
                == CNIError(
                    .decode,
                    "could not parse prevResult: result type supports [1.0.0 1.1.0] "
                        + "but unmarshalled CNIVersion is \"0.4.0\""))
    }

    @Test(
        "what is wrong is named by its path",
        arguments: [
            (#"{"interfaces":{}}"#, "prevResult.interfaces: "),
            (#"{"interfaces":[{"name":7}]}"#, "prevResult.interfaces[0].name: "),
            (#"{"ips":[{}]}"#, "prevResult.ips[0].address: missing"),
            (#"{"ips":[{"address":"10.1.0.5"}]}"#, "prevResult.ips[0].address: "),
            (#"{"ips":[{"address":"10.1.0.5/8","gateway":"x"}]}"#, "prevResult.ips[0].gateway: "),
            (#"{"routes":[{"gw":"10.1.0.1"}]}"#, "prevResult.routes[0].dst: missing"),
            (#"{"routes":[{"dst":"x"}]}"#, "prevResult.routes[0].dst: "),
            (#"{"dns":{"search":"x"}}"#, "prevResult.dns.search: "),
            (#"{"ip4":{}}"#, "prevResult.ip4.ip: missing"),
            (#"{"ip6":{"ip":"fd00::1/64","routes":[{}]}}"#, "prevResult.ip6.routes[0].dst: "),
        ])
    func wrong(text: String, path: String) {
        #expect(error(text)?.message.hasPrefix(path) == true, "\(error(text) as Any)")
    }

    @Test("an interface that is not in the list is passed on as it came")
    func strangeInterface() throws {
        for index in [-1, 7] {
            let result = try #require(
                try previous(#"{"ips":[{"address":"10.1.0.5/8","interface":\#(index)}]}"#))
            #expect(result.addresses.map(\.interface) == [index])
        }
    }
}
