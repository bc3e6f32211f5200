import Foundation

/// The operator's command on a world's host, with the world's directory for all that it reads.
struct Cnictl {
    let world: World
    /// The directory of the networks' configurations.
    let networks: String

    init(_ world: World) throws {
        self.world = world
        networks = world.directory + "/net.d"
        try FileManager.default.createDirectory(
            atPath: networks, withIntermediateDirectories: true)
    }

    /// The program: beside the plugins' directory.
    var program: String {
        (world.plugins as NSString).deletingLastPathComponent + "/cnictl"
    }

    /// The variables and options that lead to the world's directory.
    private var environment: [String: String] {
        [
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NETCONFPATH": networks,
            "CNI_PATH": world.plugins, "CNICTL_CACHE_DIR": world.directory + "/cache",
        ]
    }

    /// Configures a network.
    func configure(_ list: JSON, as file: String) throws {
        try list.description.write(
            toFile: "\(networks)/\(file)", atomically: true, encoding: .utf8)
    }

    /// Starts the command, by way of another program with arguments if `through` says so.
    func start(
        _ words: [String], input: String = "", through: [String] = []
    ) throws -> Command {
        try Command(
            through + [program] + words, environment: environment, input: Array(input.utf8),
            in: world.host)
    }

    /// Runs the command; words are split at spaces.
    func run(
        _ words: String, input: String = "", through: [String] = []
    ) throws -> Command.Ended {
        try start(
            words.split(separator: " ").map(String.init), input: input, through: through
        ).wait()
    }

    /// Runs the command, which must succeed, and returns what it printed.
    @discardableResult
    func output(of words: String, input: String = "") throws -> String {
        let ended = try run(words, input: input)
        guard ended.succeeded else {
            throw Failure("cnictl \(words): status \(ended.status): \(ended.errors)\(ended.output)")
        }
        return ended.output
    }

    /// What the command writes to a terminal of so many lines each time that it has cleared it, until
    /// that was so often and it is interrupted.
    func screens(_ words: String, lines: Int, count: Int) throws -> ArraySlice<String> {
        let script = "stty rows \(lines) cols 200; exec \(program) \(words)"
        let terminal = try Command(
            ["script", "-qec", script, "/dev/null"],
            environment: environment.merging(["TERM": "xterm"]) { own, _ in own }, in: world.host)
        let screens = { (shown: String) in
            shown.components(separatedBy: "\u{1b}[H\u{1b}[J").dropFirst()
        }
        try waitFor("\(count) screens") { screens(terminal.outputSoFar).count >= count }
        kill(terminal.process, SIGINT)
        return screens(terminal.wait().output)
    }

    /// What the command prints as JSON.
    func json(_ words: String) throws -> JSON { try run(words + " -o json").json }
}

extension World {
    /// A list with a bridge that masquerades, port mappings and shared limits, in 10.99.0.0/24.
    func shapedList(name: String = "shaped") -> JSON {
        JSON(
            text: """
                {"cniVersion": "1.1.0", "name": "\(name)", "plugins": [
                  {"type": "bridge", "bridge": "cni-shaped", "isDefaultGateway": true,
                   "ipMasq": true, "hairpinMode": true,
                   "ipam": {"type": "host-local", "subnet": "10.99.0.0/24",
                            "dataDir": "\(directory)/networks"}},
                  {"type": "portmap", "capabilities": {"portMappings": true}},
                  {"type": "bandwidth", "capabilities": {"bandwidth": true},
                   "egressRate": 100000000, "egressBurst": 2147483647,
                   "ingressRate": 200000000, "ingressBurst": 2147483647,
                   "shaping": {"linkRate": 1000000000, "egress": {"rate": 10000000}}}]}
                """)
    }
}

extension World {
    /// Containers of these IDs, attached by cnictl to the network of `shapedList`, each with a port of
    /// the host from 8080 on that leads to its port 80.
    func attached(_ ids: [String]) throws -> (Cnictl, [Container]) {
        let cnictl = try Cnictl(self)
        try cnictl.configure(shapedList(), as: "shaped.conflist")
        var containers: [Container] = []
        for (number, id) in ids.enumerated() {
            let container = try container(id)
            try cnictl.output(
                of: "add shaped \(container.path) --container-id \(id) "
                    + "--cap portMappings=[{\"hostPort\":\(8080 + number),\"containerPort\":80}]")
            containers.append(container)
        }
        return (cnictl, containers)
    }

    /// Ends a container of `shapedList`'s network; the kernel takes a namespace apart a moment after its name
    /// has gone.
    func end(_ container: Container) throws {
        try output(of: "ip netns del \((container.path as NSString).lastPathComponent)")
        try waitFor("end of \(container.id)'s link", pause: 5) {
            try !onHost("ip link show type veth").contains("shaped \(container.id) eth0")
        }
    }
}
