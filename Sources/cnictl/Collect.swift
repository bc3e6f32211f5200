import ArgumentParser
import CNI
import Operator
import PluginRuntime

/// Removes what is left of containers that have gone.
struct Collect: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Removes what is left of containers that have gone.",
        discussion: "What is kept is what `--valid` names.")

    @Argument(help: "The network's name, or a file with a slash in its path.")
    var network: String

    @Option(help: "An attachment to keep, as CONTAINER or CONTAINER/INTERFACE; several times.")
    var valid: [String] = []

    @OptionGroup var places: Places

    func run() throws {
        let list = try places.network(network)
        try places.runtime.gc(
            list,
            valid: Set(
                valid.map { text in
                    let words = text.split(separator: "/").map(String.init)
                    return NetworkConfiguration.ValidAttachment(
                        containerID: words.first ?? "",
                        interface: words.count > 1 ? words[1] : "eth0")
                }))
    }
}
