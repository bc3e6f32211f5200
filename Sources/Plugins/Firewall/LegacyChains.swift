import Addressing
import CNI
import Netlink
import PluginRuntime
import SystemPackage

/// The chains of iptables as it was before nftables, which no netlink reaches: its own programs read and
/// write them.
struct LegacyChains {
    /// The operator's chain.
    let adminChain: String

    private static let own = "CNI-FORWARD"
    /// How often a change is tried again because somebody else's came first.
    private static let attempts = 5
    private static let directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"]

    /// Whether the calling thread's namespace has such a table `filter`.
    static func areThere(_ family: Family) -> Bool {
        let path = "/proc/thread-self/net/\(family == .v4 ? "ip" : "ip6")_tables_names"
        guard let file = try? FileDescriptor.open(FilePath(path), .readOnly) else { return false }
        defer { try? file.close() }
        var names = [UInt8](repeating: 0, count: 256)
        let count = unsafe names.withUnsafeMutableBytes { unsafe try? file.read(into: $0) } ?? 0
        return names[..<count].split(separator: UInt8(ascii: "\n")).contains {
            String(decoding: $0, as: UTF8.self) == "filter"
        }
    }

    /// Whether an address is admitted, and packets come to where it is.
    func admits(_ address: IPAddress) throws(KernelError) -> Bool {
        guard Self.areThere(address.family) else { return false }
        let lines = try list(address.family)
        return (rules(for: address) + jumps.map(\.rule)).allSatisfy { lines.contains($0) }
    }

    /// Whether there is any rule for an address.
    func knows(_ address: IPAddress) throws(KernelError) -> Bool {
        guard Self.areThere(address.family) else { return false }
        let lines = try list(address.family)
        return rules(for: address).contains { lines.contains($0) }
    }

    /// Admits an address, and makes what chains are missing; whether it was not admitted yet.
    func admit(_ address: IPAddress) throws(KernelError) -> Bool {
        try change(address.family) { lines in
            // A chain is made by a command that fails where another ADD has made it meanwhile.
            let chains = [Self.own, adminChain].filter { name in
                !lines.contains { $0.hasPrefix(":" + name + " ") }
            }
            return chains.map { "-N " + $0 }
                + jumps.filter { !lines.contains($0.rule) }.map { "-I \($0.chain) 1" + $0.rest }
                + rules(for: address).filter { !lines.contains($0) }
        }
    }

    /// Admits an address no longer; the chains stay.
    func dismiss(_ address: IPAddress) throws(KernelError) {
        guard Self.areThere(address.family) else { return }
        _ = try change(address.family) { lines in
            rules(for: address).filter { lines.contains($0) }.map { "-D" + $0.dropFirst(2) }
        }
    }

    /// Whether there was anything to change.
    private func change(
        _ family: Family, _ commands: ([String]) -> [String]
    ) throws(KernelError) -> Bool {
        for attempt in 1...Self.attempts {
            let wanted = commands(try list(family))
            guard !wanted.isEmpty else { return false }
            let input = (["*filter"] + wanted + ["COMMIT", ""]).joined(separator: "\n")
            do throws(KernelError) {
                _ = try run("restore", ["--noflush", "-w", "5"], family, input: input)
                return true
            } catch  where attempt < Self.attempts && error.errno == .invalidArgument {
                continue
            }
        }
        return true
    }

    private func list(_ family: Family) throws(KernelError) -> [String] {
        try run("save", ["-t", "filter"], family).split(separator: "\n").map(String.init)
    }

    private func run(
        _ kind: String, _ arguments: [String], _ family: Family, input: String = ""
    ) throws(KernelError) -> String {
        let name = "\(family == .v4 ? "ip" : "ip6")tables-legacy-\(kind)"
        guard let path = Delegate.find(name, in: Self.directories) else {
            throw KernelError(
                "run \(name)", .noSuchFileOrDirectory,
                detail: "the host has rules of iptables-legacy, and its program is not installed")
        }
        let ended: (status: Int32, output: [UInt8], errors: [UInt8])
        do {
            ended = try Subprocess.run(path, arguments, input: Array(input.utf8))
        } catch {
            throw KernelError("run \(name)", .ioError, detail: error.message)
        }
        guard ended.status == 0 else {
            throw KernelError(
                "run \(name)", .invalidArgument, detail: "it ended with status \(ended.status)")
        }
        return String(decoding: ended.output, as: UTF8.self)
    }

    // MARK: rules, as iptables-save shows them

    private var jumps: [(chain: String, rest: String, rule: String)] {
        [("FORWARD", "rules", Self.own), (Self.own, "admin overrides", adminChain)].map {
            let rest = " -m comment --comment \"CNI firewall plugin \($1)\" -j \($2)"
            return ($0, rest, "-A \($0)" + rest)
        }
    }

    private func rules(for address: IPAddress) -> [String] {
        let host = "\(address)/\(address.family.bitWidth)"
        return [
            "-A \(Self.own) -d \(host) -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A \(Self.own) -s \(host) -j ACCEPT",
        ]
    }
}
