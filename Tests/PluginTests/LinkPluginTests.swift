import Addressing
import CNI
import Plan
import PluginRuntime
import Rtnetlink
import Testing

@testable import Plugins

/// What the plugins with an interface in the container alone, and ptp, say there should be.
@Suite struct LinkPluginTests {
    private func attachment(_ call: Call) throws -> PluginRuntime.Attachment {
        var attachment = Attachment(call)
        attachment.result.addresses = [
            .init(try #require(IPPrefix("10.1.0.5/16")), gateway: IPAddress("10.1.0.1"))
        ]
        return attachment
    }

    @Test("ptp reaches even its own network by the gateway")
    func ptp() throws {
        let call = try call(#""ipam": {"type": "static"}"#)
        let steps = PTP.network(try attachment(call), try PTP.options(call)).steps
            .map(\.description)
        #expect(steps.contains("route 10.1.0.0/16 via 10.1.0.1 on eth0"))
        #expect(steps.contains("route 10.1.0.1/32 on eth0"))
        #expect(steps.contains { $0.hasPrefix("route 10.1.0.5/32 on veth") })
        #expect(steps.contains { $0.hasPrefix("address 10.1.0.1/32 on veth") })
    }

    @Test("ptp and dummy insist on IPAM")
    func withoutIPAM() throws {
        let call = try call()
        #expect(failure { try PTP.options(call) }?.code == 7)
        #expect(
            failure { try Dummy.options(call) }?.message
                == "ipam.type: dummy interface requires an IPAM configuration")
    }

    @Test("masquerading is by nftables, or by iptables where that is asked for")
    func masquerade() throws {
        let ipam = #""ipMasq": true, "ipam": {"type": "static"}"#
        let iptables = try call(ipam + #", "ipMasqBackend": "iptables""#)
        #expect(try PTP.options(iptables).masquerade.usesIPTables)
        let standard = try PTP.options(call(ipam)).masquerade
        #expect(standard.isOn && !standard.usesIPTables)
    }

    @Test("a value that nobody uses is not looked at")
    func unused() throws {
        let backend = #""ipam": {"type": "static"}, "ipMasqBackend": "odd""#
        #expect(try !PTP.options(call(backend)).masquerade.isOn)
        #expect(
            failure { try PTP.options(call(backend + #", "ipMasq": true"#)) }?.message
                == #"ipMasqBackend: unknown ipmasq backend "odd""#)
        #expect(
            try HostDevice.options(call(#""device": "up0", "hwaddr": "zz""#)).device
                == .named("up0"))
        #expect(
            failure { try HostDevice.options(call(#""hwaddr": "zz""#)) }?.message
                == #"hwaddr: not a hardware address: "zz""#)
    }

    @Test("another implementation's host end is listed before the container's, after its bridge")
    func hostEnd() throws {
        let call = try call()
        var result = AddResult()
        result.interfaces = [
            .init(name: "vethbr0", mac: "02:00:00:00:00:01"),
            .init(name: "veth1a2b3c4d", mac: "02:00:00:00:00:02"),
            .init(name: "eth0", sandbox: call.invocation.netns), .init(name: "vethbr0.100"),
        ]
        let foreign = try Attachment(call, previous: result)
        #expect(foreign.hostEnd == "veth1a2b3c4d" && foreign.tag == nil)
        #expect(foreign.hostMAC == MACAddress("02:00:00:00:00:02"))
        result.interfaces[1] = .init(name: call.owner.hostEnd)
        let own = try Attachment(call, previous: result)
        #expect(own.hostEnd == call.owner.hostEnd && own.tag != nil)
    }

    @Test("an interface in the container comes up after its addresses, and before its routes")
    func order() throws {
        let call = try call(#""master": "up0""#)
        var attachment = try attachment(call)
        attachment.result.routes = [RouteEntry(IPPrefix(everythingIn: .v4))]
        let steps = MACVLAN.network(attachment, try MACVLAN.options(call)).steps
            .map(\.description)
        #expect(
            steps.suffix(3) == [
                "address 10.1.0.5/16 on eth0", "link eth0 up",
                "route 0.0.0.0/0 via 10.1.0.1 on eth0",
            ])
    }

    @Test("what makes no sense is refused with the key's name")
    func invalid() throws {
        for (name, members, message) in [
            ("macvlan", #""mode": "odd""#, #"mode: unknown macvlan mode: "odd""#),
            ("macvlan", #""mac": "x""#, #"mac: not a hardware address: "x""#),
            ("tap", #""mtu": -1"#, "mtu: invalid MTU -1 (must be between 68 and 65535)"),
            ("macvlan", #""bcqueuelen": -1"#, "bcqueuelen: invalid length -1"),
            ("ipvlan", #""mode": "l4""#, #"mode: unknown ipvlan mode: "l4""#),
            ("ipvlan", #""master": "a""#, "ipam.type: ipvlan needs IPAM or addresses before it"),
            (
                "vlan", #""master": "a", "vlanId": 4095"#,
                "vlanId: invalid VLAN ID 4095 (must be between 0 and 4094 inclusive)"
            ),
            ("tap", #""owner": -1"#, "owner: not a number of 32 bits: -1"),
            (
                "host-device", #""kernelpath": "/proc/x""#,
                #"kernelpath: kernel device path "/proc/x" must be absolute and begin with "#
                    + "/sys/devices/"
            ),
            ("host-device", #""pciBusID": "../x""#, #"pciBusID: not a device: "../x""#),
        ] {
            let call = try call(members)
            let error =
                switch name {
                case "macvlan": failure { try MACVLAN.options(call) }
                case "ipvlan": failure { try IPVLAN.options(call) }
                case "vlan": failure { try VLAN.options(call) }
                case "tap": failure { try Tap.options(call) }
                default: failure { try HostDevice.options(call) }
                }
            #expect(error?.message == message)
            #expect(error?.code == 7)
        }
    }

    @Test("DEL takes a key that makes no sense, or has a value of another type, for absent")
    func lenient() throws {
        let odd = try call(#""master": "up0", "mode": "odd", "bcqueuelen": -1, "mtu": 1400"#)
        let options = try odd.leniently(MACVLAN.options)
        #expect(options.master.name == "up0" && options.mtu == 1400)
        #expect(options.mode == .bridge && options.queue == nil)
        let mistyped = try call(#""master": 5, "dns": {"nameservers": "x"}, "mtu": 1400"#)
            .leniently(MACVLAN.options)
        #expect(mistyped.master.name == nil && mistyped.dns == nil && mistyped.mtu == 1400)
        let missing = try call()
        #expect(failure { try missing.leniently(PTP.options) }?.code == 7)
    }

    @Test("an empty mode is the default mode")
    func emptyMode() throws {
        #expect(try MACVLAN.options(call(#""mode": """#)).mode == .bridge)
        #expect(
            try IPVLAN.options(call(#""mode": "", "ipam": {"type": "static"}"#)).mode == .l2)
    }

    @Test("of several names of a device the most exact counts")
    func selectors() throws {
        let device = #""device": "up0""#
        let mac = #""hwaddr": "02:00:00:00:00:01""#
        let path = #""kernelpath": "/sys/devices/none""#
        #expect(
            try HostDevice.options(call("\(device), \(mac), \(path)")).device == .named("up0"))
        let address = try #require(MACAddress("02:00:00:00:00:01"))
        #expect(try HostDevice.options(call("\(mac), \(path)")).device == .withMAC(address))
    }

    @Test("name resolution replaces IPAM's once a key of it is given, be it an empty list")
    func dns() throws {
        for (members, remains) in [
            ("", true), (#""dns": {}"#, true), (#""dns": {"nameservers": []}"#, false),
            (#""dns": {"domain": ""}"#, true), (#""dns": {"search": ["a"]}"#, false),
        ] {
            let call = try call(members)
            var attachment = try attachment(call)
            attachment.result.dns.nameservers = ["10.0.0.53"]
            try MACVLAN.complete(&attachment, try MACVLAN.options(call))
            #expect((attachment.result.dns.nameservers == ["10.0.0.53"]) == remains, "\(members)")
        }
    }
}
