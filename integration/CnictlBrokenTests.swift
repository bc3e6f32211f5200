import Foundation
import Testing

@Suite("cnictl tells the truth of what is broken", .enabled(if: isRoot))
struct CnictlBrokenTests {
    private func hostEnd(_ id: String, _ cnictl: Cnictl) throws -> String {
        try cnictl.json("ls \(id)")[0]["hostInterface"].string ?? ""
    }

    @Test(
        "a container whose interface has gone is cut off, and no orphan: gc leaves it its address")
    func cutOff() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web"])
        try world.onHost("ip link del \(hostEnd("web", cnictl))")
        let entry = try cnictl.json("ls web")[0]
        #expect(entry["state"].string == "cut off")
        #expect(entry["orphan"].bool == false && entry["alive"].bool == false)
        #expect(entry["netns"].string == containers[0].path)
        try cnictl.output(of: "gc --interval 0.05")
        #expect(world.files("networks/shaped").contains { $0.hasPrefix("10.99.") })
        let repaired = try cnictl.run("repair")
        #expect(repaired.status == 1)
        #expect(
            repaired.output
                == "not repaired shaped web eth0: link eth0: wanted present, found absent: "
                + "only a new ADD can make it\n")
        #expect(try cnictl.run("explain web").status == 2)
        try output(of: "ip netns del \((containers[0].path as NSString).lastPathComponent)")
        #expect(try cnictl.json("ls --orphans").array.count == 1)
    }

    @Test("a path that has become another container's keeps no orphan alive")
    func reusedPath() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["old"])
        try world.onHost("ip link del \(hostEnd("old", cnictl))")
        try cnictl.output(of: "add shaped \(containers[0].path) --container-id new")
        #expect(try cnictl.json("ls --orphans").array.map { $0["container"].string } == ["old"])
        #expect(try cnictl.json("ls new")[0]["state"].string == "alive")
    }

    @Test(
        "an interface is known by its alias under another name, and one that a result lists by that"
    )
    func names() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        // No other test's: an alias is looked for in all namespaces.
        let name = "mac\(UInt32.random(in: 0 ... .max))"
        try world.onHost("ip link add up0 type veth peer name up1")
        let mac: JSON = """
            {"cniVersion": "1.0.0", "name": "\(name)", "plugins": [{"type": "macvlan", "master": "up0",
              "ipam": {"type": "host-local", "subnet": "10.98.0.0/24",
                       "dataDir": "\(world.directory)/networks"}}]}
            """
        try cnictl.configure(mac, as: "mac.conflist")
        try cnictl.configure(
            #"{"cniVersion": "1.0.0", "name": "lo", "plugins": [{"type": "loopback"}]}"#,
            as: "lo.conflist")
        let container = try world.container("m")
        for network in [name, "lo"] {
            try cnictl.output(of: "add \(network) \(container.path) --container-id m")
        }
        // Linux renames what is up since 6.3 only.
        for words in ["set eth0 down", "set eth0 name lan0", "set lan0 up"] {
            try container.output(of: "ip link \(words)")
        }
        #expect(try cnictl.json("ls m").array.map { $0["state"].string } == ["alive", "alive"])
        #expect(try cnictl.output(of: "gc --interval 0.05").contains("nothing is left"))
        #expect(try cnictl.run("explain m").output.contains("called lan0 now"))
    }

    @Test("of two containers with one address each keeps its own namespace")
    func sameAddress() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try world.onHost("ip link add lent type veth peer name lent1")
        let host =
            "\"ipam\": {\"type\": \"host-local\", \"subnet\": \"10.98.0.0/24\", "
            + "\"dataDir\": \"\(world.directory)/networks\"}"
        for (name, keys) in [
            ("lent", #""type": "host-device", "device": "lent""#),
            ("near", #""type": "bridge", "bridge": "cni-near""#),
        ] {
            try cnictl.configure(
                JSON(
                    text: "{\"cniVersion\": \"1.0.0\", \"name\": \"\(name)\", "
                        + "\"plugins\": [{\(keys), \(host)}]}"), as: "\(name).conflist")
        }
        var paths: [String] = []
        for name in ["near", "lent"] {
            let container = try world.container(name)
            try cnictl.output(of: "add \(name) \(container.path) --container-id \(name)")
            paths.append(container.path)
        }
        #expect(try cnictl.json("ls near")[0]["netns"].string == paths[0])
        #expect(try cnictl.json("ls lent")[0]["netns"].string == paths[1])
        #expect(try cnictl.run("repair --dry-run").status == 0)
    }

    @Test("repair puts ports into a bridge that was deleted, and into one they were taken out of")
    func bridge() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        // The bridge has another hardware address then, which containers learn in some seconds.
        let reaches = {
            try ["10.99.0.3", "10.99.0.1"].allSatisfy {
                try run("ping -c 1 -w 15 \($0)", in: containers[0].path).output
                    .contains(" bytes from ")
            }
        }
        #expect(try reaches())
        try world.onHost("ip link del cni-shaped")
        #expect(try !run("ping -c 1 -W 1 10.99.0.3", in: containers[0].path).succeeded)
        try cnictl.output(of: "repair")
        #expect(try reaches())
        try world.onHost("ip link set \(hostEnd("db", cnictl)) nomaster")
        #expect(
            try cnictl.run("explain db").output.contains("master: wanted cni-shaped, found none"))
        try cnictl.output(of: "repair db")
        #expect(try reaches())
    }

    @Test("repair gives both ends of a pair their settings back, and makes no second pair")
    func ends() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web"])
        let end = try hostEnd("web", cnictl)
        let mac = try containers[0].link("eth0")["address"].string
        try containers[0].output(of: "ip link set eth0 address 02:00:00:00:00:99")
        try world.onHost("ip link set \(end) down alias none")
        try cnictl.output(of: "repair")
        #expect(try containers[0].link("eth0")["address"].string == mac)
        #expect(try world.link(end)["ifalias"].string == "shaped web eth0")
        #expect(try containers[0].run("ping -c 1 -w 10 10.99.0.1").succeeded)
        try world.onHost("ip link set \(end) down")
        try world.onHost("ip link set \(end) name weird0")
        try world.onHost("ip link set weird0 up")
        let refused = try cnictl.run("repair")
        #expect(refused.status == 1 && refused.output.contains("only a new ADD can make it"))
        #expect(try cnictl.run("explain weird0").output.hasPrefix("web eth0 on network shaped"))
        try cnictl.output(of: "del shaped \(containers[0].path) --container-id web")
        #expect(try cnictl.json("ls").array.isEmpty)
    }

    @Test("repair gives an interface that was renamed its name again, and what it had")
    func renamed() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web"])
        let rename = {
            for words in ["set eth0 down", "set eth0 name weird0", "set weird0 up"] {
                try containers[0].output(of: "ip link \(words)")
            }
        }
        try rename()
        #expect(try cnictl.run("explain web").output.contains("called weird0 now"))
        let told = try cnictl.run("repair --dry-run")
        #expect(told.status == 2)
        #expect(
            told.output == "to repair shaped web eth0: link eth0: wanted name eth0, found weird0\n")
        try cnictl.output(of: "repair")
        #expect(try cnictl.run("explain web").status == 0)
        #expect(try containers[0].run("ping -c 1 -w 10 10.99.0.1").succeeded)
        #expect(try containers[0].output(of: "ip route show default").contains("via 10.99.0.1"))

        // Nothing is taken from somebody who has that name by now.
        try rename()
        try containers[0].output(of: "ip link add eth0 type veth peer name other")
        let refused = try cnictl.run("repair")
        #expect(refused.status == 1 && refused.output.contains("File exists"), "\(refused.output)")
        #expect(try containers[0].run("ip link show weird0").succeeded)
    }

    @Test("to look changes nothing of what host-local keeps")
    func looking() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        let directory = world.directory + "/networks"
        for name in [".index", "shaped/lock"] { try run("rm -r \(directory)/\(name)") }
        let listing = { try run("find \(directory) -printf %p:%s:%T@\\n").output }
        let before = try listing()
        #expect(before.contains("10.99.0.2"))
        for words in ["repair --dry-run", "explain web", "ls", "gc --dry-run"] {
            #expect(try cnictl.run(words).status == 0)
            #expect(try listing() == before, "\(words)")
        }
    }

    @Test("repair reserves an address again, and not one that somebody else has by now")
    func reservation() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        let file = "\(world.directory)/networks/shaped/10.99.0.2"
        try FileManager.default.removeItem(atPath: file)
        let told = try cnictl.run("repair --dry-run -o json")
        #expect(told.status == 2 && told.json[0]["object"].string == "reservation")
        try cnictl.output(of: "repair")
        #expect(world.file("networks/shaped/10.99.0.2") == "web\r\neth0")
        try "other\r\neth0".write(toFile: file, atomically: true, encoding: .utf8)
        let refused = try cnictl.run("repair")
        #expect(refused.status == 1)
        #expect(refused.output.contains("10.99.0.2: reserved for another container by now"))
        #expect(world.file("networks/shaped/10.99.0.2") == "other\r\neth0")
    }

    @Test("explain finds the owner of a port and an address that are not there any more")
    func lost() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        try world.onHost("nft flush ruleset")
        try containers[1].output(of: "ip addr flush dev eth0")
        for (word, id) in [("8080", "web"), ("8081/tcp", "db"), ("10.99.0.3", "db")] {
            let ended = try cnictl.run("explain \(word)")
            #expect(ended.status == 2)
            #expect(ended.output.hasPrefix("\(id) eth0 on network shaped"), "\(word)")
        }
        let checked = try cnictl.run("check shaped \(containers[0].path) --container-id web")
        #expect(checked.status == 2)
        // Of all the plugins, where a runtime's library stops at the first.
        for name in ["bridge", "portmap", "bandwidth"] {
            #expect(checked.errors.contains("plugin \(name): CHECK: "), "\(name)")
        }
    }

    @Test("a configuration that has changed or gone since keeps nobody from check and del")
    func configuration() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        try cnictl.configure(
            #"{"cniVersion": "1.1.0", "name": "shaped", "plugins": [{"type": "bridge", "vlan": 9999}]}"#,
            as: "shaped.conflist")
        #expect(
            try cnictl.output(of: "explain web").contains(
                "made by another configuration than is in"))
        try cnictl.output(of: "check shaped \(containers[0].path) --container-id web")
        try cnictl.output(of: "del shaped \(containers[0].path) --container-id web")
        try run("rm \(cnictl.networks)/shaped.conflist")
        let options = "--data-dir \(world.directory)/networks"
        #expect(
            try cnictl.output(of: "explain db \(options)").contains("is not configured in"))
        try cnictl.output(of: "del shaped \(containers[1].path) --container-id db")
        #expect(try cnictl.json("ls \(options)").array.isEmpty)
        #expect(try !world.onHost("nft list ruleset").contains("shaped"))
    }

    @Test("a damaged result is named, and what repair leaves out")
    func damaged() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web"])
        let path = "\(world.directory)/cache/results/shaped-web-eth0"
        try #"{"kind":"#.write(toFile: path, atomically: true, encoding: .utf8)
        let listed = try cnictl.run("ls")
        #expect(listed.status == 0 && listed.errors.contains("\(path): damaged"))
        let explained = try cnictl.run("explain web")
        #expect(explained.status == 2 && explained.output.contains("\(path) is damaged"))
        #expect(
            try cnictl.output(of: "repair")
                == "left out shaped web eth0: the result that is kept in \(path) is damaged\n")
        let checked = try cnictl.run("check shaped \(containers[0].path) --container-id web")
        #expect(checked.status == 3 && checked.errors.contains("is damaged"))
        #expect(try cnictl.run("repair nobody").status == 3)
        try cnictl.output(of: "del shaped \(containers[0].path) --container-id web")
        #expect(try cnictl.json("ls").array.isEmpty)
    }

    @Test(
        "what is kept of one that cannot be read keeps nobody else from repair",
        arguments: ["address", "configuration", "version"])
    func unreadable(part: String) throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["a", "b", "c"])
        let path = "cache/results/shaped-b-eth0"
        var kept = JSON(text: world.file(path) ?? "")
        var address = kept["result"]["ips"][0]
        switch part {
        case "address": address["address"] = #""nonsense""#
        case "version": kept["result"]["cniVersion"] = #""1.2.0""#
        default: kept["config"] = JSON(Data("{nope".utf8).base64EncodedString())
        }
        kept["result"]["ips"] = JSON([address.value])
        try kept.description.write(
            toFile: "\(world.directory)/\(path)", atomically: true, encoding: .utf8)
        #expect(try cnictl.run("explain b").status == 2)
        try world.onHost("nft flush ruleset")
        let ended = try cnictl.run("repair")
        #expect(ended.status == 1)
        #expect(ended.output.contains("not repaired shaped b eth0: "), "\(ended.output)")
        for id in ["a", "c"] {
            #expect(ended.output.contains("repaired shaped \(id) eth0: "), "\(ended.output)")
            #expect(try cnictl.run("explain \(id)").status == 0)
        }
    }

    @Test("a second add is refused, and takes nothing of the first one away")
    func twice() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web"])
        for forget in [false, true] {
            if forget { try run("rm -r \(world.directory)/cache") }
            let again = try cnictl.run("add shaped \(containers[0].path) --container-id web")
            #expect(again.status == 1)
            #expect(again.errors.contains("shaped web eth0 is attached already (alive)"))
            #expect(try cnictl.json("ls web")[0]["state"].string == "alive")
        }
    }

    @Test("gc --dry-run ends with 2 where there is something to remove")
    func told() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web"])
        #expect(try cnictl.run("gc --dry-run").status == 0)
        try output(of: "ip netns del \((containers[0].path as NSString).lastPathComponent)")
        try waitFor("end of the links") { try world.onHost("ip link show type veth").isEmpty }
        #expect(try cnictl.run("gc --dry-run").status == 2)
    }

    @Test("bundle keeps to itself what its helpers complain of, and leaves no half archive")
    func bundle() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        #expect(try cnictl.run("bundle \(world.directory)/report.tar.gz").errors == "")
        let full = world.directory + "/full"
        try output(of: "mkdir \(full)")
        try output(of: "mount -t tmpfs -o size=4k none \(full)")
        defer { _ = try? run("umount \(full)") }
        #expect(try cnictl.run("bundle \(full)/report.tar.gz").status == 1)
        #expect(world.files("full") == [])
        try "before".write(
            toFile: full + "/report.tar.gz", atomically: true, encoding: .utf8)
        #expect(try cnictl.run("bundle \(full)/report.tar.gz").status == 1)
        #expect(world.file("full/report.tar.gz") == "before")
        #expect(world.files("full") == ["report.tar.gz"])
    }

    @Test("bundle that is interrupted leaves nothing behind")
    func interrupted() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        var status: Int32 = 0
        // One that ends while this thread waits for a processor was not interrupted.
        for _ in 0..<50 where status == 0 {
            let bundle = try cnictl.start(["bundle", world.directory + "/report.tar.gz"])
            let scratch = NSTemporaryDirectory() + "cnictl-bundle-\(bundle.process)"
            while access(scratch, F_OK) != 0, !bundle.hasEnded { usleep(1_000) }
            kill(bundle.process, SIGTERM)
            status = bundle.wait().status
            #expect(access(scratch, F_OK) != 0)
            if status == 0 { try output(of: "rm \(world.directory)/report.tar.gz") }
        }
        #expect(status == -SIGTERM)
        #expect(world.files("") == ["cache", "net.d", "networks"])
    }

    @Test("explain finds whose a port is at one address of the host, without a result")
    func portAtAddress() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        try world.onHost("ip address add 192.0.2.1/32 dev lo")
        try cnictl.output(
            of: "add shaped \(world.container("web").path) --container-id web "
                + #"--cap portMappings=[{"hostPort":7000,"containerPort":80,"hostIP":"192.0.2.1"}]"#
        )
        for isKept in [true, false] {
            if !isKept { try run("rm -r \(world.directory)/cache") }
            for word in ["7000", ":7000", "7000/tcp"] {
                let ended = try cnictl.run("explain \(word)")
                #expect(ended.output.hasPrefix("web eth0 on network shaped"), "\(ended.errors)")
            }
        }
    }
}
