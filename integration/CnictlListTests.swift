import Foundation
import Testing

@Suite("cnictl sees what is on the host", .enabled(if: isRoot))
struct CnictlListTests {
    private func start(_ world: World) throws -> Cnictl {
        let cnictl = try Cnictl(world)
        try cnictl.configure(world.shapedList(), as: "shaped.conflist")
        return cnictl
    }

    @Test("ls shows an attachment as ip, tc and nft do")
    func attachment() throws {
        let world = try World()
        let cnictl = try start(world)
        let container = try world.container("web")
        try cnictl.output(
            of: "add shaped \(container.path) --container-id web "
                + #"--cap portMappings=[{"hostPort":8080,"containerPort":80}]"#)
        let entry = try cnictl.json("ls")[0]
        #expect(entry["network"].string == "shaped")
        #expect(entry["container"].string == "web")
        #expect(entry["interface"].string == "eth0")
        #expect(entry["alive"].bool == true)
        #expect(entry["netns"].string == container.path)
        let inner = try container.ip("addr show eth0")[0]
        #expect(entry["addresses"][0].string == inner["addr_info"][0]["local"].string)
        #expect(entry["mac"].string == inner["address"].string)
        #expect(entry["mtu"].number == inner["mtu"].number)
        let port = try world.ip("link show master cni-shaped")[0]
        #expect(entry["hostInterface"].string == port["ifname"].string)
        #expect(entry["bridge"].string == "cni-shaped")
        #expect(entry["ports"].array.map(\.string) == ["8080/tcp to 80"])
        let classes = entry["classes"].array
        #expect(classes.map { $0["direction"].string } == ["egress", "ingress"])
        #expect(classes.map { $0["rate"].number } == [10_000_000, 200_000_000])
        #expect(classes.map { $0["ceil"].number } == [100_000_000, 200_000_000])
        let id = classes[0]["id"].string ?? ""
        #expect(try world.onHost("tc class show dev shp-e classid \(id)").contains("ceil 100Mbit"))
        let text = try cnictl.output(of: "ls")
        #expect(text.contains("10M..100M") && text.contains("alive"))
        #expect(!text.contains("\u{1b}"), "no colours where there is no terminal")
    }

    @Test("what is left of a container that has gone is an orphan")
    func orphan() throws {
        let world = try World()
        let cnictl = try start(world)
        for id in ["web", "db"] {
            try cnictl.output(of: "add shaped \(world.container(id).path) --container-id \(id)")
        }
        #expect(try cnictl.json("ls --orphans").array.isEmpty)
        try world.end(.init(id: "db", path: cnictl.json("ls db")[0]["netns"].string ?? ""))
        let orphans = try cnictl.json("ls --orphans").array
        #expect(orphans.map { $0["container"].string } == ["db"])
        #expect(
            orphans.first?["traces"].array.map(\.string) == [
                "lease", "result", "masquerade", "class",
            ])
        #expect(try cnictl.json("ls web")[0]["orphan"].bool == false)
    }

    @Test("an attachment without a link on the host is known by its alias")
    func macvlan() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        // No other test's: an alias is looked for in all namespaces.
        let name = "mac\(UInt32.random(in: 0 ... .max))"
        try world.onHost("ip link add up0 type veth peer name up1")
        try cnictl.configure(
            JSON(
                text: """
                    {"cniVersion": "1.0.0", "name": "\(name)", "plugins": [
                      {"type": "macvlan", "master": "up0", "ipam": {"type": "host-local",
                       "subnet": "10.98.0.0/24", "dataDir": "\(world.directory)/networks"}}]}
                    """), as: "mac.conflist")
        let container = try world.container("m")
        try cnictl.output(of: "add \(name) \(container.path) --container-id m")
        try run("rm -r \(world.directory)/cache")
        let entry = try cnictl.json("ls")[0]
        #expect(entry["netns"].string == container.path)
        #expect(entry["alive"].bool == true)
        #expect(entry["hostInterface"].isNull)
        try output(of: "ip netns del \((container.path as NSString).lastPathComponent)")
        #expect(try cnictl.json("ls")[0]["orphan"].bool == true)
    }

    @Test("explain says what the host's own links, addresses and networks are")
    func hosts() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web", "db"])
        let both = try cnictl.json("explain cni-shaped").array
        #expect(both.map { $0["container"].string } == ["db", "web"])
        for (word, sentence) in [
            ("shaped", "shaped is a network: ls shaped lists its attachments"),
            ("shp-e", "shp-e is a link of the host, and no attachment's"),
            ("10.99.0.1", "10.99.0.1 is an address of the host, on cni-shaped"),
            ("10.99.0.77", "nothing on this host is 10.99.0.77"),
        ] {
            let ended = try cnictl.run("explain \(word)")
            #expect(ended.status == 3 && ended.errors.contains(sentence), "\(ended.errors)")
        }
    }

    @Test("a port that another container had first is waited for, and that is said")
    func awaited() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web"])
        let other = try world.container("other")
        try cnictl.output(
            of: "add shaped \(other.path) --container-id other "
                + #"--cap portMappings=[{"hostPort":8080,"containerPort":81}]"#)
        #expect(try cnictl.output(of: "ls other").contains("8080/tcp waits"))
        #expect(
            try cnictl.json("ls other")[0]["awaitedPorts"][0]["holder"].string
                == "shaped web eth0")
        #expect(
            try cnictl.output(of: "explain other").contains(
                "waits for:     8080/tcp, which shaped web eth0 has"))
        #expect(try cnictl.output(of: "ls web").contains("8080/tcp to 80"))
        try cnictl.output(of: "del shaped \(containers[0].path) --container-id web")
        let entry = try cnictl.json("ls other")[0]
        #expect(entry["ports"].array.map(\.string) == ["8080/tcp to 81"])
        #expect(entry["awaitedPorts"].array.isEmpty)
    }

    @Test("explain finds an owner by container, address, port, class and interface")
    func subjects() throws {
        let world = try World()
        let cnictl = try start(world)
        let container = try world.container("web-0123456789")
        try cnictl.output(
            of: "add shaped \(container.path) --container-id web-0123456789 "
                + #"--cap portMappings=[{"hostPort":8080,"containerPort":80}]"#)
        let entry = try cnictl.json("ls")[0]
        let words = [
            "web-0123456789", "web-0", entry["addresses"][0].string ?? "", "8080", ":8080",
            "8080/tcp", entry["classes"][0]["id"].string ?? "", entry["hostInterface"].string ?? "",
        ]
        for word in words {
            let ended = try cnictl.run("explain \(word)")
            #expect(ended.status == 0, "\(word): \(ended.output)\(ended.errors)")
            #expect(
                ended.output.contains("web-0123456789 eth0 on network shaped: alive"), "\(word)")
        }
        #expect(try cnictl.run("explain 10.99.0.250").status == 3)
    }

    @Test("explain names every object that is missing or different")
    func missing() throws {
        let world = try World()
        let cnictl = try start(world)
        let container = try world.container("web")
        try cnictl.output(of: "add shaped \(container.path) --container-id web")
        try world.onHost("nft delete table inet cni_masquerade")
        try container.output(of: "ip route del default")
        let id = try cnictl.json("ls")[0]["classes"][0]["id"].string ?? ""
        try world.onHost("tc class change dev shp-e parent 1:1 classid \(id) htb rate 5mbit")
        let ended = try cnictl.run("explain web -o json")
        #expect(ended.status == 2)
        let bad = ended.json[0]["objects"].array.filter { !$0["differences"].array.isEmpty }
        let objects = bad.map { $0["object"].string ?? "" }
        #expect(objects.count == 3)
        #expect(objects.contains { $0.hasPrefix("masquerade of 10.99.0.") })
        #expect(objects.contains("route 0.0.0.0/0 via 10.99.0.1 on eth0"))
        #expect(objects.contains("class \(id) on shp-e"))
    }
}
