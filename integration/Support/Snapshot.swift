import Foundation

/// All that a plugin could leave on a host, a line for each thing, as `ip`, `tc`, `nft`, `sysctl`
/// and the file system tell it.
struct Snapshot: Equatable, CustomStringConvertible {
    let lines: [String]

    /// The world's host and its files.
    init(of world: World) throws {
        try self.init(namespace: world.host, directory: world.directory)
    }

    /// A container's inside.
    init(of container: World.Container) throws {
        try self.init(namespace: container.path, directory: nil)
    }

    private init(namespace: String, directory: String?) throws {
        var lines: [String] = []
        let commands = [
            "ip -o link", "ip -o addr", "ip -4 route show table all",
            "ip -6 route show table all", "ip -4 rule", "ip -6 rule", "bridge fdb",
            "tc qdisc", "nft list ruleset",
            "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
        ]
        for command in commands {
            let text = try output(of: command, in: namespace)
            lines += text.split(separator: "\n").filter { !Snapshot.comesByItself($0) }
                .map { "\(command): \(Snapshot.lasting($0))" }
        }
        if let directory { lines += Snapshot.files(below: directory) }
        self.lines = lines.sorted()
    }

    /// Whether a line is about what the kernel adds to a link a second or two after it comes up,
    /// and takes away with it.
    private static func comesByItself(_ line: Substring) -> Bool {
        line.hasPrefix("33:33:") || line.hasPrefix("01:00:5e:")
            || line.hasPrefix("multicast ff00::/8")
            || line.hasPrefix("fe80::/64 ") || line.contains("inet6 fe80::")
            || (line.contains(" fe80::") && line.contains("table local"))
    }

    /// A line without what changes by itself: indices, link states and timers.
    private static func lasting(_ line: Substring) -> String {
        var line = String(line)
        for (pattern, stays) in [
            (#"^\d+: "#, ""), (#"@if\d+"#, ""), (#"link-netns \S+|link-netnsid \d+"#, ""),
            (#"(NO-CARRIER|LOWER_UP),?|,(NO-CARRIER|LOWER_UP)"#, ""),
            (#"state (UP|DOWN|UNKNOWN|LOWERLAYERDOWN)"#, ""),
            (#"\b(tentative|dadfailed|linkdown|permanent)\b"#, ""),
            (#"counter packets \d+ bytes \d+"#, "counter"), (#"\s+"#, " "),
        ] {
            line = line.replacingOccurrences(
                of: pattern, with: stays, options: .regularExpression)
        }
        return line.trimmingCharacters(in: .whitespaces)
    }

    private static func files(below directory: String) -> [String] {
        var lines: [String] = []
        for case let path as String in FileManager.default.enumerator(atPath: directory) ?? .init()
        {
            // host-local's lock must stay for whoever waits for it, and where it left off is meant
            // to be remembered; what starts with a dot is derived from the reservations.
            guard !path.split(separator: "/").contains(where: { $0.hasPrefix(".") }),
                !path.hasSuffix("/lock"), !path.contains("/last_reserved_ip"),
                let content = FileManager.default.contents(atPath: "\(directory)/\(path)")
            else { continue }
            let text = String(decoding: content, as: UTF8.self)
            let mode = try? FileManager.default.attributesOfItem(atPath: "\(directory)/\(path)")
            lines.append("file \(path): \(mode?[.posixPermissions] ?? 0) \(text)")
        }
        return lines
    }

    /// What is in one snapshot and not in the other, for a reader.
    func difference(from other: Snapshot) -> String {
        let gone = other.lines.filter { !lines.contains($0) }.map { "- \($0)" }
        let new = lines.filter { !other.lines.contains($0) }.map { "+ \($0)" }
        return (gone + new).joined(separator: "\n")
    }

    var description: String { lines.joined(separator: "\n") }
}

extension World {
    /// Runs `body` and fails unless the host is afterwards as it was before; the kernel may take a
    /// moment to clear a namespace away.
    func unchanged(_ body: () throws -> Void) throws {
        let before = try Snapshot(of: self)
        try body()
        var difference = try Snapshot(of: self).difference(from: before)
        for _ in 0..<10 where !difference.isEmpty {
            usleep(200_000)
            difference = try Snapshot(of: self).difference(from: before)
        }
        guard difference.isEmpty else { throw Failure("the host has changed:\n\(difference)") }
    }
}
