import Foundation
import Testing

@Suite("host-local", .enabled(if: isRoot))
struct HostLocalTests {
    let world: World

    init() throws { world = try World() }

    /// A configuration with these `ipam` keys.
    private func configuration(_ ipam: JSON, version: String = "1.0.0") -> JSON {
        Network(bridge: "{}", ipam: ipam, version: version, in: world).configuration()
    }

    private func call(
        _ command: String, _ configuration: JSON, id: String, interface: String = "eth0",
        arguments: String? = nil, path: String? = nil
    ) throws -> Command.Ended {
        try world.call(
            "host-local", command, configuration,
            World.Container(id: id, path: "/run/netns/unused"), interface: interface,
            arguments: arguments, path: path)
    }

    private func address(_ ended: Command.Ended) -> String? {
        ended.json["ips"][0]["address"].string
    }

    /// Writes a reservation as the reference does.
    private func plant(_ name: String, _ content: String) throws {
        let directory = "\(world.directory)/web"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        try Data(content.utf8).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
    }

    @Test("a reservation is the reference's file, byte for byte, for nobody else to read")
    func format() throws {
        let network = configuration(#"{"subnet": "10.71.0.0/16"}"#)
        #expect(address(try call("ADD", network, id: "one")) == "10.71.0.2/16")
        #expect(world.file("web/10.71.0.2") == "one\r\neth0")
        #expect(world.file("web/last_reserved_ip.0") == "10.71.0.2")
        #expect(world.files("web") == ["10.71.0.2", "last_reserved_ip.0", "lock"])
        #expect(try output(of: "stat -c %a \(world.directory)/web") == "700\n")
        for file in world.files("web") {
            #expect(try output(of: "stat -c %a \(world.directory)/web/\(file)") == "600\n")
        }
    }

    @Test("a full range serves again after a restart of the machine that no DEL followed")
    func restart() throws {
        let network = configuration(#"{"subnet": "10.71.0.0/29", "rangeEnd": "10.71.0.3"}"#)
        for id in ["one", "two"] { _ = try call("ADD", network, id: id) }
        #expect(try !call("ADD", network, id: "three").succeeded)
        // Another boot ID is all that a start of the machine changes for the plugin.
        let boot = "\(world.directory)/boot_id"
        try Data("00000000-0000-0000-0000-000000000001\n".utf8).write(
            to: URL(fileURLWithPath: boot))
        let start = """
            mount --bind \(boot) /proc/sys/kernel/random/boot_id
            exec \(world.plugins)/host-local
            """
        let again = { (id: String) in
            try Command(
                ["unshare", "--mount", "sh", "-ec", start],
                environment: [
                    "CNI_COMMAND": "ADD", "CNI_CONTAINERID": id, "CNI_IFNAME": "eth0",
                    "CNI_NETNS": "/run/netns/unused", "CNI_PATH": world.plugins,
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                ], input: Array(network.description.utf8), in: world.host
            ).wait()
        }
        #expect(address(try again("three"))?.hasPrefix("10.71.0.") == true)
        #expect(address(try again("four"))?.hasPrefix("10.71.0.") == true)
        #expect(try again("five").output.contains("no IP addresses available"))
        let files = world.files("web").filter { $0.hasPrefix("10.") }
        let holders = Set(files.compactMap { world.file("web/\($0)") })
        #expect(holders == ["four\r\neth0", "three\r\neth0"])
    }

    @Test("addresses go round: one just freed is the last to be given again")
    func roundRobin() throws {
        let network = configuration(#"{"subnet": "10.71.0.0/29"}"#)
        var given: [String] = []
        for number in 0..<7 {
            let ended = try call("ADD", network, id: "c\(number)")
            given.append(address(ended) ?? "")
            #expect(try call("DEL", network, id: "c\(number)").succeeded)
        }
        #expect(
            given.map { $0.dropLast(3) } == [
                "10.71.0.2", "10.71.0.3", "10.71.0.4", "10.71.0.5", "10.71.0.6", "10.71.0.2",
                "10.71.0.3",
            ])
    }

    @Test("an exhausted range is told by its bounds, and STATUS answers 50")
    func exhausted() throws {
        let network = configuration(#"{"subnet": "10.71.0.0/30"}"#, version: "1.1.0")
        #expect(try call("STATUS", network, id: "").succeeded)
        #expect(try call("ADD", network, id: "one").succeeded)
        let ended = try call("ADD", network, id: "two")
        let message = ended.json["msg"].string ?? ""
        #expect(
            message.hasSuffix("no IP addresses available in range set: 10.71.0.1-10.71.0.2"),
            "\(message)")
        #expect(try call("STATUS", network, id: "").json["code"].number == 50)
        #expect(try call("DEL", network, id: "one").succeeded)
        #expect(address(try call("ADD", network, id: "two")) == "10.71.0.2/30")
    }

    @Test("where a capability brings the ranges, STATUS, GC and DEL do without it")
    func rangesOfCapability() throws {
        var network = configuration("{}", version: "1.1.0")
        network["capabilities"] = #"{"ipRanges": true}"#
        var whole = network
        whole["runtimeConfig"] = #"{"ipRanges": [[{"subnet": "10.71.0.0/29"}]]}"#
        for name in ["one", "two"] { #expect(try call("ADD", whole, id: name).succeeded) }
        #expect(try call("STATUS", network, id: "").succeeded)
        #expect(try call("DEL", network, id: "one").succeeded)
        #expect(world.files("web").filter { $0.hasPrefix("10.") } == ["10.71.0.3"])
        network["cni.dev/valid-attachments"] = "[]"
        #expect(try call("GC", network, id: "").succeeded)
        #expect(!world.files("web").contains("10.71.0.3"))
        #expect(try call("ADD", network, id: "one").json["code"].number == 7)
        network["capabilities"] = "{}"
        #expect(try call("STATUS", network, id: "").json["code"].number == 7)
    }

    @Test("a container gets an address of each range set, or none of any")
    func sets() throws {
        let network = configuration(
            #"{"ranges": [[{"subnet": "10.71.0.0/24"}], [{"subnet": "10.72.0.0/30"}]]}"#)
        let first = try call("ADD", network, id: "one")
        #expect(first.json["ips"].array.count == 2)
        #expect(!(try call("ADD", network, id: "two").succeeded))
        #expect(
            world.files("web").filter { $0.hasPrefix("10.") } == ["10.71.0.2", "10.72.0.2"])
    }

    @Test("a range has its bounds and leaves the gateway out")
    func bounds() throws {
        let network = configuration(
            """
            {"ranges": [[{"subnet": "10.71.0.0/24", "rangeStart": "10.71.0.10",
                          "rangeEnd": "10.71.0.12", "gateway": "10.71.0.11"}]]}
            """)
        let first = try call("ADD", network, id: "one")
        #expect(address(first) == "10.71.0.10/24")
        #expect(first.json["ips"][0]["gateway"].string == "10.71.0.11")
        #expect(address(try call("ADD", network, id: "two")) == "10.71.0.12/24")
        #expect(!(try call("ADD", network, id: "three").succeeded))
    }

    @Test(
        "an address can be asked for in each of the four ways",
        arguments: [
            ("{}", "IP=10.71.0.77"), (#"{"args": {"cni": {"ips": ["10.71.0.77"]}}}"#, nil),
            (#"{"runtimeConfig": {"ips": ["10.71.0.77/16"]}}"#, nil),
            (
                #"{"runtimeConfig": {"ips": ["10.71.0.77"]}}"#,
                "K8S_POD_NAME=x;IgnoreUnknown=1;IP=10.71.0.77"
            ),
        ] as [(JSON, String?)])
    func requested(keys: JSON, arguments: String?) throws {
        let network = configuration(#"{"subnet": "10.71.0.0/16"}"#).merging(keys)
        let ended = try call("ADD", network, id: "one", arguments: arguments)
        #expect(address(ended) == "10.71.0.77/16")
        let again = try call("ADD", network, id: "two", arguments: arguments)
        #expect(again.json["msg"].string?.contains("10.71.0.77") == true)
    }

    @Test("arguments for other plugins do not matter, even without IgnoreUnknown")
    func foreignArguments() throws {
        let network = configuration(#"{"subnet": "10.71.0.0/16"}"#)
        let ended = try call(
            "ADD", network, id: "one",
            arguments: "K8S_POD_NAMESPACE=a;MAC=02:00:00:00:00:01;K8S_POD_NAME=b;GATEWAY=1.2.3.4")
        #expect(address(ended) == "10.71.0.2/16")
    }

    @Test("resolvConf is passed on")
    func resolver() throws {
        let path = "\(world.directory)/resolv.conf"
        try "nameserver 192.0.2.53\nsearch a.example b.example\noptions ndots:2\n"
            .write(toFile: path, atomically: true, encoding: .utf8)
        let network = configuration(
            "{\"subnet\": \"10.71.0.0/16\", \"resolvConf\": \"\(path)\"}")
        let dns = try call("ADD", network, id: "one").json["dns"]
        #expect(dns["nameservers"][0].string == "192.0.2.53")
        #expect(dns["search"].array.count == 2)
        #expect(dns["options"][0].string == "ndots:2")
    }

    @Test("the Go plugin and this one honour each other's reservations, and free them")
    func peer() throws {
        let peer = try Peer.directory()
        let network = configuration(#"{"subnet": "10.71.0.0/16"}"#)
        #expect(address(try call("ADD", network, id: "one")) == "10.71.0.2/16")
        #expect(address(try call("ADD", network, id: "two", path: peer)) == "10.71.0.3/16")
        #expect(address(try call("ADD", network, id: "three")) == "10.71.0.4/16")
        #expect(try call("CHECK", network, id: "two").succeeded)
        #expect(try call("CHECK", network, id: "one", path: peer).succeeded)
        #expect(!(try call("ADD", network, id: "two").succeeded))
        #expect(try call("DEL", network, id: "one", path: peer).succeeded)
        #expect(try call("DEL", network, id: "two").succeeded)
        #expect(try call("CHECK", network, id: "one").json["code"].number == 999)
        #expect(world.files("web").filter { $0.hasPrefix("10.") } == ["10.71.0.4"])
    }

    @Test(
        "an index that is lost, stale or damaged is built again",
        arguments: ["lost", "stale", "truncated", "garbage", "a directory"])
    func index(state: String) throws {
        let network = configuration(#"{"subnet": "10.71.0.0/16"}"#)
        for name in ["one", "two", "three"] { _ = try call("ADD", network, id: name) }
        let index = "\(world.directory)/.index/web"
        let files = FileManager.default
        #expect(files.fileExists(atPath: index))
        switch state {
        case "lost": try files.removeItem(atPath: index)
        case "stale": try files.removeItem(atPath: "\(world.directory)/web/10.71.0.3")
        case "truncated": try output(of: "truncate -s 100 \(index)")
        case "garbage": try output(of: "dd if=/dev/urandom of=\(index) bs=4k count=2 conv=notrunc")
        default:
            try files.removeItem(atPath: index)
            try files.createDirectory(atPath: index, withIntermediateDirectories: false)
        }
        let held = try call("CHECK", network, id: "two").succeeded
        #expect(held == (state != "stale"))
        #expect(address(try call("ADD", network, id: "four")) == "10.71.0.5/16")
        for name in ["one", "two", "three", "four"] {
            #expect(try call("DEL", network, id: name).succeeded)
        }
        #expect(world.files("web").filter { $0.hasPrefix("10.") } == [])
    }

    @Test("an empty file left by a crash does not keep its address for ever")
    func emptyFile() throws {
        try plant("10.71.0.2", "")
        let network = configuration(#"{"subnet": "10.71.0.0/30"}"#)
        #expect(address(try call("ADD", network, id: "one")) == "10.71.0.2/30")
        #expect(world.file("web/10.71.0.2") == "one\r\neth0")
    }

    @Test("a reservation of the oldest form, without an interface, is honoured and freed")
    func oldForm() throws {
        try plant("10.71.0.2", "old")
        let network = configuration(#"{"subnet": "10.71.0.0/16"}"#)
        #expect(address(try call("ADD", network, id: "one")) == "10.71.0.3/16")
        #expect(try call("CHECK", network, id: "old").succeeded)
        #expect(try call("DEL", network, id: "old").succeeded)
        #expect(world.file("web/10.71.0.2") == nil)
    }

    @Test("a symbolic link among the reservations is neither followed nor overwritten")
    func symbolicLink() throws {
        try plant("lock", "")
        try "secret".write(
            toFile: "\(world.directory)/secret", atomically: true, encoding: .utf8)
        for name in ["10.71.0.2", "last_reserved_ip.0"] {
            try FileManager.default.createSymbolicLink(
                atPath: "\(world.directory)/web/\(name)",
                withDestinationPath: "\(world.directory)/secret")
        }
        let network = configuration(#"{"subnet": "10.71.0.0/16"}"#)
        _ = try call("ADD", network, id: "one")
        _ = try call("DEL", network, id: "one")
        #expect(world.file("secret") == "secret")
    }

    @Test("a lock that is not let go of is told with its holder, before a runtime gives up")
    func lock() throws {
        let network = configuration(#"{"subnet": "10.71.0.0/16"}"#)
        _ = try call("ADD", network, id: "one")
        let holder = try Command(["flock", "\(world.directory)/web/lock", "sleep", "30"])
        defer {
            kill(holder.process, SIGKILL)
            _ = holder.wait()
        }
        let taken = "flock -n \(world.directory)/web/lock true"
        try waitFor("holder of the lock", pause: 5) { try !run(taken).succeeded }
        let start = Date()
        let ended = try call("ADD", network, id: "two")
        #expect(ended.json["code"].number == 11)
        #expect(ended.json["msg"].string?.contains("\(holder.process)") == true)
        #expect((5...20).contains(Date().timeIntervalSince(start)))
        _ = try run("pkill -P \(holder.process)")
    }

    @Test(
        "what cannot be freed does not keep the rest, at GC and at DEL", arguments: ["GC", "DEL"])
    func busy(verb: String) throws {
        let set = { (number: Int) in "[{\"subnet\": \"10.\(number).0.0/24\"}]" }
        let sets = (71..<79).map(set).joined(separator: ",")
        let network = configuration(JSON(text: "{\"ranges\": [\(sets)]}"), version: "1.1.0")
            .merging(#"{"cni.dev/valid-attachments": []}"#)
        #expect(try call("ADD", network, id: "one").succeeded)
        let names = try output(of: "ls -U \(world.directory)/web").split(separator: "\n")
        let first = try #require(names.first { $0.hasPrefix("10.") })
        let file = "\(world.directory)/web/\(first)"
        // The kernel removes no file that something is mounted on.
        try output(of: "mount --bind \(file) \(file)")
        defer { _ = try? run("umount \(file)") }
        let ended = try call(verb, network, id: "one")
        #expect(ended.json["msg"].string?.contains("remove \(file)") == true, "\(ended.output)")
        #expect(world.files("web").filter { $0.hasPrefix("10.") } == ["\(first)"])
    }

    @Test("who may not look what containers have gets an address all the same")
    func unprivileged() throws {
        try Network(ipam: #"{"subnet": "10.71.0.0/16"}"#, in: world).add(try world.container())
        let (programs, data) = (world.directory + "/bin", world.directory + "/data")
        try output(of: "mkdir \(programs) \(data)")
        try output(of: "cp -L \(world.plugins)/host-local \(programs)/")
        try output(of: "chmod 755 \(world.directory) \(programs) \(programs)/host-local")
        try output(of: "chown 65534 \(data)")
        var network = configuration(#"{"subnet": "10.71.0.0/16"}"#)
        network["ipam"]["dataDir"] = JSON(data)
        let ended = try world.start(
            "host-local", "ADD", network.description, container: "two",
            namespace: "/run/netns/unused", path: programs,
            through: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        ).wait()
        #expect(address(ended) == "10.71.0.2/16", "\(ended.output)")
        #expect(address(try call("ADD", network, id: "three"))?.hasPrefix("10.71.0.") == true)
        #expect(world.file("data/web/10.71.0.2") == "two\r\neth0")
    }

    @Test("GC frees what no valid attachment holds")
    func collect() throws {
        let network = configuration(#"{"subnet": "10.71.0.0/16"}"#, version: "1.1.0")
        for name in ["one", "two"] {
            for interface in ["eth0", "net1"] {
                _ = try call("ADD", network, id: name, interface: interface)
            }
        }
        var valid = network
        valid["cni.dev/valid-attachments"] = #"[{"containerID": "two", "ifname": "net1"}]"#
        #expect(try call("GC", valid, id: "").succeeded)
        #expect(world.files("web").filter { $0.hasPrefix("10.") } == ["10.71.0.5"])
        valid["cni.dev/valid-attachments"] = JSON(nil)
        #expect(try call("GC", valid, id: "").json["code"].number == 7)
        #expect(world.files("web").contains("10.71.0.5"))
        // As Go writes a list that is empty.
        var object = network.value as? [String: Any] ?? [:]
        object["cni.dev/valid-attachments"] = NSNull()
        let none = JSON(object)
        #expect(try call("GC", none, id: "").succeeded)
        #expect(!world.files("web").contains("10.71.0.5"))
    }
}
