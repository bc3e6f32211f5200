import CNI
import PluginRuntime
import Testing

@testable import Plugins

/// What the program knows of its plugins.
@Suite struct RegistryTests {
    private func keys(_ name: String) -> [String: KeyDescription] {
        let plugin = plugin(named: name)
        return Dictionary((plugin?.keys ?? []).map { ($0.path, $0) }) { first, _ in first }
    }

    @Test("every plugin speaks the versions since one and describes its keys once")
    func all() {
        for name in pluginNames {
            guard let plugin = plugin(named: name) else {
                Issue.record("no plugin \(name)")
                continue
            }
            #expect(plugin.name == name)
            #expect(plugin.versions.last == SpecVersion.all.last)
            #expect(Array(SpecVersion.all.suffix(plugin.versions.count)) == plugin.versions)
            if plugin == Bandwidth.self { #expect(plugin.versions.first == .v0_3_0) }
            let paths = plugin.keys.map(\.path)
            #expect(Set(paths).count == paths.count, "\(plugin.name)")
            for key in plugin.keys {
                #expect(!key.summary.isEmpty && key.summary.hasSuffix("."), "\(key.path)")
            }
        }
    }

    @Test("the bridge's keys are the reference's, and ipspoofchk")
    func bridge() {
        let keys = keys("bridge")
        let reference = [
            "bridge", "isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "ipMasqBackend",
            "mtu", "hairpinMode", "promiscMode", "vlan", "vlanTrunk", "vlanTrunk[].id",
            "vlanTrunk[].minID", "vlanTrunk[].maxID", "preserveDefaultVlan", "macspoofchk",
            "enabledad", "disableContainerInterface", "portIsolation", "args.cni.mac",
            "runtimeConfig.mac", "dns", "dns.nameservers", "dns.domain", "dns.search",
            "dns.options", "ipam.type",
        ]
        #expect(keys.keys.sorted() == (reference + ["ipspoofchk"]).sorted())
        #expect(keys["bridge"]?.defaultValue == "cni0")
        #expect(keys["isGateway"]?.type == "a boolean")
        #expect(keys["isGateway"]?.defaultValue == "false")
        #expect(keys["vlanTrunk"]?.type == "an array of objects")
        #expect(keys["vlanTrunk[].id"]?.defaultValue == nil)
    }

    @Test("host-local's and static's keys are listed though they insist on some")
    func ipam() {
        let local = keys("host-local")
        for name in [
            "ipam.subnet", "ipam.rangeStart", "ipam.rangeEnd", "ipam.gateway", "ipam.ranges",
            "ipam.ranges[][].subnet", "ipam.routes", "ipam.routes[].dst", "ipam.routes[].scope",
            "ipam.dataDir", "ipam.resolvConf", "args.cni.ips", "runtimeConfig.ips",
            "runtimeConfig.ipRanges", "runtimeConfig.ipRanges[][].rangeEnd",
        ] {
            #expect(local[name] != nil, "\(name)")
        }
        #expect(local["ipam.dataDir"]?.defaultValue == "/var/lib/cni/networks")
        #expect(local["ipam.subnet"]?.type == "a CIDR")
        let fixed = keys("static")
        for name in [
            "ipam.addresses", "ipam.addresses[].address", "ipam.addresses[].gateway",
            "ipam.routes[].gw", "ipam.dns.search", "args.cni.ips", "runtimeConfig.ips",
        ] {
            #expect(fixed[name] != nil, "\(name)")
        }
    }

    @Test("tuning's keys are the reference's")
    func tuning() {
        let keys = keys("tuning")
        let names = [
            "sysctl", "dataDir", "mac", "promisc", "mtu", "txQLen", "allmulti",
            "runtimeConfig.mac", "args.cni.sysctl", "args.cni.mac", "args.cni.promisc",
            "args.cni.mtu", "args.cni.txQLen", "args.cni.allmulti",
        ]
        #expect(keys.keys.sorted() == names.sorted())
        #expect(keys["dataDir"]?.defaultValue == "/run/cni/tuning")
        #expect(keys["sysctl"]?.type == "an object of strings")
    }

    @Test("sbr's keys are the reference's")
    func sourceRouting() {
        #expect(keys("sbr").keys.sorted() == ["addSourceHints", "gateways", "table"])
    }

    @Test("loopback takes no keys of its own")
    func loopback() { #expect(keys("loopback").isEmpty) }
}
