import Foundation
import Testing

@Suite("cnictl tells others", .enabled(if: isRoot))
struct CnictlReportTests {
    private func attached() throws -> (World, Cnictl) {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        try cnictl.output(
            of: "add shaped \(world.container("web").path) --container-id web")
        return (world, cnictl)
    }

    @Test("bundle has everything and no secret")
    func bundle() throws {
        let (world, cnictl) = try attached()
        let odd = """
            {"cniVersion": "1.1.0", "name": "odd", "plugins": [{"type": "strange",
             "etcd": {"apiToken": "hush-1", "Password": "hush-2", "url": "https://me:hush-3@host/"},
             "pwd": "hush-7", "pass": "hush-8", "dsn": "hush-9",
             "list": [{"tls_key": {"pem": "hush-4"}}], "plain": "visible"}]}
            """
        try cnictl.configure(JSON(text: odd), as: "odd.conflist")
        try #"{"name": "broken", "token": "hush-5","#.write(
            toFile: cnictl.networks + "/broken.conf", atomically: true, encoding: .utf8)
        try #"{"cniVersion": "1.1.0", "name": "bad", "password": "hush-6\q", "type": "x"}"#.write(
            toFile: cnictl.networks + "/bad.conf", atomically: true, encoding: .utf8)
        // A colon would mean another host to tar.
        let file = world.directory + "/16:52.tar.gz"
        let told = try cnictl.json("bundle \(file)")
        let names = try output(of: "tar --force-local -tzf \(file)").split(separator: "\n").map(
            String.init)
        for part in told["parts"].array {
            #expect(names.contains("cnictl-bundle/\(part.string ?? "")"))
        }
        let whole = try output(of: "tar -xzOf \(file)")
        for word in [
            "shaped web eth0", "visible", "Linux", "nftables", "cni-shaped", "class htb 1:1 root",
            "10.99.0.2", "left out",
        ] { #expect(whole.contains(word), "\(word)") }
        #expect(whole.contains("invalid escape near"))
        #expect(!whole.contains("hush"))
        let attributes = try FileManager.default.attributesOfItem(atPath: file)
        #expect((attributes[.posixPermissions] as? Int ?? 0) & 0o077 == 0)
        let ls = JSON(
            text: try output(of: "tar -xzOf \(file) cnictl-bundle/ls.json")
                .split(separator: "\n").dropFirst().joined(separator: "\n"))
        #expect(ls[0]["container"].string == "web")
    }

    @Test("metrics answers a scraper, and outlives clients that misbehave")
    func scrape() throws {
        let (world, cnictl) = try attached()
        let server = try cnictl.start(["metrics", "--listen", "127.0.0.1:9476"])
        defer {
            kill(server.process, SIGKILL)
            _ = server.wait()
        }
        let url = "http://127.0.0.1:9476"
        var text = ""
        try waitFor("answer", pause: 50) {
            text = try run("curl -s \(url)/metrics", in: world.host).output
            return !text.isEmpty
        }
        #expect(text.contains(#"cni_attachments{network="shaped"} 1"#), "\(text)")
        #expect(text.hasSuffix("# EOF\n"))
        let status = { (words: String) in
            try run("curl -s -o /dev/null -w %{http_code} \(words)", in: world.host).output
        }
        #expect(try status("\(url)/other") == "404")
        #expect(try status("-X POST \(url)/metrics") == "405")
        #expect(try status("-I \(url)/metrics") == "200")
        let long = String(repeating: "x", count: 20_000)
        #expect(try ["431", "000"].contains(status("-H X:\(long) \(url)/metrics")))
        for bytes in [
            "\\r\\n\\r\\n", "GET", "\\x00\\xff\\r\\n\\r\\n", "GET /metrics HTTP/1.1\\r\\n\\r\\n",
        ] {
            // Each goes away at once, without reading what it is told.
            let script = "exec 3<>/dev/tcp/127.0.0.1/9476; printf '\(bytes)' >&3; exec 3>&-"
            _ = try Command(["bash", "-c", script], in: world.host).wait()
        }
        // One that only waits holds the others up for as long as a request may take.
        let silent = try Command(
            ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9476; sleep 20"], in: world.host)
        defer {
            kill(silent.process, SIGKILL)
            _ = silent.wait()
        }
        usleep(200_000)
        #expect(try status("-m 15 \(url)/metrics") == "200")
        #expect(try cnictl.run("metrics --listen 127.0.0.1:9476").status == 1)
        for place in ["nonsense", "127.0.0.1:99999", ":-1", ":http"] {
            #expect(try cnictl.run("metrics --listen=\(place)").status == 64)
        }
    }

    @Test("metrics answers at all addresses where it is told a port alone")
    func port() throws {
        let (world, cnictl) = try attached()
        let server = try cnictl.start(["metrics", "--listen", "9477"])
        defer {
            kill(server.process, SIGKILL)
            _ = server.wait()
        }
        for host in ["127.0.0.1", "[::1]"] {
            try waitFor("answer", pause: 50) {
                try run("curl -s http://\(host):9477/metrics", in: world.host).output
                    .hasSuffix("# EOF\n")
            }
        }
    }

    @Test("every subcommand takes -o json")
    func json() throws {
        let (world, cnictl) = try attached()
        let help = JSON(text: try cnictl.output(of: "--experimental-dump-help"))
        let names = help["command"]["subcommands"].array.compactMap { $0["commandName"].string }
            .filter { $0 != "help" }
        let other = try world.container("other").path
        let arguments = [
            "ls": "", "explain": "web", "log": "", "repair": "--dry-run",
            "bundle": world.directory + "/b.tar.gz", "top": "--once --interval 0.05", "shape": "",
            "metrics": "", "lint": "--files-only", "schema": "bridge",
            "install": "--dest \(world.directory)/bin --from \(world.plugins)", "plan": "shaped",
            "add": "shaped \(other)", "check": "shaped \(other)", "del": "shaped \(other)",
            "gc": "--dry-run", "status": "", "exec": "shaped -- true",
            "manual": world.directory,
        ]
        #expect(Set(names) == Set(arguments.keys))
        for name in names.sorted(by: { $0 == "del" ? false : $1 == "del" ? true : $0 < $1 }) {
            let words = (arguments[name] ?? "").split(separator: " ").map(String.init)
            let ended = try cnictl.start([name, "-o", "json"] + words).wait()
            #expect(ended.status == 0, "\(name): \(ended.status) \(ended.errors)")
            guard name != "exec" else { continue }
            #expect(!ended.json.isNull, "\(name): \(ended.output)")
        }
        let missing = try cnictl.run("add nowhere \(other) -o json")
        #expect(missing.status == 3 && missing.json["code"].number == 3)
    }

    @Test("the exit status says what is the matter")
    func status() throws {
        let (world, cnictl) = try attached()
        #expect(try cnictl.run("explain web").status == 0)
        #expect(try cnictl.run("add shaped /nowhere").status == 1)
        try world.onHost("nft flush ruleset")
        #expect(try cnictl.run("explain web").status == 2)
        #expect(try cnictl.run("explain nobody").status == 3)
        #expect(try cnictl.run("shape nobody").status == 3)
        #expect(try cnictl.run("explain").status == 64)
        let senseless = try cnictl.run("explain -o json")
        #expect(senseless.status == 64 && senseless.json["code"].number == 4)
        #expect(try cnictl.run("explain --help -o json").json.isNull)
        let unwritten = try cnictl.run("bundle /nowhere/report.tar.gz -o json")
        #expect(unwritten.status == 1 && unwritten.json["code"].number == 5)
        #expect(try cnictl.run("exec shaped -- false").status == 1)
        #expect(try cnictl.run("status --conf-dir /nowhere").status == 3)
        let refused = try cnictl.run("explain nobody -o=json")
        #expect(refused.status == 3 && refused.json["code"].number == 3)
    }

    @Test("an ID that no plugin takes is refused before anything is done")
    func senselessID() throws {
        let (world, cnictl) = try attached()
        let path = try world.container("other").path
        for words in ["plan shaped", "add shaped \(path)", "exec shaped"] {
            let ended = try cnictl.run("\(words) --container-id a/b")
            #expect(ended.status == 64 && ended.output == "", "\(words): \(ended.output)")
            #expect(ended.errors.hasPrefix("Error: invalid characters in containerID; a/b\n"))
        }
    }

    @Test("numbers that cannot be meant are refused, and none ends the command otherwise")
    func numbers() throws {
        let (_, cnictl) = try attached()
        for words in [
            "top --once --interval inf", "top --once --interval nan", "top --once --lines=-1",
            "gc --interval inf", "gc --interval 1e300", "log --lines=-1",
            "shape web --egress-ceil 99999999999G", "shape web --egress-ceil 1e400",
        ] { #expect(try cnictl.run(words).status == 64, "\(words)") }
        #expect(try cnictl.run("gc --interval 5000").status == 0)
    }

    @Test("metrics have each sample once, and sums of any numbers")
    func samples() throws {
        let (world, cnictl) = try attached()
        try cnictl.configure(world.shapedList(), as: "shaped-again.conflist")
        let call = #"{"time":"2026-01-01T00:00:00.000Z","verb":"ADD","plugin":"x","code":0,"us":"#
        let log = world.directory + "/calls.log"
        try "\(call)\(Int.max)}\n\(call)\(Int.max)}\n".write(
            toFile: log, atomically: true, encoding: .utf8)
        let lines = try cnictl.output(of: "metrics --log \(log)").split(separator: "\n")
        let names = lines.filter { !$0.hasPrefix("#") }.map { $0.prefix { $0 != "}" } }
        #expect(Set(names).count == names.count)
        #expect(lines.contains(#"cni_call_duration_seconds_count{plugin="x",verb="ADD"} 2"#))
    }
}
