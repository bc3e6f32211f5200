import ArgumentParser
import CNI
import Operator

/// Attaches a namespace to a network.
struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Attaches a namespace to a network and prints the result.",
        discussion: """
            The result is JSON in either form of the output. \
            The chain's plugins are run as a runtime runs them, and the result is kept for check and \
            del. When a plugin refuses, what those before it have made is taken back, but for what all \
            containers share, as a bridge. What is attached already is left as it is.
            """)

    @Argument(help: "The network's name, or a file with a slash in its path.")
    var network: String

    @Argument(help: "The namespace: a path, or a name below /run/netns.")
    var namespace: String

    @OptionGroup var target: TargetOptions
    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws { try requireNamespace(namespace) }

    func run() throws {
        try requireRoot()
        let list = try places.network(network)
        let target = try target.target(namespace)
        try places.requireNew(target, on: list)
        self.target.nameIdleCapabilities(on: list)
        let result = try places.runtime.add(list, target)
        print(result.text(indented: true))
    }
}
