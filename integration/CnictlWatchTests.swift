import Foundation
import Testing

@Suite("cnictl shows what passes, and how much", .enabled(if: isRoot))
struct CnictlWatchTests {
    @Test("shape shows the trees that tc has, and changes a rate live")
    func shape() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web", "db"])
        let trees = try cnictl.json("shape").array
        #expect(trees.map { $0["link"].string } == ["shp-e", "shp-i"])
        let whole = trees[0]["classes"][0]
        #expect(whole["rate"].number == 1_000_000_000)
        let names = whole["children"].array.compactMap { $0["container"].string }
        #expect(names.sorted() == ["db", "web"])
        let text = try cnictl.output(of: "shape")
        #expect(text.contains("├─ ") && text.contains("web eth0 on shaped"))
        try cnictl.output(of: "shape web --egress-rate 20M --egress-ceil 1.5G --ingress-ceil 700M")
        let id = try cnictl.json("ls web")[0]["classes"][0]["id"].string ?? ""
        #expect(
            try world.onHost("tc class show dev shp-e classid \(id)")
                .contains("rate 20Mbit ceil 1500Mbit"))
        #expect(
            try world.onHost("tc class show dev shp-i classid \(id)").contains("ceil 700Mbit"))
        #expect(try cnictl.run("shape web --egress-rate 9M --egress-ceil 1M").status == 64)
        #expect(try cnictl.run("shape nobody --egress-rate 9M").status == 3)
    }

    @Test("top's rates are those of the traffic, in the class of the container that sends it")
    func top() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        #expect(try cnictl.run("top --once --interval 0.1").output.contains("BIT/S"))
        // 100 packets of 1,000 bytes and their headers each second.
        let ping = try Command(
            "ping -q -i 0.01 -w 60 -s 1000 10.99.0.1".split(separator: " ").map(String.init),
            in: containers[0].path)
        usleep(300_000)
        let rows = try cnictl.json("top --once --interval 1 --active").array
        kill(ping.process, SIGKILL)
        _ = ping.wait()
        let sent = rows.first { $0["direction"].string == "egress" }
        #expect(sent?["container"].string == "web")
        let bits = sent?["bitsPerSecond"].number ?? 0
        let packets = sent?["packetsPerSecond"].number ?? 0
        #expect((10...110).contains(packets), "\(packets)")
        #expect(bits > packets * 8 * 1000 && bits < packets * 8 * 1100, "\(bits) \(packets)")
        let others = rows.filter { $0["container"].string == "db" }
        #expect(others.allSatisfy { ($0["bitsPerSecond"].number ?? 0) * 5 < bits })
    }

    @Test("top keeps to the lines of its terminal, and says how many more there are")
    func screen() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web", "db", "cache"])
        let screens = try cnictl.screens("top --interval 0.2", lines: 6, count: 3)
        #expect(screens.count >= 3)
        // The last one may have been cut off.
        for screen in screens.dropLast() {
            #expect(screen.split(separator: "\r\n").count == 5, "\(screen)")
            #expect(screen.contains("and 3 more"), "\(screen)")
        }
    }

    @Test("metrics are OpenMetrics text with the kernel's numbers")
    func metrics() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web", "db"])
        try world.end(containers[1])
        let lines = try cnictl.output(of: "metrics").split(separator: "\n").map(String.init)
        #expect(lines.last == "# EOF")
        #expect(lines.contains(#"cni_attachments{network="shaped"} 1"#))
        #expect(lines.contains(#"cni_orphans{network="shaped"} 1"#))
        let pool = #"{network="shaped",pool="10.99.0.1-10.99.0.254"}"#
        #expect(lines.contains("cni_pool_addresses_used\(pool) 2"))
        #expect(lines.contains("cni_pool_addresses\(pool) 253"))
        #expect(lines.contains(#"cni_bridge_ports{bridge="cni-shaped"} 1"#))
        #expect(lines.contains("cni_bridge_ports_limit 1023"))
        #expect(
            lines.contains { $0.hasPrefix("cni_class_ceil_bits{") && $0.hasSuffix(" 100000000") })
        // Every sample belongs to the family that is announced before it.
        var family = ""
        for line in lines.dropLast() {
            if line.hasPrefix("# TYPE ") { family = String(line.split(separator: " ")[2]) }
            if !line.hasPrefix("#") { #expect(line.hasPrefix(family), "\(line)") }
        }
        let file = world.directory + "/cni.prom"
        try cnictl.output(of: "metrics --textfile \(file)")
        #expect(world.file("cni.prom")?.hasSuffix("# EOF\n") == true)
    }

    @Test("reservations that cannot be read are said to be so, and are not counted as none")
    func unreadable() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        let readable = try cnictl.output(of: "metrics")
        #expect(readable.contains(#"cni_pool_unreadable{network="shaped"} 0"#))
        let directory = "\(world.directory)/networks/shaped"
        try run("mv \(directory) \(directory).away")
        try run("ln -s shaped.away \(directory)")
        let metrics = try cnictl.output(of: "metrics")
        #expect(metrics.contains(#"cni_pool_unreadable{network="shaped"} 1"#))
        #expect(!metrics.contains("cni_pool_addresses_used{"))
        #expect(metrics.contains("cni_pool_addresses{"))
        let listed = try cnictl.run("ls")
        #expect(listed.status == 0 && listed.output.contains("web"))
        #expect(
            listed.errors.contains("there may be attachments that are not shown"),
            "\(listed.errors)")
    }
}
