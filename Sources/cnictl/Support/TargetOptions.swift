import ArgumentParser
import CNI
import Operator

/// What a runtime says of a container beside its namespace.
struct TargetOptions: ParsableArguments {
    @Option(help: "The container's ID; without it, one made from the namespace's name.")
    var containerID: String?

    @Option(name: .customLong("ifname"), help: "The name of the interface in the container.")
    var interface = environment("CNI_IFNAME") ?? "eth0"

    @Option(
        help:
            "A capability as NAME=JSON; may be given several times: bandwidth='{\"egressRate\":…}'."
    )
    var cap: [String] = []

    @Option(help: "Arguments for the plugins, CNI_ARGS: KEY=VALUE;KEY=VALUE.")
    var args = environment("CNI_ARGS") ?? ""

    func validate() throws {
        do throws(CNIError) {
            try Runtime.Target(
                containerID: containerID ?? "any", netns: "", interface: interface,
                arguments: pairs(), capabilities: capabilities()
            ).validate()
        } catch {
            throw ValidationError("\(error)")
        }
    }

    /// Says of which capabilities no plugin of a network gets to know.
    func nameIdleCapabilities(on network: ConfigurationList) {
        for name in cap.map({ String($0.prefix { $0 != "=" }) })
        where !network.plugins.contains(where: { $0["capabilities"]?[name] == .bool(true) }) {
            Terminal.complain(
                "--cap \(name): no plugin of network \(network.name) declares it, and so none gets it"
            )
        }
    }

    /// The target in a namespace: a path or, without a slash, a name below /run/netns.
    func target(_ namespace: String) throws(CNIError) -> Runtime.Target {
        let path =
            namespace.isEmpty || namespace.contains("/") ? namespace : "/run/netns/\(namespace)"
        let target = Runtime.Target(
            containerID: containerID ?? Self.name(of: path), netns: path, interface: interface,
            arguments: try pairs(), capabilities: try capabilities())
        try target.validate()
        return target
    }

    /// `cnictl-web` for /run/netns/web, `cnictl-42` for /proc/42/ns/net.
    private static func name(of path: String) -> String {
        let parts = path.split(separator: "/").map(String.init)
        let word = parts.first == "proc" && parts.count > 1 ? parts[1] : parts.last ?? ""
        let plain = word.filter { $0.isASCII && ($0.isLetter || $0.isNumber || "_.-".contains($0)) }
        return "cnictl-" + plain
    }

    private func pairs() throws(CNIError) -> [(key: String, value: String)] {
        var pairs: [(key: String, value: String)] = []
        for pair in args.split(separator: ";") {
            let words = pair.split(separator: "=", maxSplits: 1).map(String.init)
            guard words.count == 2 else {
                throw CNIError(.environment, "--args: not KEY=VALUE: \"\(pair)\"")
            }
            pairs.append((words[0], words[1]))
        }
        return pairs
    }

    private func capabilities() throws(CNIError) -> JSON {
        var all: JSON = [:]
        // What cnitool takes, an object with all of them.
        if let text = environment("CAP_ARGS") { all = try Self.parse(text, "CAP_ARGS") }
        for text in cap {
            let words = text.split(separator: "=", maxSplits: 1).map(String.init)
            guard words.count == 2 else {
                throw CNIError(.environment, "--cap: not NAME=JSON: \"\(text)\"")
            }
            all = all.setting(words[0], to: try Self.parse(words[1], "--cap \(words[0])"))
        }
        return all
    }

    private static func parse(_ text: String, _ place: String) throws(CNIError) -> JSON {
        do throws(CNIError) {
            return try JSON(parsing: Array(text.utf8))
        } catch {
            throw error.prefixed(place)
        }
    }
}
