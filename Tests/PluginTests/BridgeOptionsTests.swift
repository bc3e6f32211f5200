import Addressing
import CNI
import PluginRuntime
import Testing

@testable import Plugins

/// The bridge plugin's configuration.
@Suite struct BridgeOptionsTests {
    private func options(_ members: String = "", arguments: String = "") throws -> Bridge.Options {
        try Bridge.Options(call(members, arguments: arguments))
    }

    @Test("without keys everything has the reference's default")
    func defaults() throws {
        let options = try options()
        #expect(options.bridge == "cni0")
        #expect(!options.isGateway && !options.isDefaultGateway && !options.forceAddress)
        #expect(!options.hairpin && !options.promiscuous && !options.isIsolated)
        #expect(!options.keepsDefaultVLAN && !options.detectsDuplicates)
        #expect(!options.leavesInterfaceDown && !options.hasIPAM)
        #expect(options.mtu == nil && options.mac == nil && options.dns == nil)
        #expect(options.vlan == 0 && options.trunk == nil && !options.filtersVLANs)
    }

    @Test("every key is read")
    func keys() throws {
        let options = try options(
            #"""
            "bridge": "br1", "isGateway": true, "forceAddress": true, "mtu": 1400,
            "hairpinMode": true, "vlan": 100, "preserveDefaultVlan": true, "enabledad": true,
            "portIsolation": true, "ipam": {"type": "host-local"}, "dns": {"domain": "x"},
            "vlanTrunk": [{"id": 7}, {"minID": 10, "maxID": 12}, {"minID": 20, "maxID": 20, "id": 5}]
            """#)
        #expect(options.bridge == "br1")
        #expect(options.isGateway && options.forceAddress && options.hairpin && options.isIsolated)
        #expect(options.keepsDefaultVLAN && options.detectsDuplicates && options.hasIPAM)
        #expect(options.mtu == 1400)
        #expect(options.vlan == 100)
        #expect(options.trunk == [5, 7, 10, 11, 12, 20])
        #expect(options.filtersVLANs)
        #expect(options.dns?.domain == "x")
        #expect(options.gatewayLink == "br1.100")
    }

    @Test("isDefaultGateway implies isGateway")
    func defaultGateway() throws {
        #expect(try options(#""isDefaultGateway": true, "isGateway": false"#).isGateway)
    }

    @Test("an empty trunk still makes the bridge filter")
    func emptyTrunk() throws {
        #expect(try options(#""vlanTrunk": []"#).filtersVLANs)
    }

    @Test("runtimeConfig's hardware address comes before args', args' before CNI_ARGS'")
    func hardwareAddress() throws {
        let argument = "MAC=02:00:00:00:00:01"
        let args = #""args": {"cni": {"mac": "02:00:00:00:00:02"}}"#
        let runtime = #""RuntimeConfig": {"mac": "02:00:00:00:00:03"}"#
        #expect(try options(arguments: argument).mac == MACAddress("02:00:00:00:00:01"))
        #expect(try options(args, arguments: argument).mac == MACAddress("02:00:00:00:00:02"))
        #expect(
            try options(args + ", " + runtime, arguments: argument).mac
                == MACAddress("02:00:00:00:00:03"))
        #expect(
            try options(#""runtimeConfig": {"mac": ""}"#, arguments: argument).mac
                == MACAddress("02:00:00:00:00:01"))
    }

    @Test(
        "what makes no sense is named by its path",
        arguments: [
            (#""vlan": 4095"#, 7, "vlan: invalid VLAN ID 4095 (must be between 0 and 4094)"),
            (#""vlan": -1"#, 7, "vlan: invalid VLAN ID -1 (must be between 0 and 4094)"),
            (#""mtu": -1"#, 7, "mtu: invalid MTU -1 (must be between 68 and 65535)"),
            (#""mtu": 67"#, 7, "mtu: invalid MTU 67 (must be between 68 and 65535)"),
            (#""mtu": 65536"#, 7, "mtu: invalid MTU 65536 (must be between 68 and 65535)"),
            (#""bridge": "cni%d""#, 7, "bridge: not the name of a link: \"cni%d\""),
            (
                #""bridge": "sixteen-letters1""#, 7,
                "bridge: longer than a link's name may be, 15 bytes: \"sixteen-letters1\""
            ),
            (
                #""hairpinMode": true, "promiscMode": true"#, 7,
                "hairpinMode: cannot set hairpin mode and promiscuous mode at the same time"
            ),
            (
                #""disableContainerInterface": true, "ipam": {"type": "static"}"#, 7,
                "disableContainerInterface: cannot use IPAM when DisableContainerInterface flag is set"
            ),
            (#""vlanTrunk": [{"id": 0}]"#, 7, "vlanTrunk[0].id: incorrect trunk id parameter"),
            (
                #""vlanTrunk": [{"id": 1}, {"minID": 0, "maxID": 5}]"#, 7,
                "vlanTrunk[1].minID: incorrect trunk minID parameter"
            ),
            (
                #""vlanTrunk": [{"minID": 1, "maxID": 4095}]"#, 7,
                "vlanTrunk[0].maxID: incorrect trunk maxID parameter"
            ),
            (
                #""vlanTrunk": [{"minID": 6, "maxID": 5}]"#, 7,
                "vlanTrunk[0].minID: minID is greater than maxID in trunk parameter"
            ),
            (
                #""vlanTrunk": [{"maxID": 5}]"#, 7,
                "vlanTrunk[0].minID: minID and maxID should be configured simultaneously, "
                    + "minID is missing"
            ),
            (
                #""vlanTrunk": [{"minID": 5}]"#, 7,
                "vlanTrunk[0].maxID: minID and maxID should be configured simultaneously, "
                    + "maxID is missing"
            ),
            (#""isGateway": "yes""#, 6, "isGateway: expected a boolean, found \"yes\""),
            (#""vlanTrunk": {}"#, 6, "vlanTrunk: expected an array of objects, found an object"),
            (#""vlanTrunk": [7]"#, 6, "vlanTrunk[0]: expected an object, found 7"),
            (
                #""dns": {"search": [7]}"#, 6,
                "dns.search[0]: expected a string, found 7"
            ),
            (#""args": {"cni": {"mac": 7}}"#, 6, "args.cni.mac: expected a string, found 7"),
            (#""args": {"cni": {"mac": "x"}}"#, 7, "args.cni.mac: not a hardware address: \"x\""),
            (
                #""runtimeConfig": {"mac": "x"}"#, 7,
                "runtimeConfig.mac: not a hardware address: \"x\""
            ),
        ])
    func wrong(members: String, code: Int, message: String) {
        #expect(failure { try options(members) } == CNIError(code: code, message))
    }

    @Test("a wrong CNI_ARGS is named too")
    func wrongArguments() {
        #expect(
            failure { try options(arguments: "MAC=x") }
                == CNIError(.environment, "CNI_ARGS: MAC: not a hardware address: \"x\""))
        #expect(failure { try options(arguments: "X=y") }?.code == 4)
    }
}
