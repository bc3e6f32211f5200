import ArgumentParser
import CNI
import Operator
import PluginRuntime

/// Detaches a namespace from a network.
struct Delete: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "del",
        abstract: "Detaches a namespace from a network.",
        discussion: """
            Works with the namespace gone: give an empty one, or its old path, and the container's \
            ID. Every plugin of the chain is called, also when one of them fails. The configuration is \
            the one that it was made by, where that is kept, also when the network's has gone; without \
            either, what carries the owner's name is removed. An ID of 12 characters or more may be the \
            start of one. It is no failure if nothing is there, and that is said.
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
        try requireRoot()
        var target = try target.target(namespace)
        let name = try places.name(of: network)
        let isGiven = self.target.containerID != nil
        // Who says it twice means the same one, and nobody whose ID begins so.
        let there = try places.attachment(
            target, on: name, startingWith: isGiven ? Self.shortestStart : .max)
        target.containerID = there?.owner.containerID ?? target.containerID
        do throws(CNIError) {
            let list = try places.network(network, of: target)
            if !isGiven { try places.requireSame(target, on: list) }
            try places.runtime.del(list, target)
        } catch {
            guard error.code == CNIError.Code.unknownContainer.rawValue, let there else {
                throw error
            }
            // Neither its configuration nor its network's is there: its tag is.
            try Collector(
                places.runtime, configurationDirectory: places.confDir, sources: places.sources
            ).remove(there)
        }
        output.print(
            [
                "network": .string(name), "container": .string(target.containerID),
                "interface": .string(target.interface), "removed": .bool(there != nil),
            ]
        ) {
            guard there == nil else { return }
            let owner = Owner(
                network: name, containerID: target.containerID, interface: target.interface)
            Terminal.complain("nothing was there of \(owner.tag)")
        }
    }

    /// How many characters the start of an ID has at least.
    private static let shortestStart = 12
}
