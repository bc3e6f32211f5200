import Foundation
import Testing

/// What cnictl must never do: take something from a container that lives, or write into it what is
/// another one's.
@Suite("cnictl takes nothing from the living", .enabled(if: isRoot))
struct CnictlLivingTests {
    private func configure(
        _ cnictl: Cnictl, _ name: String, _ plugin: JSON, subnet: Int, behind others: String = ""
    ) throws {
        var first = plugin
        first["ipam"] = """
            {"type": "host-local", "subnet": "10.\(subnet).0.0/24",
             "dataDir": "\(cnictl.world.directory)/networks"}
            """
        try cnictl.configure(
            JSON(
                text: "{\"cniVersion\": \"1.0.0\", \"name\": \"\(name)\", "
                    + "\"plugins\": [\(first)\(others)]}"), as: "\(name).conflist")
    }

    /// A network that the Go plugins make.
    private func configurePeer(_ cnictl: Cnictl) throws -> String {
        try configure(
            cnictl, "gon", #"{"type": "bridge", "bridge": "cni-gon", "isDefaultGateway": true}"#,
            subnet: 97)
        return try "--bin-dir \(Peer.directory())"
    }

    private func states(_ cnictl: Cnictl) throws -> [String: String] {
        Dictionary(
            try cnictl.json(
                "ls --data-dir \(cnictl.world.directory)/networks"
            ).array.map { ($0["container"].string ?? "", $0["state"].string ?? "") }
        ) { "\($0) and \($1)" }
    }

    private func name(_ container: World.Container) -> String {
        (container.path as NSString).lastPathComponent
    }

    /// The namespace of a container is deleted, and another one has its path.
    private func renew(_ container: World.Container, _ id: String) throws -> World.Container {
        try output(of: "ip netns del \(name(container))")
        try output(of: "ip netns add \(name(container))")
        return World.Container(id: id, path: container.path)
    }

    @Test("gc knows a namespace that has a path of its own alone, with its result or without")
    func elsewhere() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try world.onHost("ip link add up0 type veth peer name up1")
        // No other test's: an alias is looked for in all namespaces.
        let network = "mac\(UInt32.random(in: 0 ... .max))"
        try configure(cnictl, network, #"{"type": "macvlan", "master": "up0"}"#, subnet: 98)
        let path = world.directory + "/a path"
        try "".write(toFile: path, atomically: true, encoding: .utf8)
        #expect(try Command(["unshare", "--net=\(path)", "true"]).wait().succeeded)
        defer { _ = try? Command(["umount", path]).wait() }
        #expect(try cnictl.start(["add", network, path, "--container-id", "k"]).wait().succeeded)
        for isKept in [true, false] {
            if !isKept { try run("rm -r \(world.directory)/cache") }
            #expect(try states(cnictl) == ["k": "alive"])
            #expect(try cnictl.output(of: "gc --interval 0.05").contains("nothing is left"))
            #expect(try run("ip link show eth0", in: path).succeeded)
        }
    }

    @Test("repair and gc keep apart who had a path and who has it now")
    func reusedPath() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let peer = try configurePeer(cnictl)
        try configure(
            cnictl, "pp", #"{"type": "ptp"}"#, subnet: 96,
            behind: #", {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}}"#)
        let (m, n) = (try world.container("old1"), try world.container("old2"))
        try cnictl.output(of: "add pp \(m.path) --container-id old1")
        try cnictl.output(of: "add gon \(n.path) --container-id old2 \(peer)")
        let others = [try renew(m, "new1"), try renew(n, "new2")]
        for other in others {
            try cnictl.output(of: "add gon \(other.path) --container-id \(other.id) \(peer)")
        }
        let inside = { try others.map { try Snapshot(of: $0) } }
        let before = try inside()
        let unharmed = {
            for (now, then) in zip(try inside(), before) {
                #expect(now.difference(from: then) == "")
            }
        }
        // The kernel takes a namespace apart a moment after its name has gone.
        try waitFor("end of the namespaces") { try !states(cnictl).values.contains("alive?") }
        #expect(
            try states(cnictl)
                == ["old1": "orphan", "old2": "orphan", "new1": "alive", "new2": "alive"])
        try cnictl.output(of: "repair")
        try unharmed()
        // The Go plugin's DEL takes whatever interface is in the namespace that it is told.
        try cnictl.output(of: "gc gon --valid new1 --valid new2 \(peer)")
        try unharmed()
        #expect(
            try states(cnictl) == ["old1": "orphan", "new1": "alive", "new2": "alive"])
        try cnictl.output(of: "gc --interval 0.05 \(peer) --bin-dir \(world.plugins)")
        try unharmed()
        #expect(try states(cnictl) == ["new1": "alive", "new2": "alive"])
    }

    @Test("repair leaves out a container to whose namespace no path leads, and the one at its path")
    func withoutPath() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        let holder = try Command(["sh", "-c", "exec 3< \(containers[1].path); sleep 60"])
        defer {
            kill(holder.process, SIGKILL)
            _ = holder.wait()
        }
        let held = "/proc/\(holder.process)/fd/3"
        try waitFor("\(held)", pause: 5) { access(held, F_OK) == 0 }
        let other = try renew(containers[1], "next")
        try cnictl.output(of: "add shaped \(other.path) --container-id next")
        let before = [try Snapshot(of: other), try Snapshot(of: .init(id: "db", path: held))]
        #expect(try states(cnictl) == ["web": "alive", "db": "alive?", "next": "alive"])
        let ended = try cnictl.run("repair")
        #expect(ended.status == 0)
        #expect(
            ended.output.contains("left out shaped db eth0: no path leads to its namespace"),
            "\(ended.output)")
        try cnictl.output(of: "gc --interval 0.05")
        for (path, then) in zip([other.path, held], before) {
            let now = try Snapshot(of: .init(id: "", path: path))
            #expect(now.difference(from: then) == "")
        }
    }

    @Test(
        "what another implementation has made is known by another name, with its result or without")
    func renamed() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let peer = try configurePeer(cnictl)
        let container = try world.container("go")
        try cnictl.output(of: "add gon \(container.path) --container-id go \(peer)")
        for words in ["set eth0 down", "set eth0 name lan0", "set lan0 up"] {
            try container.output(of: "ip link \(words)")
        }
        try cnictl.output(of: "repair")
        #expect(try container.run("ip link show eth0").succeeded)
        for words in ["set eth0 down", "set eth0 name lan0", "set lan0 up"] {
            try container.output(of: "ip link \(words)")
        }
        for isKept in [true, false] {
            if !isKept { try run("rm -r \(world.directory)/cache") }
            #expect(try states(cnictl) == ["go": "alive"], "\(isKept)")
            #expect(try cnictl.run("explain go").output.contains("called lan0 now"))
            try cnictl.output(of: "gc --interval 0.05")
            #expect(world.files("networks/gon").contains { $0.hasPrefix("10.") })
        }
    }

    @Test(
        "a list that is what a program complains of, or another host's, takes nothing from anybody")
    func lists() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        for input in [
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n",
            "WARN[0000] image connect using default endpoints\nweb\n", "WARN\nweb db\n", "Error\n",
        ] {
            let ended = try cnictl.run("gc --from - --interval 0.05", input: input)
            #expect(ended.status == 1, "\(input): \(ended.output)")
            #expect(ended.errors.contains("standard input"), "\(input): \(ended.errors)")
        }
        #expect(try states(cnictl) == ["web": "alive", "db": "alive"])
        // Of those who have gone anyway every list is right.
        for container in containers { try output(of: "ip netns del \(name(container))") }
        try waitFor("orphans alone") { try states(cnictl).values.allSatisfy { $0 == "orphan" } }
        try cnictl.output(of: "gc --from - --interval 0.05", input: "other\n")
        #expect(try states(cnictl) == [:])
    }

    @Test("gc comes again to what a plugin's DEL has failed at")
    func failedOnce() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let programs = world.directory + "/bin"
        try output(of: "cp -a \(world.plugins) \(programs)")
        try """
        #!/bin/sh
        case $CNI_COMMAND in
        ADD) jq .prevResult ;;
        DEL) echo >> \(world.directory)/calls
            [ $(wc -l < \(world.directory)/calls) -gt 1 ] && exit 0
            echo '{"code": 11, "msg": "try again"}'; exit 1 ;;
        esac
        """.write(toFile: programs + "/strange", atomically: true, encoding: .utf8)
        try output(of: "chmod +x \(programs)/strange")
        try configure(
            cnictl, "odd", #"{"type": "bridge", "bridge": "cni-odd"}"#, subnet: 95,
            behind: #", {"type": "strange", "ipam": "x"}"#)
        let container = try world.container("web")
        let words = "--bin-dir \(programs)"
        try cnictl.output(of: "add odd \(container.path) --container-id web \(words)")
        // What others have made is not known, and not wrong for that.
        let explained = try cnictl.run("explain web")
        #expect(explained.status == 0 && explained.output.contains("none of this project's"))
        #expect(try cnictl.run("repair --dry-run").status == 0)
        try output(of: "ip netns del \(name(container))")
        try waitFor("orphan") { try states(cnictl) == ["web": "orphan"] }
        let failed = try cnictl.run("gc --interval 0.05 \(words)")
        #expect(failed.status == 1 && failed.output.contains("try again"))
        #expect(try states(cnictl) == ["web": "orphan"])
        try cnictl.output(of: "gc --interval 0.05 \(words)")
        #expect(world.file("calls") == "\n\n")
        #expect(try states(cnictl) == [:])
    }

    @Test("gc removes an orphan whose noted path is the host's by now, or no namespace's")
    func recycled() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        for (container, path) in zip(containers, [world.host, "/dev/null"]) {
            try output(of: "ip netns del \(name(container))")
            let file = "\(world.directory)/cache/results/shaped-\(container.id)-eth0"
            var kept = JSON(text: world.file("cache/results/shaped-\(container.id)-eth0") ?? "")
            kept["netns"] = JSON(path)
            try kept.description.write(toFile: file, atomically: true, encoding: .utf8)
        }
        try waitFor("orphans alone") { try Set(states(cnictl).values) == ["orphan"] }
        let ended = try cnictl.run("gc --interval 0.05")
        #expect(ended.status == 0, "\(ended.output)")
        #expect(try states(cnictl) == [:])
    }

    @Test("del does not detach the container of another path that ends in the same name")
    func samePathEnd() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        let paths = ["a", "b"].map { "\(world.directory)/\($0)/net" }
        defer { for path in paths { _ = try? run("umount \(path)") } }
        for path in paths {
            try output(of: "mkdir \((path as NSString).deletingLastPathComponent)")
            try output(of: "touch \(path)")
            try output(of: "unshare --net=\(path) true")
        }
        try cnictl.output(of: "add shaped \(paths[0])")
        for verb in ["del", "check"] {
            let ended = try cnictl.run("\(verb) shaped \(paths[1])")
            #expect(ended.status == 1 && ended.errors.contains(paths[0]), "\(ended.errors)")
        }
        #expect(try run("ip link show eth0", in: paths[0]).succeeded)
        try cnictl.output(of: "check shaped \(paths[0])")
        try cnictl.output(of: "del shaped \(paths[0])")
        #expect(try states(cnictl) == [:])
    }

    @Test("an ID is that container's, and not also those of which it is the start")
    func exactID() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["c1", "c10"])
        let ids = { (words: String) in
            try cnictl.json(words).array.map { $0["container"].string ?? "" }
        }
        #expect(try ids("ls c1") == ["c1"])
        #expect(try ids("ls c") == ["c1", "c10"])
        #expect(try ids("explain c1") == ["c1"])
        try world.onHost("nft flush ruleset")
        try cnictl.output(of: "repair c1")
        let rules = try world.onHost("nft list ruleset")
        #expect(rules.contains("shaped c1 eth0") && !rules.contains("shaped c10 eth0"))
        try cnictl.output(of: "repair")
        try cnictl.output(of: "shape c1 --egress-ceil 50M")
        for (id, ceil) in [("c1", "50Mbit"), ("c10", "100Mbit")] {
            let number = try cnictl.json("ls \(id)")[0]["classes"][0]["id"].string ?? ""
            let shown = try world.onHost("tc class show dev shp-e classid \(number)")
            #expect(shown.contains("ceil \(ceil)"), "\(id): \(shown)")
        }
        let tree = try cnictl.json("shape c1").array.map(\.description).joined()
        #expect(tree.contains(#""container":"c1""#) && !tree.contains(#""container":"c10""#))
    }
}
