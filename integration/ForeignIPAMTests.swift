import Foundation
import Testing

/// IPAM that is another program than the plugin which calls it.
@Suite("an IPAM plugin that is another program", .enabled(if: isRoot))
struct ForeignIPAMTests {
    let world: World
    let uplink: Uplink
    /// A directory with this project's plugins, and the others.
    let programs: String

    init() throws {
        world = try World()
        uplink = try Uplink(world)
        programs = world.directory + "/bin"
        try FileManager.default.createDirectory(
            atPath: programs, withIntermediateDirectories: false)
        for name in ["bridge", "host-device", "host-local", "macvlan", "ptp"] {
            try link("\(world.plugins)/\(name)")
        }
    }

    /// Puts a program into the directory, in the place of one of the name.
    private func link(_ program: String) throws {
        try output(of: "ln -sf \(program) \(programs)/")
    }

    private func network(_ plugin: String, _ ipam: JSON, version: String = "1.0.0") -> Network {
        let network = Network(
            plugin: plugin, #"{"master": "up0"}"#, ipam: ipam, version: version, in: world)
        network.path = programs
        return network
    }

    /// A network whose IPAM is a script that notes each verb, and whether it sees the interface.
    private func network(
        _ plugin: String, add: String = answer, del: String = ":"
    ) throws -> Network {
        let script = """
            #!/bin/sh
            nsenter --net="$CNI_NETNS" ip link show "$CNI_IFNAME" > /dev/null && sees=eth0
            echo "$CNI_COMMAND ${sees:-nothing}" >> \(world.directory)/calls
            case $CNI_COMMAND in
            ADD) \(add) ;;
            DEL) \(del) ;;
            esac
            """
        let path = programs + "/fake"
        try script.write(toFile: path, atomically: true, encoding: .utf8)
        try output(of: "chmod +x \(path)")
        return network(plugin, #"{"type": "fake"}"#)
    }

    private static let answer = """
        echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.71.0.9/16", "gateway": "10.71.0.1"}]}'
        """

    /// An answer with a route that the kernel refuses.
    private static let unreachable = """
        echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.71.0.9/16"}],
               "routes": [{"dst": "192.0.2.0/24", "gw": "198.51.100.1"}]}'
        """

    private func calls() -> [String] {
        (world.file("calls") ?? "").split(separator: "\n").map(String.init)
    }

    private func del(
        _ network: Network, _ container: World.Container, through: [String] = []
    ) throws -> Command.Ended {
        try world.start(
            network.plugins[0]["type"].string ?? "", "DEL", network.configuration().description,
            container: container.id, namespace: container.path, path: programs, through: through
        ).wait()
    }

    @Test(
        "it sees the interface at DEL as well as at ADD", arguments: ["bridge", "macvlan", "ptp"])
    func sight(plugin: String) throws {
        let network = try network(plugin)
        let container = try world.container()
        try network.add(container)
        try network.del(container)
        #expect(calls() == ["ADD eth0", "DEL eth0"])
        #expect(try container.link("eth0").isNull)
    }

    @Test(
        "it sees the interface when an ADD is taken back", arguments: ["bridge", "macvlan", "ptp"])
    func rollBack(plugin: String) throws {
        let network = try network(plugin, add: Self.unreachable)
        let container = try world.container()
        #expect(try !network.tryAdd(container).succeeded)
        #expect(try container.link("eth0").isNull)
        #expect(calls() == ["ADD eth0", "DEL eth0"])
    }

    @Test("its error at DEL is passed on as it is, and the interface goes all the same")
    func failedRelease() throws {
        let network = try network(
            "macvlan", del: #"echo '{"code": 42, "msg": "later", "details": "why"}'; exit 1"#)
        let container = try world.container()
        try network.add(container)
        let error = try del(network, container).json
        #expect(error["code"].number == 42)
        #expect(error["msg"].string == "later")
        #expect(error["details"].string == "why")
        #expect(try container.link("eth0").isNull)
    }

    @Test("what it has refused is not given back, what it has not answered for is")
    func refused() throws {
        let refusal = #"echo '{"code": 42, "msg": "no", "details": "why"}'; exit 1"#
        for (answer, count) in [(refusal, 1), ("kill -9 $$", 2), ("echo junk", 2), ("exit 3", 2)] {
            let network = try network("macvlan", add: answer)
            let ended = try network.tryAdd(try world.container())
            #expect(!ended.succeeded)
            #expect(calls().count == count, "\(answer)")
            if answer == refusal {
                #expect(ended.json["code"].number == 42 && ended.json["msg"].string == "no")
                #expect(ended.json["details"].string == "why")
            }
            try output(of: "rm \(world.directory)/calls")
        }
    }

    @Test("one that cannot be run leaves nothing behind, and nothing is said of it")
    func unrunnable() throws {
        let network = try network("macvlan")
        try output(of: "chmod -x \(programs)/fake")
        let container = try world.container()
        let inside = try Snapshot(of: container)
        try world.unchanged {
            let ended = try network.tryAdd(container)
            #expect(ended.json["msg"].string?.contains("fake") == true, "\(ended.output)")
            #expect(!ended.succeeded && !ended.output.contains("left behind"), "\(ended.output)")
        }
        #expect(try Snapshot(of: container).difference(from: inside) == "")
    }

    @Test("its failure is seen where the runtime ignores the ends of its children")
    func ignoredChildren() throws {
        let network = try network("macvlan", del: #"echo '{"code": 11, "msg": "busy"}'; exit 1"#)
        let container = try world.container()
        try network.add(container)
        let ignoring = """
            import os, signal, sys
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            os.execv(sys.argv[1], sys.argv[1:])
            """
        let ended = try del(network, container, through: ["python3", "-c", ignoring])
        #expect(ended.status == 1)
        #expect(ended.json["msg"].string == "busy")
    }

    @Test("what it says on standard error is passed on, and is the error where it prints none")
    func standardError() throws {
        let network = try network(
            "macvlan", del: "echo 'err text' >&2; head -c 1000000 /dev/zero >&2; exit 1")
        let container = try world.container()
        try network.add(container)
        let ended = try del(network, container)
        #expect(ended.json["msg"].string?.contains("err text") == true, "\(ended.output)")
        #expect(ended.output.utf8.count < 10_000)
        #expect(ended.errors.hasPrefix("err text\n") && ended.errors.utf8.count > 1_000_000)
    }

    @Test("an ADD that the Go host-local refuses as a duplicate leaves what the container holds")
    func duplicate() throws {
        try link(Peer.directory() + "/host-local")
        let network = network("macvlan", #"{"subnet": "10.71.0.0/16"}"#)
        let (one, two) = (try world.container("one"), try world.container("one"))
        try network.add(one)
        let ended = try network.tryAdd(two)
        #expect(ended.output.contains("duplicate allocation is not allowed"), "\(ended.output)")
        #expect(world.file("web/10.71.0.2") == "one\r\neth0")
    }

    @Test(
        "a lease of the Go dhcp goes back to its server",
        .enabled(if: (try? run("which dnsmasq").succeeded) == true, "no dnsmasq here"))
    func dhcp() throws {
        try link(Peer.directory() + "/dhcp")
        let socket = world.directory + "/dhcp.sock"
        let daemon = try Command(
            [Peer.directory() + "/dhcp", "daemon", "-socketpath", socket], in: world.host)
        let server = try Command(
            [
                "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=",
                "--user=root", "--port=0", "--interface=up1", "--bind-interfaces", "--no-ping",
                "--dhcp-range=10.71.0.100,10.71.0.110,1h", "--dhcp-authoritative",
                "--dhcp-leasefile=\(world.directory)/leases",
            ], in: uplink.neighbour.path)
        defer {
            for command in [daemon, server] {
                kill(command.process, SIGKILL)
                _ = command.wait()
            }
        }
        try waitFor("socket of the daemon") { FileManager.default.fileExists(atPath: socket) }
        let network = network(
            "macvlan", JSON(["type": "dhcp", "daemonSocketPath": socket]))
        let container = try world.container()
        let result = try network.add(container)
        #expect(result["ips"][0]["address"].string?.hasPrefix("10.71.0.1") == true)
        #expect(world.file("leases")?.contains(" 10.71.0.1") == true)
        try network.del(container)
        try waitFor("end of the lease") { world.file("leases") == "" }
    }
}
