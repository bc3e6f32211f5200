import Foundation
import Testing

@Suite("the protocol", .enabled(if: isRoot))
struct ProtocolTests {
    let world: World

    init() throws { world = try World() }

    /// Runs `bridge` with this environment, over one that is good for ADD, and this input.
    private func call(
        _ changes: [String: String?] = [:], _ input: [UInt8]? = nil, plugin: String = "bridge"
    ) throws -> Command.Ended {
        var environment: [String: String?] = [
            "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "one", "CNI_NETNS": try container(),
            "CNI_IFNAME": "eth0", "CNI_PATH": world.plugins,
        ]
        environment.merge(changes) { $1 }
        let good = Array(Network(in: world).configuration().description.utf8)
        return try Command(
            ["\(world.plugins)/\(plugin)"], environment: environment.compactMapValues { $0 },
            input: input ?? good, in: world.host
        ).wait()
    }

    private func container() throws -> String { try world.container("one").path }

    /// The error of a call that must fail cleanly: JSON on stdout, status 1, nothing on the host.
    private func refusal(
        _ changes: [String: String?] = [:], _ input: [UInt8]? = nil, plugin: String = "bridge"
    ) throws -> (code: Int, message: String) {
        var answer = (code: 0, message: "")
        try world.unchanged {
            let ended = try call(changes, input, plugin: plugin)
            #expect(ended.status == 1)
            #expect(ended.json.keys.allSatisfy { ["code", "msg", "details"].contains($0) })
            #expect(!ended.json["code"].isNull, "\(ended.output.prefix(200)) \(ended.errors)")
            let details = ended.json["details"].string.map { "; \($0)" } ?? ""
            answer = (ended.json["code"].number ?? 0, (ended.json["msg"].string ?? "") + details)
        }
        return answer
    }

    @Test(
        "VERSION lists every version, whatever else is set and without reading its input",
        arguments: ["bridge", "host-local", "static", "loopback"])
    func version(plugin: String) throws {
        let ended = try call(
            [
                "CNI_COMMAND": "VERSION", "CNI_NETNS": "dummy", "CNI_IFNAME": "dummy",
                "CNI_PATH": nil,
            ],
            [0xff], plugin: plugin)
        #expect(
            ended.output
                == #"{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","#
                + #""0.4.0","1.0.0","1.1.0"]}"# + "\n")
    }

    @Test("without a command, a person is told what this is")
    func about() throws {
        let ended = try call(["CNI_COMMAND": nil])
        #expect(ended.status == 0)
        #expect(ended.output == "")
        #expect(ended.errors.hasPrefix("CNI bridge plugin v"))
        #expect(ended.errors.contains("CNI protocol versions supported: 0.1.0, 0.2.0"))
    }

    /// What is wrong in the environment, the code, and what the message names.
    static let environments: [([String: String?], Int, String)] = [
        (["CNI_COMMAND": "NOPE"], 4, "unknown CNI_COMMAND: NOPE"),
        (
            ["CNI_NETNS": nil, "CNI_IFNAME": nil, "CNI_PATH": nil], 4,
            "required env variables [CNI_NETNS,CNI_IFNAME,CNI_PATH] missing"
        ),
        (["CNI_CONTAINERID": "../../etc"], 4, "invalid characters in containerID; ../../etc"),
        (["CNI_CONTAINERID": "-x"], 4, "invalid characters in containerID"),
        (["CNI_CONTAINERID": String(repeating: "x", count: 5000)], 4, "CNI_CONTAINERID: too long"),
        (["CNI_IFNAME": "a-name-of-sixteen"], 4, "interface name is too long"),
        (["CNI_IFNAME": ".."], 4, "interface name is . or .."),
        (["CNI_IFNAME": "a/b"], 4, "interface name contains / or :"),
        (["CNI_ARGS": "no-equals-sign"], 4, "CNI_ARGS"),
        (["CNI_ARGS": "IP=not-an-address"], 4, "CNI_ARGS: IP"),
        (["CNI_ARGS": "MAC=not-an-address"], 4, "CNI_ARGS: MAC"),
        (["CNI_NETNS": "/etc/hostname"], 4, "/etc/hostname"),
        (["CNI_NETNS": "/etc"], 4, "/etc"),
        (["CNI_NETNS": "/proc/self/ns/mnt"], 4, "/proc/self/ns/mnt"),
        (["CNI_NETNS": "/never/was"], 4, "/never/was"),
        (["CNI_NETNS": "/proc/self/ns/net"], 8, "should not be the same"),
    ]

    @Test("a bad environment is refused by the variable's name", arguments: environments)
    func environment(changes: [String: String?], code: Int, named: String) throws {
        let refused = try refusal(changes)
        #expect(refused.code == code, "\(refused.message)")
        #expect(refused.message.contains(named), "\(refused.message)")
    }

    @Test("a fifo for a namespace is refused without waiting for its writer")
    func fifo() throws {
        let path = "\(world.directory)/fifo"
        try output(of: "mkfifo \(path)")
        #expect(try refusal(["CNI_NETNS": path]).code == 4)
    }

    @Test("input that is no JSON is refused with code 6, wherever it breaks off")
    func truncated() throws {
        let good = Array(
            Network(ipam: BridgeTests.dualStack, in: world).configuration().description.utf8)
        for length in stride(from: 0, to: good.count - 1, by: 7) {
            #expect(try refusal([:], Array(good.prefix(length))).code == 6)
        }
    }

    @Test("deep nesting, NUL bytes and bad UTF-8 are refused, not crashed on")
    func hostile() throws {
        let open = UInt8(ascii: "[")
        #expect(try refusal([:], [UInt8](repeating: open, count: 10_000_000)).code == 6)
        #expect(try refusal([:], Array("{\"name\":\"a\0b\"}".utf8)).code == 6)
        #expect(try refusal([:], Array("{\"name\":\"a\\u0000b\"}".utf8)).code != 0)
        #expect(
            try refusal(
                [:], Array(#"{"cniVersion":"1.1.0","name":"a","bridge":"cni0\u0000x"}"#.utf8)
            ).code == 6)
        #expect(try refusal([:], [0x22, 0xff, 0x22]).code == 6)
        #expect(try refusal([:], Array("[]".utf8)).code == 6)
    }

    /// A key of the configuration, a bad value, and what the message names.
    static let values: [(String, JSON, String)] = [
        (#"{"name": ""}"#, "{}", "missing network name"),
        (#"{"name": "a b"}"#, "{}", "network name"),
        (#"{"name": 7}"#, "{}", "name"),
        (#"{"cniVersion": "9.9.9"}"#, "{}", "incompatible CNI versions"),
        (#"{"cniVersion": "x"}"#, "{}", "incompatible CNI versions"),
        (#"{"cniVersion": "1.1"}"#, "{}", "incompatible CNI versions"),
        (#"{"bridge": "cni%d"}"#, "{}", "bridge"),
        (#"{"bridge": 7}"#, "{}", "bridge"),
        (#"{"bridge": "a-bridge-with-a-name-too-long"}"#, "{}", "bridge"),
        (#"{"bridge": ""}"#, #"{"subnet": "nothing"}"#, "ipam.subnet"),
        (#"{"isGateway": "yes"}"#, "{}", "isGateway"),
        (#"{"mtu": "1500"}"#, "{}", "mtu"),
        (#"{"mtu": -1}"#, "{}", "mtu"),
        (#"{"mtu": 3000000000}"#, "{}", "mtu"),
        (#"{"vlan": 4095}"#, "{}", "invalid VLAN ID 4095 (must be between 0 and 4094)"),
        (#"{"vlanTrunk": {}}"#, "{}", "vlanTrunk"),
        (#"{"vlanTrunk": [{"minID": 10}]}"#, "{}", "maxID is missing"),
        (#"{"vlanTrunk": [{"minID": 10, "maxID": 5}]}"#, "{}", "vlanTrunk[0]"),
        (#"{"hairpinMode": true, "promiscMode": true}"#, "{}", "hairpin"),
        (#"{"runtimeConfig": {"mac": "zz"}}"#, "{}", "runtimeConfig.mac"),
        (#"{"runtimeConfig": []}"#, "{}", "runtimeConfig"),
        (#"{"args": {"cni": {"ips": ["10.71.0.300"]}}}"#, "{}", "args.cni.ips"),
        (#"{"dns": {"nameservers": "192.0.2.1"}}"#, "{}", "dns.nameservers"),
        (#"{"ipam": []}"#, "{}", "ipam"),
        (#"{"ipam": {"type": 5}}"#, "{}", "ipam.type"),
        (#"{"ipam": {"type": "never-was"}}"#, "{}", "never-was"),
        (#"{"ipam": {"type": "bridge"}}"#, "{}", #"ipam.type: "bridge" is no IPAM plugin"#),
        (#"{"ipam": {"type": "../../bin/sh"}}"#, "{}", "ipam.type"),
        ("{}", #"{"subnet": "10.71.0.1/16"}"#, "ipam"),
        ("{}", #"{"subnet": "10.71.0.0/31"}"#, "too small to allocate from"),
        ("{}", #"{"subnet": "10.71.0.0/16", "rangeStart": "10.72.0.1"}"#, "10.72.0.1"),
        ("{}", #"{"subnet": "fd00::/64", "rangeStart": "10.72.0.1"}"#, "10.72.0.1"),
        ("{}", #"{"subnet": "10.71.0.0/16", "rangeStart": "fd00::1"}"#, "fd00::1"),
        ("{}", #"{"subnet": "10.71.0.0/16", "gateway": "gw"}"#, "ipam.gateway"),
        ("{}", #"{"subnet": "10.71.0.0/16", "routes": [{"dst": 5}]}"#, "ipam.routes[0].dst"),
        (
            "{}", #"{"subnet": "10.71.0.0/16", "routes": [{"dst": "1.2.3.0/24", "mtu": "x"}]}"#,
            "ipam.routes[0].mtu"
        ),
        (
            "{}", #"{"subnet": "10.71.0.0/16", "routes": [{"dst": "1.2.3.0/24", "priority": -1}]}"#,
            "ipam.routes[0].priority"
        ),
        (
            "{}", #"{"subnet": "10.71.0.0/16", "routes": [{"dst": "1.2.3.0/24", "scope": 300}]}"#,
            "ipam.routes[0].scope"
        ),
        (
            "{}", #"{"ranges": [[{"subnet": "10.1.0.0/16"}], [{"subnet": "10.1.2.0/24"}]]}"#,
            "overlap"
        ),
        (
            "{}", #"{"ranges": [[{"subnet": "10.1.0.0/16"}, {"subnet": "fd00::/64"}]]}"#,
            "ipam.ranges"
        ),
        ("{}", #"{"ranges": [{"subnet": "10.1.0.0/16"}]}"#, "ipam.ranges"),
        ("{}", #"{"ranges": []}"#, "no IP ranges specified"),
        ("{}", #"{"subnet": "10.71.0.0/16", "dataDir": 7}"#, "ipam.dataDir"),
        ("{}", #"{"subnet": "10.71.0.0/16", "resolvConf": "/never/was"}"#, "/never/was"),
        ("{}", #"{"subnet": "10.71.0.0/16", "dataDir": "/etc/hostname"}"#, "/etc/hostname"),
    ]

    @Test("a bad value is refused by its place in the configuration", arguments: values)
    func value(keys: String, ipam: JSON, named: String) throws {
        let network = ipam.keys.isEmpty ? Network(in: world) : Network(ipam: ipam, in: world)
        let base = network.configuration()
        let input = base.merging(JSON(text: keys)).description
        let refused = try refusal([:], Array(input.utf8))
        #expect(refused.message.contains(named), "\(refused.message)")
    }

    @Test("keys count in any case, null counts as absent, and unknown keys do not count")
    func keys() throws {
        let network = Network(
            bridge: #"{"BRIDGE": "br7", "MTU": null, "bridge": null, "nonsense": [1, {"a": 2}]}"#,
            in: world)
        try network.add(try world.container())
        #expect(try world.onHost("ip link show br7").contains("br7"))
    }

    @Test("verbs younger than the configuration's version are refused with code 1")
    func gates() throws {
        let check = Network(version: "0.3.1", in: world).configuration().description
        #expect(try refusal(["CNI_COMMAND": "CHECK"], Array(check.utf8)).code == 1)
        let status = Network(version: "1.0.0", in: world).configuration().description
        for verb in ["GC", "STATUS"] {
            let refused = try refusal(["CNI_COMMAND": verb], Array(status.utf8))
            #expect(refused.code == 1)
            #expect(refused.message.contains("config version does not allow \(verb)"))
        }
    }

    @Test("CHECK without prevResult is refused")
    func noPreviousResult() throws {
        let refused = try refusal(["CNI_COMMAND": "CHECK"])
        #expect(refused.message.lowercased().contains("prevresult"), "\(refused.message)")
    }

    @Test("the host's own namespace is refused before any work, unless it is allowed")
    func hostNamespace() throws {
        #expect(try refusal(["CNI_NETNS": world.host]).code == 8)
    }

    @Test("an IPAM plugin that is another program is run, and its refusal handed on")
    func foreignIPAM() throws {
        let directory = "\(world.directory)/plugins"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        let calls = world.directory + ".calls"
        defer { try? FileManager.default.removeItem(atPath: calls) }
        let script = """
            #!/bin/bash
            echo "$CNI_COMMAND $CNI_CONTAINERID" >> \(calls)
            [ "$CNI_COMMAND" = ADD ] || exit 0
            if [ -e \(world.directory)/refuse ]; then
                printf '{"code": 11, "msg": "no address now", "details": "later"}'; exit 1
            fi
            printf '{"cniVersion": "1.0.0", "ips": [{"address": "10.80.0.5/24"}]}'
            """
        _ = FileManager.default.createFile(
            atPath: "\(directory)/my-ipam", contents: Data(script.utf8),
            attributes: [.posixPermissions: 0o755])
        let path = ["CNI_PATH": "\(directory):\(world.plugins)"]
        let network = Network(bridge: #"{"ipam": {"type": "my-ipam"}}"#, in: world)
        let input = Array(network.configuration().description.utf8)
        let ended = try call(path, input)
        #expect(ended.json["ips"][0]["address"].string == "10.80.0.5/24")
        try output(of: "touch \(world.directory)/refuse")
        let refused = try refusal(path.merging(["CNI_CONTAINERID": "two"]) { $1 }, input)
        #expect(refused.code == 11)
        #expect(refused.message == "no address now; later")
        // DEL would take what an earlier ADD of the container has got from it.
        let made = try String(contentsOfFile: calls, encoding: .utf8)
        #expect(made == "ADD one\nADD two\n", "\(made)")
    }

    @Test(
        "DEL does without a prevResult that cannot be read",
        arguments: [
            #"{"cniVersion": "1.0.0", "ips": [{"address": "10.80.0.5/24", "interface": 4}]}"#,
            #"{"cniVersion": "0.3.1", "ips": []}"#, #""lost""#,
        ])
    func unreadableResult(text: String) throws {
        let network = Network(in: world)
        let container = try world.container()
        try network.add(container)
        let keys: JSON = "{\"prevResult\": \(text)}"
        for verb in ["CHECK", "DEL"] {
            let ended = try world.call(
                "bridge", verb, network.configuration(with: keys), container)
            #expect(ended.succeeded == (verb == "DEL"), "\(ended.output)")
        }
        #expect(world.files("web").allSatisfy { !$0.hasPrefix("10.") })
        for chained in ["firewall", "portmap", "bandwidth", "tuning", "sbr"] {
            var plugin: JSON = "{}"
            plugin["type"] = JSON(chained)
            let ended = try world.call(
                chained, "DEL", network.configuration(plugin, with: keys), container)
            #expect(ended.succeeded, "\(chained): \(ended.output)")
        }
    }

    @Test(
        "without the right to change the network a call ends, and says so",
        arguments: [
            ("ADD", "portmap"), ("CHECK", "portmap"), ("DEL", "portmap"), ("ADD", "firewall"),
            ("DEL", "firewall"), ("DEL", "bridge"),
        ])
    func unprivileged(verb: String, plugin: String) throws {
        let network = Network(bridge: #"{"ipMasq": true}"#, in: world)
        let container = try world.container()
        let result = try network.add(container)
        var keys: JSON =
            #"{"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}"#
        keys["type"] = JSON(plugin)
        let configuration =
            plugin == "bridge"
            ? network.configuration() : network.configuration(keys, previous: result)
        let ended = try world.start(
            plugin, verb, configuration.description, container: container.id,
            namespace: verb == "DEL" ? "" : container.path,
            // timeout(1) hears no signal that is held back here.
            through: [
                "python3", "-c",
                "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], timeout=20).returncode)",
                "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin",
            ]
        ).wait()
        #expect(ended.status == 1, "\(ended.status) \(ended.output)")
        #expect(ended.json["msg"].string?.contains("not permitted") == true, "\(ended.output)")
    }

    @Test(
        "STATUS answers 50 where there have to be rules and cannot",
        arguments: [
            ("bridge", #"{"ipMasq": true}"#), ("bridge", #"{"macspoofchk": true}"#),
            ("ptp", #"{"ipMasq": true}"#), ("portmap", "{}"), ("firewall", "{}"),
        ])
    func notAvailable(plugin: String, keys: String) throws {
        let network = Network(bridge: "{}", in: world)
        var configuration = network.configuration(with: JSON(text: keys))
        configuration["type"] = JSON(plugin)
        configuration["cniVersion"] = #""1.1.0""#
        let status = { (through: [String]) in
            try world.start(
                plugin, "STATUS", configuration.description, container: "", namespace: "",
                through: through
            ).wait()
        }
        #expect(try status([]).succeeded)
        let ended = try status(
            ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"])
        #expect(ended.json["code"].number == 50, "\(ended.status) \(ended.output)")
        #expect(ended.json["msg"].string?.contains("nftables cannot be used") == true)
    }
}
