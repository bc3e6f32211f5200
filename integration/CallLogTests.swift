import Foundation
import Testing

@Suite("the plugins' log", .enabled(if: isRoot))
struct CallLogTests {
    private func call(
        _ world: World, _ verb: String, _ configuration: String, log: String
    ) throws -> Command.Ended {
        try Command(
            ["\(world.plugins)/static"],
            environment: [
                "CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1",
                "CNI_IFNAME": "eth0", "CNI_PATH": world.plugins, "SWIFT_CNI_LOG": log,
                "CNI_ARGS": "K8S_POD_NAMESPACE=web;K8S_POD_NAME=pod",
            ], input: Array(configuration.utf8), in: world.host
        ).wait()
    }

    private let good =
        #"{"cniVersion": "1.0.0", "name": "net", "type": "static", "ipam": {"type": "static", "#
        + #""addresses": [{"address": "10.1.0.5/16"}]}}"#
    private let bad =
        #"{"cniVersion": "1.0.0", "name": "net", "type": "static", "ipam": {"type": "static", "#
        + #""addresses": "hunter2"}}"#

    @Test("is off where there is none, and has a line for each verb where there is one")
    func lines() throws {
        let world = try World()
        let log = world.directory + "/calls.log"
        #expect(try call(world, "ADD", good, log: log).succeeded)
        #expect(world.file("calls.log") == nil, "a plugin makes no log")
        let cnictl = try Cnictl(world)
        try cnictl.output(of: "log --on --file \(log)")
        for verb in ["ADD", "VERSION", "DEL"] { _ = try call(world, verb, good, log: log) }
        #expect(try call(world, "ADD", bad, log: log).status == 1)
        let calls = try cnictl.json("log --file \(log)").array
        #expect(calls.map { $0["verb"].string } == ["ADD", "DEL", "ADD"])
        #expect(calls[0]["plugin"].string == "static")
        #expect(calls[0]["network"].string == "net")
        #expect(calls[0]["container"].string == "c1")
        #expect(calls[0]["pod"].string == "web/pod")
        #expect((1...10_000_000).contains(calls[0]["us"].number ?? 0))
        #expect(calls.map { $0["code"].number } == [0, 0, 6])
        #expect(calls[2]["error"].string?.hasPrefix("ipam.addresses: expected an array") == true)
        #expect(world.file("calls.log")?.contains("hunter2") == false)
        #expect(try cnictl.json("log --failed --file \(log)").array.count == 1)
        #expect(try cnictl.output(of: "log del --file \(log)").contains("net c1 eth0"))
        let metrics = try cnictl.output(of: "metrics --log \(log)")
        #expect(metrics.contains(#"cni_call_errors_total{plugin="static",verb="ADD",code="6"} 1"#))
        #expect(
            metrics.contains(#"cni_call_duration_seconds_count{plugin="static",verb="ADD"} 2"#))
        try cnictl.output(of: "log --off --file \(log)")
        #expect(world.file("calls.log") == nil)
    }

    @Test("a word is a container's ID, or the start of one where it is none")
    func filter() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let log = world.directory + "/calls.log"
        let calls = ["c1", "c10", "d1"].map { id in
            #"{"time": "2026-11-24T11:52:03.123Z", "verb": "ADD", "plugin": "static", "us": 1, "code": 0,"#
                + #" "network": "net", "container": "\#(id)"}\#n"#
        }
        try calls.joined().write(toFile: log, atomically: true, encoding: .utf8)
        for (word, wanted) in [
            ("c1", ["c1"]), ("c", ["c1", "c10"]), ("add", ["c1", "c10", "d1"]),
        ] {
            let shown = try cnictl.json("log --file \(log) \(word)").array
            #expect(shown.compactMap { $0["container"].string } == wanted)
        }
    }

    @Test("goes to a file that is named from where one is, and nothing of a log is lost for it")
    func elsewhere() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let (log, target) = (world.directory + "/calls.log", world.directory + "/rel.log")
        let turnOn = {
            try Command(
                ["env", "-C", world.directory, cnictl.program, "log", "--on", "--to", "rel.log"]
                    + ["--file", log], in: world.host
            ).wait()
        }
        try "{}\n".write(toFile: log, atomically: true, encoding: .utf8)
        #expect(try turnOn().status == 1)
        #expect(world.file("calls.log") == "{}\n")
        try cnictl.output(of: "log --off --file \(log)")
        for _ in 1...2 { #expect(try turnOn().succeeded) }
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: log) == target)
        #expect(try call(world, "ADD", good, log: log).succeeded)
        #expect(world.file("rel.log")?.contains(#""verb":"ADD""#) == true)
    }

    @Test("goes to the journal's socket where a link leads there")
    func journal() throws {
        let world = try World()
        let (socket, link) = (world.directory + "/socket", world.directory + "/link")
        let listener = try Command([
            "python3", "-c",
            "import socket, sys\n"
                + "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1])\n"
                + "s.settimeout(20); print(s.recv(4096).decode(), end='')", socket,
        ])
        try waitFor("socket", pause: 5) { access(socket, F_OK) == 0 }
        symlink(socket, link)
        #expect(try call(world, "ADD", good, log: link).succeeded)
        let received = listener.wait().output
        #expect(received.hasPrefix("PRIORITY=6\nSYSLOG_IDENTIFIER=swift-cni\nMESSAGE={"))
        #expect(received.contains(#""verb":"ADD""#))
    }
}
