import ArgumentParser
import CNI
import Operator

/// Detaches a namespace from a network.
struct Delete: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "del",
        abstract: "Detaches a namespace from a network.",
        discussion: """
            Works with the namespace gone: give an empty one, or its old path, and the container's \
            ID. Every plugin of the chain is called, also when one of them fails. The configuration is \
            the one that it was made by, where that is kept, also when the network's has gone.
            """)

    @Argument(help: "The network's name, or a file with a slash in its path.")
    var network: String

    @Argument(help: "The namespace: a path, a name below /run/netns, or nothing.")
    var namespace: String = ""

    @OptionGroup var target: TargetOptions
    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard !namespace.isEmpty || target.containerID != nil else {
            throw ValidationError("give a namespace or --container-id")
        }
    }

    func run() throws {
        let target = try target.target(namespace)
        let list = try places.network(network, of: target)
        if self.target.containerID == nil { try places.requireSame(target, on: list) }
        try places.runtime.del(list, target)
        output.print(
            [
                "network": .string(list.name), "container": .string(target.containerID),
                "interface": .string(target.interface), "removed": true,
            ]) {}
    }
}
