import Foundation
import Testing

@Suite("cnictl runs networks as a runtime does", .enabled(if: isRoot))
struct CnictlRuntimeTests {
    private let mapping = #"--cap portMappings=[{"hostPort":8080,"containerPort":80}]"#

    @Test("add, check and del of a chain, with the result kept between and nothing left after")
    func chain() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        // What containers share stays: a first one makes it.
        let first = try world.container()
        try cnictl.output(of: "add shaped \(first.path) \(mapping)")
        try cnictl.output(of: "del shaped \(first.path)")
        try world.unchanged {
            let container = try world.container("web")
            let result = JSON(
                text: try cnictl.output(
                    of: "add shaped \(container.path) --container-id web \(mapping)"))
            #expect(result["cniVersion"].string == "1.1.0")
            let address = result["ips"][0]["address"].string ?? ""
            #expect(address.hasPrefix("10.99.0."))
            let kept = JSON(text: world.file("cache/results/shaped-web-eth0") ?? "")
            #expect(kept["kind"].string == "cniCacheV1")
            #expect(kept["netns"].string == container.path)
            #expect(kept["result"] == result)
            #expect(try container.ip("addr show eth0").description.contains("10.99.0."))
            let rules = try world.onHost("nft list map inet cni_portmap any4")
            #expect(rules.contains("tcp . 8080 comment \"shaped web eth0\""))
            let classes = try world.onHost("tc class show dev shp-e")
            #expect(classes.contains("rate 10Mbit ceil 100Mbit"))

            try cnictl.output(of: "check shaped \(container.path) --container-id web")
            try world.onHost("nft delete table inet cni_portmap")
            let check = try cnictl.run("check shaped \(container.path) --container-id web")
            #expect(check.status == 2)
            #expect(check.errors.contains("wanted present, found absent"))

            try cnictl.output(of: "del shaped \(container.path) --container-id web")
            #expect(world.file("cache/results/shaped-web-eth0") == nil)
            #expect(world.files("networks/shaped").filter { $0.hasPrefix("10.") } == [])
        }
    }

    @Test("del works with the namespace gone and with a damaged result")
    func withoutNamespace() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        let container = try world.container("web")
        try cnictl.output(of: "add shaped \(container.path) --container-id web \(mapping)")
        #expect(world.files("networks/shaped").contains("10.99.0.2"))
        #expect(try world.onHost("nft list ruleset").contains("shaped web eth0"))
        try output(of: "ip netns del \((container.path as NSString).lastPathComponent)")
        try "{\"kind\":".write(
            toFile: world.directory + "/cache/results/shaped-web-eth0", atomically: true,
            encoding: .utf8)
        try cnictl.output(of: "del shaped --container-id web")
        #expect(world.files("networks/shaped").filter { $0.hasPrefix("10.") } == [])
        #expect(try !world.onHost("nft list ruleset").contains("shaped web eth0"))
        #expect(world.files("cache/results") == [])
    }

    @Test(
        "del says whether there was anything, and takes the start of an ID of 12 characters or more"
    )
    func nothing() throws {
        let world = try World()
        let id = "0123456789abcdef"
        let (cnictl, _) = try world.attached([id])
        for word in ["nobody", "0123"] {
            let ended = try cnictl.run("del shaped --container-id \(word) -o json")
            #expect(ended.status == 0)
            #expect(ended.json["removed"].bool == false)
            #expect(try cnictl.json("ls").array.count == 1)
        }
        #expect(
            try cnictl.run("del shaped --container-id nobody").errors
                .contains("nothing was there of shaped nobody eth0"))
        let done = try cnictl.run("del shaped --container-id 0123456789ab -o json")
        #expect(done.json["removed"].bool == true)
        #expect(done.json["container"].string == id)
        #expect(try cnictl.json("ls").array.isEmpty)
    }

    @Test("del removes what carries the owner's name where no configuration of it is left")
    func withoutConfiguration() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web"])
        try run("rm -r \(cnictl.networks)/shaped.conflist \(world.directory)/cache")
        try cnictl.output(
            of: "del shaped \(containers[0].path) --container-id web "
                + "--data-dir \(world.directory)/networks")
        #expect(try cnictl.json("ls --data-dir \(world.directory)/networks").array.isEmpty)
        #expect(try !world.onHost("nft list ruleset").contains("shaped web"))
    }

    @Test("a refusal by the first plugin is told once: nothing has been made, and nothing is left")
    func firstRefuses() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(
            #"{"cniVersion": "1.1.0", "name": "odd", "plugins": [{"type": "nobody"}]}"#,
            as: "odd.conflist")
        let ended = try cnictl.run("add odd \(world.container().path)")
        #expect(ended.status == 1)
        #expect(
            ended.errors.components(separatedBy: "failed to find plugin").count == 2,
            "\(ended.errors)")
    }

    @Test(
        "a capability that no plugin declares is named, and one that is not understood is refused")
    func capabilities() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        let ended = try cnictl.run("plan shaped --cap portMapings=[]")
        #expect(
            ended.errors.contains(
                "--cap portMapings: no plugin of network shaped declares it, and so none gets it"),
            "\(ended.errors)")
        #expect(try cnictl.run("plan shaped --cap portMappings").status == 64)
    }

    @Test("an add that a later plugin refuses takes back what the earlier ones made")
    func refused() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        let (one, other) = (try world.container("one"), try world.container("other"))
        try cnictl.output(of: "add shaped \(one.path) --container-id one \(mapping)")
        let links = try world.onHost("ip -br link")
        let senseless = mapping.replacing(":8080", with: ":0")
        let refused = try cnictl.run("add shaped \(other.path) --container-id other \(senseless)")
        #expect(refused.status == 1)
        #expect(refused.errors.contains("Invalid host port number: 0"))
        #expect(try world.onHost("ip -br link") == links)
        #expect(world.files("networks/shaped").filter { $0.hasPrefix("10.") }.count == 1)
        #expect(world.files("cache/results") == ["shaped-one-eth0"])
    }

    @Test("gc keeps what is valid and removes the rest")
    func collect() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        for id in ["one", "other"] {
            let container = try world.container(id)
            try cnictl.output(of: "add shaped \(container.path) --container-id \(id)")
        }
        try cnictl.output(of: "gc shaped --valid one")
        #expect(world.files("cache/results") == ["shaped-one-eth0"])
        let links = try world.onHost("ip link show type veth")
        #expect(links.contains("alias shaped one eth0") && !links.contains("shaped other"))
        #expect(world.files("networks/shaped").filter { $0.hasPrefix("10.") }.count == 1)
    }

    @Test("status tells of a network that has no address left, and of a plugin that is missing")
    func status() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        var list = world.shapedList(name: "small")
        var bridge = list["plugins"][0]
        bridge["ipam"]["subnet"] = #""10.99.0.0/30""#
        list["plugins"] = JSON([bridge.value])
        try cnictl.configure(list, as: "small.conflist")
        #expect(try cnictl.run("status").status == 0)
        try cnictl.output(of: "add small \(world.container().path)")
        let full = try cnictl.run("status small -o json")
        #expect(full.status == 2)
        #expect(full.json[0]["code"].number == 50)
        // Where nothing can be written, nothing can be reserved, be there an address or not.
        bridge["ipam"]["subnet"] = #""10.99.0.0/24""#
        list["plugins"] = JSON([bridge.value])
        try cnictl.configure(list, as: "small.conflist")
        #expect(try cnictl.run("status").status == 0)
        try output(of: "mount -t tmpfs -o ro none \(world.directory)/networks")
        let sealed = try cnictl.run("status small -o json")
        try output(of: "umount \(world.directory)/networks")
        #expect(sealed.json[0]["code"].number == 50)
        #expect(
            sealed.json[0]["message"].string?.contains("Read-only file system") == true,
            "\(sealed.output)")
        bridge["type"] = #""nobody""#
        list["plugins"] = JSON([bridge.value])
        try cnictl.configure(list, as: "small.conflist")
        let missing = try cnictl.run("status")
        #expect(missing.status == 2)
        #expect(missing.output.contains("failed to find plugin \"nobody\""))
    }

    @Test("exec runs a command in a namespace of its own and ends as it does, with nothing left")
    func execute() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        try cnictl.output(of: "exec shaped -- true")
        try world.unchanged {
            let addresses = try cnictl.output(of: "exec shaped -- ip -br addr")
            #expect(addresses.contains("lo") && addresses.contains("127.0.0.1/8"))
            #expect(addresses.contains("10.99.0."))
            #expect(try cnictl.run("exec shaped -- ping -c 1 -W 10 10.99.0.1").status == 0)
            #expect(
                try cnictl.start(["exec", "shaped", "--", "sh", "-c", "exit 7"]).wait().status == 7)
            #expect(try cnictl.run("exec shaped -- /no/such/program").status == 1)
            #expect(try cnictl.run("exec nowhere -- true").status == 3)
        }
    }

    @Test("a signal ends exec's command, and the namespace is detached all the same")
    func signalled() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        try cnictl.output(of: "exec shaped -- true")
        try world.unchanged {
            let command = try cnictl.start(["exec", "shaped", "--", "sleep", "60"])
            try waitFor("result", pause: 2) { !world.files("cache/results").isEmpty }
            kill(command.process, SIGTERM)
            #expect(command.wait().status == 128 + SIGTERM)
            #expect(world.files("cache/results") == [])
        }
    }
}
