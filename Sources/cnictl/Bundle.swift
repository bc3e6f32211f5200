import ArgumentParser
import CNI
import FoundationEssentials
import Glibc
import Operator
import PluginRuntime
import SystemPackage

/// Collects what a report of a fault needs.
struct Bundle: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Puts what a report of a fault needs into one archive.",
        discussion: """
            Versions, configurations, what ls, lint, status, shape and repair say, links, addresses, \
            routes, rules, classes, reservations, results, and the end of the plugins' log. Values \
            of keys that look like secrets are left out. What cannot be had is said in its place.
            """)

    @Argument(help: "The archive to write, a .tar.gz.", completion: .file())
    var file = "cnictl-bundle.tar.gz"

    @Option(help: "How many of the last lines of the log are taken.")
    var lines = 1000

    @Option(help: "Where the plugins' log is.")
    var log = environment("SWIFT_CNI_LOG") ?? LoggedCall.standardPath

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func run() throws {
        try requireRoot()
        try Interruption.postponed { try write($0) }
    }

    private func write(_ interruption: Interruption) throws {
        guard HelperProgram(["tar"]).path != nil else {
            throw CNIError(.io, "tar is not installed")
        }
        let directory = FileManager.default.temporaryDirectory
            .appending(path: "cnictl-bundle-\(getpid())").path
        let content = "\(directory)/cnictl-bundle"
        // Nobody else may look into it meanwhile, and there was none of the name before.
        guard unsafe mkdir(directory, 0o700) == 0, unsafe mkdir(content, 0o700) == 0 else {
            throw CNIError(.io, "create \(directory): \(unsafe String(cString: strerror(errno)))")
        }
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let parts = parts(interruption)
        guard !interruption.hasCome else { return }
        for (name, text) in parts {
            try text.write(toFile: "\(content)/\(name)", atomically: false, encoding: .utf8)
        }
        _ = umask(0o077)
        // tar takes what is before a colon for a host, but not where a slash is before it.
        let path =
            file.hasPrefix("/") ? file : FileManager.default.currentDirectoryPath + "/" + file
        let draft = path + ".new"
        do {
            _ = try HelperProgram(["tar", "-C", directory, "-czf", draft, "cnictl-bundle"]).output()
            guard unsafe rename(draft, path) == 0 else {
                throw CNIError(.io, "create \(file): \(unsafe String(cString: strerror(errno)))")
            }
        } catch {
            // Half an archive is none.
            unsafe _ = unlink(draft)
            throw error
        }
        output.print(
            ["file": .string(file), "parts": .array(parts.map { .string($0.name) })]
        ) {
            print("\(file): \(parts.count) parts; look through it before you pass it on")
        }
    }

    /// What is collected; after an interruption, some of it.
    private func parts(_ interruption: Interruption) -> [(name: String, text: String)] {
        var parts: [(name: String, text: String)] = []
        func add(_ name: String, _ commands: [[String]]) {
            guard !interruption.hasCome || parts.isEmpty else { return }
            parts.append((name, commands.map(Self.said).joined(separator: "\n")))
        }
        add(
            "versions.txt",
            [
                ["uname", "-a"], ["cat", "/etc/os-release"], ["ip", "-V"], ["tc", "-V"],
                ["nft", "-v"], ["iptables", "-V"], ["containerd", "--version"],
                ["podman", "--version"], ["crictl", "--version"],
            ] + places.binDir.map { ["ls", "-la", $0] })
        parts[0].text = "cnictl \(Program.version)\n\n" + parts[0].text
        add(
            "kernel.txt",
            [
                ["cat", "/proc/modules"],
                [
                    "sysctl", "-e", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding",
                    "net.bridge.bridge-nf-call-iptables", "net.netfilter.nf_conntrack_max",
                ], ["df", "/var/lib/cni", "/run"], ["ls", "-la", "/run/netns"],
            ])
        for words in [
            ["ls"], ["lint"], ["status"], ["shape"], ["repair", "--dry-run"], ["gc", "--dry-run"],
        ] { add("\(words[0]).json", [own(words)]) }
        for part in ["link", "address", "route show table all", "rule", "neighbour"] {
            let words = part.split(separator: " ").map(String.init)
            parts.append(
                (
                    "ip-\(words[0]).json",
                    ["-4", "-6"].filter { _ in words[0] != "link" }.map {
                        Self.said(["ip", $0, "-d", "-j"] + words)
                    }.joined(separator: "\n")
                        + (words[0] == "link" ? Self.said(["ip", "-d", "-s", "-j"] + words) : "")
                ))
        }
        add("nft.json", [["nft", "-j", "list", "ruleset"]])
        add("nft.txt", [["nft", "list", "ruleset"]])
        add("iptables.txt", [["iptables-save", "-c"], ["ip6tables-save", "-c"]])
        let listed = try? JSON(parsing: Array(HelperProgram(["ip", "-j", "link"]).output().utf8))
        let links = (listed?.elements ?? []).compactMap { $0["ifname"]?.text }
        add(
            "tc.txt",
            [["tc", "-s", "-d", "qdisc"]]
                + links.flatMap { link in
                    [
                        ["tc", "-s", "-d", "class", "show", "dev", link],
                        ["tc", "-s", "filter", "show", "dev", link],
                    ]
                })
        add("bridge.json", [["bridge", "-j", "vlan"], ["bridge", "-j", "fdb"]])
        add(
            "reservations.txt",
            places.sources.dataDirectories.flatMap {
                [["ls", "-laR", $0], ["grep", "-rIs", "", $0]]
            })
        parts.append(("networks.txt", configurations()))
        parts.append(("results.txt", results()))
        add("log.txt", [["tail", "-n", "\(lines)", log]])
        add("log-errors.json", [own(["log", "--failed", "--file", log, "--lines", "100"])])
        return parts
    }

    /// This command itself, with the same places.
    private func own(_ words: [String]) -> [String] {
        var all = [HelperProgram.own] + words + ["-o", "json"]
        guard words[0] != "log" else { return all }
        all += ["--conf-dir", places.confDir, "--cache-dir", places.cacheDir]
        for directory in places.binDir { all += ["--bin-dir", directory] }
        for directory in places.dataDir { all += ["--data-dir", directory] }
        return all
    }

    private func configurations() -> String {
        FileManager.default.names(in: places.confDir).map { name in
            let path = "\(places.confDir)/\(name)"
            guard let data = FileManager.default.contents(atPath: path) else {
                return "# \(path): cannot be read\n"
            }
            return "# \(path)\n" + Self.masked(Array(data))
        }.joined(separator: "\n")
    }

    private func results() -> String {
        let (entries, damaged) = ResultCache(places.cacheDir).entries()
        let texts = entries.map { entry -> String in
            let arguments = JSON.object(
                entry.arguments.map { (key: $0.key, value: JSON.string($0.value)) })
            let json: JSON = [
                "owner": .string(entry.owner.tag), "netns": .string(entry.netns),
                "arguments": arguments, "capabilities": entry.capabilities,
                "result": entry.result,
            ]
            return json.withoutSecrets.text(indented: true)
        }
        return (texts + damaged.map { "\($0): damaged" }).joined(separator: "\n")
    }

    private static func masked(_ bytes: [UInt8]) -> String {
        guard let json = try? JSON(parsing: bytes) else {
            return "not JSON, and left out, as a secret could not be told: \(bytes.count) bytes\n"
        }
        return json.withoutSecrets.text(indented: true)
    }

    /// A text without the pieces of files at which a parser gave up: a secret may be in them.
    private static func withoutPieces(_ text: String) -> String {
        guard text.contains(JSON.piece) else { return text }
        if let json = try? JSON(parsing: Array(text.utf8)) {
            return json.withoutPieces.text(indented: true) + "\n"
        }
        return text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            guard let start = line.firstRange(of: JSON.piece) else { return String(line) }
            // A line of the log is a value of its own.
            let json = try? JSON(parsing: Array(line.utf8))
            return json?.withoutPieces.text(indented: false)
                ?? String(line[..<start.upperBound]) + "…"
        }.joined(separator: "\n")
    }

    /// What a command says, after a line with the command, or why there is nothing.
    private static func said(_ words: [String]) -> String {
        let title = "$ " + words.joined(separator: " ").replacing(HelperProgram.own, with: "cnictl")
        let path = words[0].hasPrefix("/") ? FilePath(words[0]) : HelperProgram(words).path
        guard let path else { return "\(title)\nnot installed\n" }
        do throws(CNIError) {
            // What it complains of belongs to what it says.
            let (status, bytes, _) = try Subprocess.run(
                "/bin/sh", ["-c", "exec \"$@\" 2>&1", "sh", path.string] + words.dropFirst())
            return "\(title)\n" + withoutPieces(String(decoding: bytes, as: UTF8.self))
                + (status == 0 ? "" : "# status \(status)\n")
        } catch {
            return "\(title)\n\(error)\n"
        }
    }
}

extension FileManager {
    /// The names in a directory, in order.
    fileprivate func names(in directory: String) -> [String] {
        ((try? contentsOfDirectory(atPath: directory)) ?? []).sorted()
    }
}

extension JSON {
    /// Parts of keys whose values are nobody else's affair.
    private static let secretWords = [
        "secret", "token", "pass", "pwd", "credential", "auth", "key", "cert", "dsn",
    ]

    /// This, with the values of keys that look like secrets, and passwords in URLs, left out.
    fileprivate var withoutSecrets: JSON {
        if let members {
            return .object(
                members.map { name, value in
                    let isSecret = Self.secretWords.contains { name.lowercased().contains($0) }
                    return (key: name, value: isSecret ? "left out" : value.withoutSecrets)
                })
        }
        if let elements { return .array(elements.map(\.withoutSecrets)) }
        guard let text, text.contains("://"), text.contains("@") else { return self }
        return "left out"
    }

    /// What a parser's complaint has before the piece of the file.
    fileprivate static let piece = "near '"

    /// This, with the pieces of files in complaints left out.
    fileprivate var withoutPieces: JSON {
        if let members {
            return .object(members.map { (key: $0.key, value: $0.value.withoutPieces) })
        }
        if let elements { return .array(elements.map(\.withoutPieces)) }
        guard let text, let start = text.firstRange(of: Self.piece) else { return self }
        return .string(text[..<start.upperBound] + "…")
    }
}
