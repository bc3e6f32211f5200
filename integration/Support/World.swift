import Foundation
import Testing

/// Whether the tests may make network namespaces.
let isRoot = geteuid() == 0

/// A host of its own, which goes when the test is done.
///
/// It is a network namespace with routing on, a state directory, and the containers a test makes.
final class World {
    /// A container: a network namespace with nothing in it.
    struct Container: Sendable {
        let id: String
        let path: String

        /// Runs a program inside.
        @discardableResult
        func run(_ words: String) throws -> Command.Ended {
            try IntegrationTests.run(words, in: path)
        }

        /// Runs a program inside that must succeed, and returns what it printed.
        @discardableResult
        func output(of words: String) throws -> String {
            try IntegrationTests.output(of: words, in: path)
        }

        /// What `ip -j` says of something inside.
        func ip(_ words: String) throws -> JSON { JSON(text: try output(of: "ip -d -j \(words)")) }

        /// Whether an address answers a ping, and be it late: the kernel asks again after a second where
        /// its question for a neighbour was lost.
        func reaches(_ address: String, within seconds: Int = 10) throws -> Bool {
            try run("ping -c 1 -W \(seconds) \(address)").succeeded
        }
    }

    /// The host's network namespace.
    let host: String
    /// The directory for host-local's files, and for whatever else a test writes.
    let directory: String
    /// The directory of the plugins under test.
    let plugins: String
    /// What plugins find in their environment besides what a runtime gives them.
    var environment: [String: String] = [:]
    private let name: String
    private var namespaces: [String] = []

    /// Where what is built for the tests is found.
    static let build =
        URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path + "/.build"

    init() throws {
        plugins = ProcessInfo.processInfo.environment["CNI_BIN"] ?? Self.build + "/cni"
        guard FileManager.default.isExecutableFile(atPath: plugins + "/bridge") else {
            throw Failure("no plugins in \(plugins): run `make build`")
        }
        name = "swift-cni-test-" + String(UInt32.random(in: 0 ... .max), radix: 16)
        host = "/run/netns/\(name)"
        directory = NSTemporaryDirectory() + name
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        try output(of: "ip netns add \(name)")
        namespaces.append(name)
        try onHost("ip link set lo up")
        try onHost("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    }

    deinit {
        for namespace in namespaces { _ = try? run("ip netns del \(namespace)") }
        _ = try? run("rm -rf \(directory)")
    }

    /// A new container.
    func container(_ id: String = "c" + String(UInt32.random(in: 0 ... .max), radix: 16)) throws
        -> Container
    {
        let namespace = "\(name)-\(namespaces.count)"
        try output(of: "ip netns add \(namespace)")
        namespaces.append(namespace)
        return Container(id: id, path: "/run/netns/\(namespace)")
    }

    /// Runs a program on the host that must succeed, and returns what it printed.
    @discardableResult
    func onHost(_ words: String) throws -> String { try output(of: words, in: host) }

    /// What `ip -j` says of something on the host.
    func ip(_ words: String) throws -> JSON { JSON(text: try onHost("ip -d -j \(words)")) }

    /// What a program says on the host of what goes with its last user; nothing once it has gone.
    func onHostIfThere(_ words: String) throws -> String {
        let ended = try run(words, in: host)
        let isGone = ["Cannot find device", "No such file", "does not exist"].contains {
            ended.errors.contains($0)
        }
        guard ended.succeeded || isGone else { throw Failure("\(words): \(ended.errors)") }
        return ended.output
    }

    /// Starts a plugin as a runtime does, by way of another program with arguments if `through`
    /// says so.
    func start(
        _ plugin: String, _ command: String, _ configuration: String, container: String,
        namespace: String, interface: String = "eth0", arguments: String? = nil,
        path: String? = nil, through: [String] = []
    ) throws -> Command {
        var environment = [
            "CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_NETNS": namespace,
            "CNI_IFNAME": interface, "CNI_PATH": path ?? plugins, "PATH": "/usr/sbin:/usr/bin",
        ]
        environment["CNI_ARGS"] = arguments
        environment.merge(self.environment) { $1 }
        return try Command(
            through + ["\(path ?? plugins)/\(plugin)"], environment: environment,
            input: Array(configuration.utf8), in: host)
    }

    /// Runs a plugin as a runtime does.
    func call(
        _ plugin: String, _ command: String, _ configuration: JSON, _ container: Container,
        interface: String = "eth0", arguments: String? = nil, path: String? = nil
    ) throws -> Command.Ended {
        try start(
            plugin, command, configuration.description, container: container.id,
            namespace: container.path, interface: interface, arguments: arguments, path: path
        ).wait()
    }

    /// Makes a listing of nft's the host's ruleset, as after a restart of the machine.
    func load(_ ruleset: String) throws {
        let file = directory + "/ruleset"
        try ruleset.write(toFile: file, atomically: true, encoding: .utf8)
        try onHost("nft flush ruleset")
        try onHost("nft -f \(file)")
    }

    /// A file of host-local's, or nil.
    func file(_ path: String) -> String? {
        FileManager.default.contents(atPath: "\(directory)/\(path)")
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// The visible files of a directory of the world, in order.
    func files(_ path: String) -> [String] {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: "\(directory)/\(path)"))
        return (all ?? []).filter { !$0.hasPrefix(".") }.sorted()
    }
}
