import Foundation
import Testing

@Suite("tuning", .enabled(if: isRoot))
struct TuningTests {
    let world: World

    init() throws { world = try World() }

    private static let everything = """
        {"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net/core/somaxconn": "500",
                    "net.ipv4.ip_local_port_range": "10000 20000"},
         "mac": "02:00:00:00:00:71", "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 77}
        """

    /// A bridge network with a tuning plugin for each of the objects.
    private func network(_ tunings: String...) -> Network {
        let bridge = Network(version: "1.1.0", in: world).plugins[0]
        var list: JSON = #"{"cniVersion": "1.1.0", "name": "web"}"#
        let plugins = tunings.map { text in
            var plugin = JSON(text: text).merging(#"{"type": "tuning"}"#)
            if plugin["dataDir"].isNull { plugin["dataDir"] = JSON(state) }
            return plugin.value
        }
        list["plugins"] = JSON([bridge.value] + plugins)
        return Network(list, in: world)
    }

    private var state: String { world.directory + "/tuning" }

    /// The interface as `ip` sees it, without what counts.
    private func link(_ container: World.Container) throws -> String {
        let link = try container.ip("link show eth0")[0]
        return
            (["address", "mtu", "promiscuity", "allmulti", "txqlen"].map { "\($0) \(link[$0])" }
            + link["flags"].lastingFlags).joined(separator: ", ")
    }

    /// The bridge plugin's part of the network alone, so that the interface outlives a DEL.
    private func del(_ network: Network, _ plugin: Int, _ container: World.Container) throws {
        let ended = try world.call(
            "tuning", "DEL", network.configuration(network.plugins[plugin]), container)
        guard ended.succeeded else { throw Failure(ended.output) }
    }

    @Test("the hardware address is answered of the interface, be it said where it is or not")
    func addressOfResult() throws {
        let bridge = Network(version: "1.1.0", in: world)
        let container = try world.container()
        var result = try bridge.add(container)
        var plugin: JSON = #"{"type": "tuning", "mac": "02:00:00:00:00:71"}"#
        plugin["dataDir"] = JSON(state)
        let answered = { (interfaces: [JSON]) in
            result["interfaces"] = JSON(interfaces.map(\.value))
            let ended = try self.world.call(
                "tuning", "ADD", bridge.configuration(plugin, previous: result), container)
            return ended.json["interfaces"].array.map { $0["mac"].string ?? "" }
        }
        #expect(try answered([#"{"name": "eth0"}"#]) == ["02:00:00:00:00:71"])
        var own: JSON = #"{"name": "eth0"}"#
        own["sandbox"] = JSON(container.path)
        #expect(
            try answered([#"{"name": "eth0", "mac": "02:00:00:00:00:01"}"#, own])
                == ["02:00:00:00:00:01", "02:00:00:00:00:71"])
    }

    @Test("ADD makes every setting, CHECK finds it, DEL takes the interface's back")
    func everything() throws {
        let network = network(Self.everything)
        let container = try world.container()
        let plain = Network(version: "1.1.0", in: world)
        try plain.add(container)
        let before = try link(container)
        try plain.del(container)

        let result = try network.add(container)
        #expect(result["interfaces"][2]["mac"].string == "02:00:00:00:00:71")
        let link = try container.ip("link show eth0")[0]
        #expect(link["address"].string == "02:00:00:00:00:71")
        #expect(link["mtu"].number == 1400)
        #expect(link["txqlen"].number == 77)
        #expect(link["flags"].description.contains("PROMISC"))
        #expect(link["flags"].description.contains("ALLMULTI"))
        for (key, value) in [
            ("net.ipv4.conf.eth0.arp_filter", "1"), ("net.core.somaxconn", "500"),
            ("net.ipv4.ip_local_port_range", "10000\t20000"),
        ] {
            #expect(try container.output(of: "sysctl -n \(key)") == value + "\n")
        }
        #expect(try container.reaches("10.71.0.1"))
        #expect(try network.check(container) == nil)
        try container.output(of: "ip link set eth0 mtu 1300")
        #expect(try network.check(container) == "link eth0: mtu: wanted 1400, found 1300")
        #expect(world.files("tuning") == ["\(container.id)_eth0.json"])

        try del(network, 1, container)
        let after = try self.link(container)
        let addressless = { (text: String) in text.drop { $0 != "," } }
        #expect(addressless(after) == addressless(before))
        #expect(!after.contains("02:00:00:00:00:71"))
        #expect(world.files("tuning") == [])
        try network.del(container)
    }

    @Test("of two in a chain the interface's first settings come back")
    func chain() throws {
        let network = network(#"{"mtu": 1400, "txQLen": 50}"#, #"{"mtu": 1300, "promisc": true}"#)
        let container = try world.container()
        try network.add(container)
        let saved = JSON(text: world.file("tuning/\(container.id)_eth0.json") ?? "")
        #expect(saved["mtu"].number == 1500)
        #expect(saved["txQLen"].number == 1000)
        #expect(saved["promisc"].bool == false)
        try del(network, 2, container)
        try del(network, 1, container)
        let link = try container.ip("link show eth0")[0]
        #expect(link["mtu"].number == 1500)
        #expect(link["txqlen"].number == 1000)
        #expect(!link["flags"].description.contains("PROMISC"))
        try network.del(container)
    }

    @Test("an ADD that fails sets everything back, and forgets")
    func rollBack() throws {
        let network = network(
            #"{"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.nothing": "1"}}"#,
            #"{"mtu": 1400, "txQLen": 5}"#)
        let bridge = Network(version: "1.1.0", in: world)
        let container = try world.container()
        let previous = try bridge.add(container)
        let before = try link(container)
        let add = { (keys: JSON) in
            try world.call(
                "tuning", "ADD",
                network.configuration(network.plugins[1], previous: previous, with: keys),
                container)
        }
        var ended = try add("{}")
        #expect(
            ended.json["msg"].string
                == "read sysctl net/ipv4/nothing: No such file or directory (2)")
        #expect(try container.output(of: "sysctl -n net.ipv4.conf.eth0.arp_filter") == "0\n")
        ended = try add(#"{"sysctl": {}, "txQLen": 9, "allmulti": true, "mtu": 70000}"#)
        #expect(ended.json["msg"].string?.hasPrefix("set mtu 70000 of eth0: ") == true)
        #expect(try link(container) == before)
        #expect(world.files("tuning") == [])
        try bridge.del(container)
    }

    @Test("a setting that can only be written is written, and CHECK does without it")
    func writeOnly() throws {
        let network = network(#"{"sysctl": {"net.ipv4.route.flush": "1"}}"#)
        let container = try world.container()
        try network.add(container)
        let difference = try network.check(container)
        #expect(difference == nil, "\(difference ?? "")")
        try network.del(container)
    }

    @Test(
        "the reference's texts for what it refuses",
        arguments: [
            (
                #"{"sysctl": {"kernel.hostname": "x"}}"#,
                #"invalid net sysctl key: "kernel.hostname""#
            ),
            (
                #"{"sysctl": {"net.ipv4/../../../kernel.hostname": "x"}}"#,
                #"invalid net sysctl key: "net.ipv4/../../../kernel.hostname""#
            ),
            (
                #"{"sysctl": {"net/../kernel/hostname": "x"}}"#,
                #"invalid net sysctl key: "net/../kernel/hostname""#
            ),
            (#"{"mac": "x"}"#, #"mac: not a hardware address: "x""#),
            (
                #"{"sysctl": {"net.core.somaxconn": "1", "net/core/somaxconn": "2"}}"#,
                "sysctl: duplicated sysctl keys are not allowed: net/core/somaxconn"
            ),
        ])
    func refusals(keys: String, message: String) throws {
        let network = network(keys)
        let container = try world.container()
        let ended = try network.tryAdd(container)
        let text = ended.json["msg"].string ?? ""
        #expect(
            text.split(separator: " ").sorted() == message.split(separator: " ").sorted()
                || text.hasPrefix("sysctl: duplicated"), "\(text)")
        try network.del(container)
        #expect(world.files("tuning") == [])
    }

    @Test(
        "a setting is written to procfs alone, and no link is followed from there",
        arguments: [
            ("/proc/sys", "touch", "/proc/sys is not procfs"),
            ("/proc/sys/net/core", "touch", "/proc/sys/net/core/somaxconn is not procfs"),
            ("/proc/sys/net/core", "ln -s", "(40)"),
        ])
    func elsewhere(place: String, how: String, cause: String) throws {
        let network = Network(in: world)
        let container = try world.container()
        let result = try network.add(container)
        let victim = "\(world.directory)/victim"
        try "untouched".write(toFile: victim, atomically: true, encoding: .utf8)
        // What the plugin takes for the container's setting leads to a file of the host.
        let script = """
            set -e
            n="nsenter --net=\(container.path)"
            $n mount -t tmpfs none \(place)
            $n mkdir -p /proc/sys/net/core
            \(how == "touch" ? "" : "$n ln -s \(victim) /proc/sys/net/core/somaxconn")
            $n touch /proc/sys/net/core/somaxconn
            exec \(world.plugins)/tuning
            """
        let tuning: JSON = #"{"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}}"#
        let ended = try Command(
            ["unshare", "-m", "sh", "-c", script],
            environment: [
                "CNI_COMMAND": "ADD", "CNI_CONTAINERID": container.id,
                "CNI_NETNS": container.path, "CNI_IFNAME": "eth0", "CNI_PATH": world.plugins,
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            ],
            input: Array(network.configuration(tuning, previous: result).description.utf8),
            in: world.host
        ).wait()
        #expect(ended.json["msg"].string?.contains(cause) == true, "\(ended.output)\(ended.errors)")
        #expect(world.file("victim") == "untouched")
    }

    @Test("settings are made where /proc/sys/net is a mount of its own")
    func mountedApart() throws {
        let network = Network(in: world)
        let container = try world.container()
        let result = try network.add(container)
        let tuning: JSON = #"{"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}}"#
        let ended = try world.start(
            "tuning", "ADD", network.configuration(tuning, previous: result).description,
            container: container.id, namespace: container.path,
            through: [
                "unshare", "-m", "sh", "-c",
                #"mount --bind /proc/sys/net /proc/sys/net && exec "$0""#,
            ]
        ).wait()
        #expect(ended.succeeded, "\(ended.output)\(ended.errors)")
        #expect(try container.output(of: "sysctl -n net.core.somaxconn") == "512\n")
    }

    @Test("a list longer than the kernel takes at once is set and checked whole")
    func longList() throws {
        let ports = stride(from: 2000, to: 4400, by: 2).map(String.init).joined(separator: ",")
        let network = network(
            #"{"sysctl": {"net.ipv4.ip_local_reserved_ports": "\#(ports)"}}"#)
        let container = try world.container()
        try network.add(container)
        #expect(
            try container.output(of: "sysctl -n net.ipv4.ip_local_reserved_ports") == ports + "\n")
        #expect(try network.check(container) == nil)
    }

    @Test("a setting that has no value yet gets one")
    func withoutValue() throws {
        let network = network(
            #"{"sysctl": {"net.ipv6.conf.IFNAME.stable_secret": "2001:db8::1"}}"#)
        let container = try world.container()
        try network.add(container)
        #expect(
            try container.output(of: "sysctl -n net.ipv6.conf.eth0.stable_secret").hasPrefix(
                "2001:0db8:"))
        try network.del(container)
        #expect(world.files("tuning") == [])
    }

    @Test("a key that is there twice is refused, also when both are spelt the same")
    func twice() throws {
        let container = try world.container()
        let text =
            #"{"cniVersion": "1.0.0", "name": "web", "prevResult": {"cniVersion": "1.0.0"},"#
            + #""sysctl": {"net.core.somaxconn": "1", "net.core.somaxconn": "2"}}"#
        let ended = try world.start(
            "tuning", "ADD", text, container: container.id, namespace: container.path
        ).wait()
        #expect(
            ended.json["msg"].string
                == "sysctl: duplicated sysctl keys are not allowed: net.core.somaxconn")
    }

    @Test("another key that is there twice hides none of a setting's, and is none")
    func twiceElsewhere() throws {
        let container = try world.container()
        let before = try container.output(of: "sysctl -n net.core.somaxconn")
        let other = #""a": {"net.core.somaxconn": 1}, "a": {"b": 1, "b": 2}, "#
        for (settings, isRefused) in [
            (#"{"net.core.somaxconn": "11", "net.core.somaxconn": "12"}"#, true),
            (#"{"net.core.somaxconn": "13"}"#, false),
        ] {
            let text =
                #"{"cniVersion": "1.0.0", "name": "web", "prevResult": {"cniVersion": "1.0.0"}, "#
                + other + #""dataDir": "\#(world.directory)/tuning", "SysCtl": "# + settings + "}"
            let ended = try world.start(
                "tuning", "ADD", text, container: container.id, namespace: container.path
            ).wait()
            #expect(ended.succeeded != isRefused, "\(ended.output)")
            #expect(
                try container.output(of: "sysctl -n net.core.somaxconn")
                    == (isRefused ? before : "13\n"))
        }
    }

    @Test("the administrator's list decides for ADD, not for DEL")
    func allowlist() throws {
        let container = try world.container()
        let bridge = Network(version: "1.1.0", in: world)
        let previous = try bridge.add(container)
        let network = network(#"{"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}"#)
        let call = { (verb: String, lines: String) in
            try Command(
                [
                    "unshare", "-m", "sh", "-c",
                    "mount -t tmpfs none /etc && mkdir -p /etc/cni/tuning && "
                        + "printf '\(lines)' > /etc/cni/tuning/allowlist.conf && "
                        + "exec \(world.plugins)/tuning",
                ],
                environment: [
                    "CNI_COMMAND": verb, "CNI_CONTAINERID": container.id,
                    "CNI_NETNS": container.path, "CNI_IFNAME": "eth0",
                    "CNI_PATH": world.plugins, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                ],
                input: Array(
                    network.configuration(network.plugins[1], previous: previous).description
                        .utf8), in: world.host
            ).wait()
        }
        let denied = try call("ADD", #"^net\\.core\\.\n\n"#)
        #expect(
            denied.json["msg"].string
                == "Sysctl net.ipv4.conf.IFNAME.arp_filter is not allowed. "
                + #"Only the following sysctls are allowed: [^net\.core\.]"#,
            "\(denied.output)\(denied.errors)")
        #expect(try call("DEL", #"^net\\.core\\.\n"#).succeeded)
        let allowed = try call(
            "ADD", #"^net\\.core\\.\n  ^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$\n"#)
        #expect(allowed.succeeded, "\(allowed.output)\(allowed.errors)")
        #expect(try container.output(of: "sysctl -n net.ipv4.conf.eth0.arp_filter") == "1\n")
        try bridge.del(container)
    }

    @Test("DEL forgets when the namespace is gone, and when the file is damaged")
    func vanished() throws {
        let network = network(#"{"mtu": 1400}"#)
        for damage in [nil, "", #"{"mtu": "#, #"{"mtu": -5, "mac": 7}"#] {
            let container = try world.container()
            try network.add(container)
            let file = "tuning/\(container.id)_eth0.json"
            #expect(world.file(file) != nil)
            if let damage {
                try Data(damage.utf8).write(
                    to: URL(fileURLWithPath: "\(world.directory)/\(file)"))
            } else {
                try run("umount \(container.path)")
            }
            try network.del(container, withResult: false)
            try network.del(container, withResult: false)
            #expect(world.file(file) == nil)
        }
    }

    @Test("GC forgets what is valid no more, and nothing of another network")
    func collect() throws {
        let network = network(#"{"mtu": 1400}"#)
        let (kept, lost) = (try world.container(), try world.container())
        try network.add(kept)
        try network.add(lost)
        let foreign = "other_eth0.json"
        try Data(#"{"mtu": 1500, "owner": "db other eth0"}"#.utf8).write(
            to: URL(fileURLWithPath: "\(state)/\(foreign)"))
        try network.gc(keeping: [(kept, "eth0")])
        #expect(world.files("tuning") == ["\(kept.id)_eth0.json", foreign].sorted())
        try network.del(kept)
    }

    @Test("what the reference saved, DEL puts back")
    func takeOver() throws {
        let network = network(#"{"mtu": 1400, "mac": "02:00:00:00:00:72"}"#)
        let container = try world.container()
        let bridge = Network(version: "1.0.0", in: world)
        let previous = try bridge.add(container)
        let before = try link(container)
        var configuration = network.configuration(network.plugins[1], previous: previous)
        configuration["cniVersion"] = JSON(text: "\"1.0.0\"")
        let added = try world.call(
            "tuning", "ADD", configuration, container, path: Peer.directory())
        #expect(added.succeeded, "\(added.output)")
        #expect(try link(container) != before)
        #expect(try world.call("tuning", "DEL", configuration, container).succeeded)
        #expect(try link(container) == before)
        #expect(world.files("tuning") == [])
        try bridge.del(container)
    }
}
