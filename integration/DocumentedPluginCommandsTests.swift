import Foundation
import Testing

/// The commands that the pages of docs/plugins show: to look with, mostly, when something is wrong.
@Suite("the commands of docs/plugins", .enabled(if: isRoot))
struct DocumentedPluginCommandsTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()

    /// The pages, and the network of conf/ whose container the commands look at.
    static let pages = [
        ("bandwidth", "bandwidth"), ("bridge", "masquerade"), ("dummy", "dummy"),
        ("firewall", "firewall"), ("host-device", "host-device"), ("host-local", "bridge"),
        ("ipvlan", "ipvlan"), ("loopback", "loopback"), ("macvlan", "macvlan"),
        ("portmap", "portmap"), ("ptp", "ptp"), ("sbr", "source-routed"),
        ("static", "static-address"), ("tap", "tap"), ("tuning", "tuned"), ("vlan", "vlan"),
        ("vrf", "vrf"),
    ]

    private static let programs = [
        "bridge", "cat", "cnictl", "df", "dmesg", "grep", "ip", "iptables", "iptables-save", "ls",
        "lsmod", "nft", "ss", "stat", "sysctl", "tc",
    ]

    /// What looks like a command and is an expression of nft, or a program without its arguments.
    private static let none = [
        "ip protocol", "nft -f", "cnictl check", "ls /sys/bus/pci/devices/<id>/",
    ]

    /// The commands of a page: those of its text, and those of its blocks, at a prompt of the host's
    /// (`#`) or of the container's (`$`).
    private func commands(_ page: String) throws -> [String] {
        let path = Self.root.appendingPathComponent("docs/plugins/\(page).md")
        let parts = try String(contentsOf: path, encoding: .utf8).components(separatedBy: "```")
        var found: [String] = []
        for (index, part) in parts.enumerated() {
            if index % 2 == 0 {
                let code = part.components(separatedBy: "`").enumerated()
                    .filter { $0.offset % 2 == 1 }.map { $0.element.replacing(#/\s+/#, with: " ") }
                found += code.filter { text in
                    text.contains(" ") && !Self.none.contains(text)
                        && Self.programs.contains(String(text.prefix { $0 != " " }))
                }
            } else if part.hasPrefix("console\n") {
                for line in part.split(separator: "\n") {
                    if line.hasPrefix("# ") { found.append(String(line.dropFirst(2))) }
                    if line.hasPrefix("$ ") {
                        found.append("ip netns exec box " + line.dropFirst(2))
                    }
                }
            } else if part.hasPrefix("sh\n") {
                found.append(part.dropFirst(3).trimmingCharacters(in: .newlines))
            }
        }
        var seen: Set<String> = []
        return found.filter { seen.insert($0).inserted }
    }

    @Test("every page is looked at")
    func complete() throws {
        let files = try FileManager.default.contentsOfDirectory(
            atPath: Self.root.appendingPathComponent("docs/plugins").path)
        #expect(files.map { $0.replacing(".md", with: "") }.sorted() == Self.pages.map(\.0))
        #expect(try Self.pages.flatMap { try commands($0.0) }.count >= 60)
    }

    /// A host with a container of a page's network, and of others that the page tells of, as a script.
    private func setting(_ network: String, in world: World) -> String {
        let build = (world.plugins as NSString).deletingLastPathComponent
        return """
            set -u
            for place in /run /var/lib /etc/cni /opt; do mkdir -p $place; mount -t tmpfs none $place; done
            mkdir -p /etc/cni/net.d /run/netns /opt/cni
            ln -s \(world.plugins) /opt/cni/bin
            export PATH=\(build):/usr/sbin:/usr/bin:/sbin:/bin
            cp \(Self.root.path)/conf/{\(network),iptables}.conflist /etc/cni/net.d
            sed 's/"firewall",$/"apart",/; s/cni-firewall/cni-apart/; s/10.100/10.200/; s/same-bridge/isolated/' \
                \(Self.root.path)/conf/firewall.conflist > /etc/cni/net.d/apart.conflist
            sed -i 's/"type": "apart"/"type": "firewall"/' /etc/cni/net.d/apart.conflist
            for link in eth0 eth1; do
                ip link add $link type veth peer name peer-$link; ip link set $link up
            done
            ip addr add 198.18.0.2/24 dev eth0; ip route add default via 198.18.0.1
            for name in box blue; do ip netns add $name; done
            attach() {
                ports=; if grep -q portMappings /etc/cni/net.d/$1.conflist; then
                    ports='--cap portMappings=[{"hostPort":8080,"containerPort":80}]'; fi
                cnictl add $1 box --container-id box --ifname $2 $ports > /run/result || cat /run/result; }
            attach \(network) \(network == "loopback" ? "lo" : "eth0")
            VETH=$(cnictl ls -o json | jq -r '.[0].hostInterface // "eth0"')
            BRIDGE=$(cnictl ls -o json | jq -r '.[0].bridge // "eth0"')
            ADDRESS=$(cnictl ls -o json | jq -r '.[0].addresses[0] // "127.0.0.1"')
            ip link show eth1 > /dev/null 2>&1 || ip link add eth1 type veth peer name again
            case \(network) in masquerade|portmap) attach iptables net1;; firewall) attach apart net1;; esac
            """
    }

    private func run(_ script: String, in world: World) throws -> Command.Ended {
        try Command(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", script],
            in: world.host
        ).wait()
    }

    @Test("each is one, beside a container of the plugin's", arguments: pages)
    func works(page: String, network: String) throws {
        if ConflistTests.feature(network)?.isPresent == false {
            try Test.cancel("this kernel lacks what \(page) needs")
        }
        let world = try World()
        let commands = try commands(page).filter { command in
            // Not every kernel has these.
            let file = command.hasPrefix("cat /") ? String(command.dropFirst(4)) : "/"
            return FileManager.default.fileExists(atPath: file)
                && (!command.hasPrefix("ip link add try type bridge vlan_filtering")
                    || KernelFeature.bridgeVLANs.isPresent)
        }
        let lines = commands.map { command in
            let words = command.replacing("<ns>", with: "box").replacing("<gw>", with: "$ADDRESS")
                .replacing("<host end>", with: "$VETH").replacing("<master>", with: "eth0")
                .replacing("<bridge>", with: "$BRIDGE").replacing(#/\bbr\b(?! )/#, with: "$BRIDGE")
                .replacing("<address>", with: "$ADDRESS").replacing("<link>", with: "eth0")
                .replacing("<dataDir>", with: "/var/lib/cni/networks")
                .replacing("<network>", with: network)
                .replacing("<container ID>", with: "box").replacing("…", with: "true")
            return """
                if ! said=$( { \(words)
                } 2>&1 ); then cat <<'END'
                \(command)
                END
                echo "$said"; fi
                """
        }
        let script = setting(network, in: world) + "\n" + lines.joined(separator: "\n")
        let ended = try run(script, in: world)
        #expect(ended.output + ended.errors == "")
    }

    /// A line as it is with whatever names, addresses and numbers.
    private func form(_ line: some StringProtocol) -> String {
        String(line).replacing(#/\s+/#, with: " ")
            .replacing(#/veth[0-9a-f]{11}/#, with: "VETH")
            .replacing(#/([0-9a-f]{2}:){5}[0-9a-f]{2}/#, with: "MAC")
            .replacing(#/\d+\.\d+\.\d+\.\d+(\/\d+)?/#, with: "ADDRESS")
            .replacing(#/--comment "(dnat )?name:.*?\\"" /#, with: "OWNER ")
            .replacing(#/comment "[^"]*"/#, with: "OWNER")
            .replacing(#/CNI-(DN-)?[0-9a-f]{12,}/#, with: "CHAIN")
            .trimmingCharacters(in: .whitespaces)
    }

    @Test(
        "what they print is what the pages show",
        arguments: [
            ("bridge", "masquerade"), ("portmap", "portmap"), ("firewall", "firewall"),
            ("sbr", "source-routed"),
        ])
    func prints(page: String, network: String) throws {
        let world = try World()
        let path = Self.root.appendingPathComponent("docs/plugins/\(page).md")
        let blocks = try String(contentsOf: path, encoding: .utf8).components(separatedBy: "```")
            .filter { $0.hasPrefix("console\n") }
        #expect(!blocks.isEmpty)
        let commands = try commands(page).filter { command in
            blocks.contains { $0.contains("# \(command)\n") } || command.hasPrefix("ip netns exec")
        }
        let script = setting(network, in: world) + "\n" + commands.joined(separator: "\n")
        let ended = try run(script, in: world)
        let printed = Set(ended.output.split(separator: "\n").map { form($0) })
        let lines = blocks.flatMap { $0.split(separator: "\n").dropFirst() }
            .filter { !$0.hasPrefix("# ") && !$0.hasPrefix("$ ") && !$0.contains("…") }
        #expect(lines.count > 3)
        for line in lines { #expect(printed.contains(form(line)), "\(line)") }
    }
}
