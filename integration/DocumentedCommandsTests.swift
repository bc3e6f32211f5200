import Foundation
import Testing

/// The commands that the pages for operators show; those of the guide have a test of their own.
@Suite("the commands of the pages", .enabled(if: isRoot))
struct DocumentedCommandsTests {
    private static let docs = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("docs")

    /// What cannot be run here: a build, a runtime's list of containers that is not there, and a server
    /// at the other end of a link.
    private static let others = ["make ", "cnictl gc --from crictl", "iperf3", "ip netns exec job"]

    private func text(_ page: String) throws -> String {
        try String(contentsOf: Self.docs.appendingPathComponent("\(page).md"), encoding: .utf8)
    }

    /// The commands in a page's text and blocks, each once, in order.
    private func commands(_ page: String) throws -> [String] {
        let text = try text(page)
        var found: [String] = []
        for match in text.matches(of: #/(?m)^# (.+)$|`((?:cnictl|nft|ip|make)\s[^`]+)`/#) {
            guard let words = match.2 ?? (page == "shaping" ? match.1 : nil) else { continue }
            let command = String(words).replacing(#/\s+/#, with: " ")
            let isCommand = ["cnictl", "nft", "ip", "tc", "make"].contains {
                command.hasPrefix($0 + " ")
            }
            // Where a sentence speaks of a command by its name alone, it is not shown.
            let isName = ["cnictl add", "cnictl del", "cnictl exec"].contains(command)
            guard isCommand, !isName else { continue }
            if !found.contains(command) { found.append(command) }
        }
        return found
    }

    /// Runs a script on a world's host, with directories of its own where the host has its files.
    private func script(_ lines: String, in world: World) throws -> Command.Ended {
        let build = (world.plugins as NSString).deletingLastPathComponent
        let whole = """
            set -u
            for place in /run /var/lib /etc/cni /opt; do mkdir -p $place; mount -t tmpfs none $place; done
            cd \(Self.docs.deletingLastPathComponent().path)
            mkdir -p /etc/cni/net.d /run/netns
            export PATH=\(build):/usr/sbin:/usr/bin:/sbin:/bin CNI_PATH=\(world.plugins)
            export CNICTL_CACHE_DIR=/var/lib/cni
            DIR=/etc/cni/net.d FILE=/run/report
            try() { "$@" > /run/said 2>&1; status=$?
                echo "$status $*"; [ $status = 0 ] || [ $status = 2 ] || cat /run/said; }
            \(lines)
            """
        return try Command(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", whole], in: world.host
        ).wait()
    }

    @Test("every command of the pages for operators is one, and does what it is there for")
    func operators() throws {
        let world = try World()
        let pages = [
            "cnictl", "operations", "migration", "architecture", "reliability", "design/008-log",
        ]
        // That there is what pages make is a unit test.
        let all = try pages.flatMap(commands).filter { !$0.hasPrefix("make ") }
        var run = all.filter { command in !Self.others.contains { command.hasPrefix($0) } }
        // What is deleted must be there: the container goes last.
        run = run.filter { $0.hasPrefix("nft ") } + run.filter { !$0.hasPrefix("nft ") }
        #expect(run.count >= 18 && all.count - run.count <= 3, "\(all)")
        let lines = run.map { command in
            let words = command.replacing("NETWORK", with: "web").replacing("COMMAND", with: "ls")
                .replacing(/\bID\b/, with: "box").replacing("DIR", with: "$DIR")
                .replacing("FILE.", with: "$FILE.").replacing("NAME", with: "dhcp")
                .replacing("veth5e8891054b1", with: "$VETH")
            // Live screens end by themselves here.
            return "try \(words)" + (words == "cnictl top" ? " --once" : "")
        }
        let list = world.shapedList(name: "web").description
            .replacingOccurrences(of: world.directory, with: "/var/lib")
        let setting = """
            cat > /etc/cni/net.d/web.conflist <<'END'
            \(list)
            END
            ip netns add box
            cnictl add web box --container-id box \
                --cap portMappings='[{"hostPort":8080,"containerPort":80}]' > /dev/null
            VETH=$(ip -j link show type veth | jq -r '.[0].ifname')
            """
        let blocks = try text("cnictl").components(separatedBy: "\n```sh\n").dropFirst()
            .map { $0.components(separatedBy: "\n```").first ?? "" }.joined(separator: "\n")
        let ended = try script(
            "\(setting)\ncd /run\n\(blocks)\necho \"0 blocks $?\"\n"
                + lines.joined(separator: "\n"), in: world)
        #expect(ended.errors == "")
        let outcomes = ended.output.split(separator: "\n").filter { $0.contains(#/^\d+ /#) }
        #expect(outcomes.count == run.count + 1)
        let wrong = outcomes.filter { !$0.hasPrefix("0 ") && !$0.hasPrefix("2 ") }
        #expect(wrong == [], "\(ended.output)")
    }

    @Test("the commands of the way to a database with a guarantee work, in their order")
    func shaping() throws {
        let world = try World()
        let all = try commands("shaping")
        let run = all.filter { command in !Self.others.contains { command.hasPrefix($0) } }
        #expect(run.count >= 10 && all.count - run.count <= 2, "\(all)")
        // What the page shows of numbers is found out here.
        let lines = run.map { command -> String in
            let words = command.replacing("1:f6b2", with: "$TENANT").replacing(
                "1:3f07", with: "$JOB")
            let numbers =
                "JOB=$(nft list set netdev shaper classes | sed -n 's/.*\\(1:[0-9a-f]*\\) comment "
                + "\"batch cnictl-job eth0\".*/\\1/p'); TENANT=$(nft list set netdev shaper tenants | "
                + "sed -n 's/.*\\(1:[0-9a-f]*\\) comment.*/\\1/p')"
            return (words.contains("$JOB") ? numbers + "\n" : "")
                + words.split(separator: ";").map { "try\($0.hasPrefix(" ") ? "" : " ")\($0)" }
                .joined(separator: "\n")
        }
        let ended = try script(lines.joined(separator: "\n"), in: world)
        let outcomes = ended.output.split(separator: "\n").filter { $0.contains(#/^\d+ /#) }
        let wrong = outcomes.filter { !$0.hasPrefix("0 ") && !$0.hasPrefix("2 cnictl check") }
        #expect(wrong == [], "\(ended.output)\(ended.errors)")
        #expect(outcomes.count >= run.count)
    }
}
