import ArgumentParser
import CNI
import Operator
import PluginRuntime

/// Compares an attachment with what it should be.
struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compares an attachment with what it should be.",
        discussion: """
            What it should be is what the configuration says that it was made by. Every plugin of the \
            chain is asked. Ends with 2, and names every difference, if there is one. The ID may be \
            the start of one.
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
        var target = try target.target(namespace)
        if let id = self.target.containerID {
            let there = try places.attachment(
                target, on: places.name(of: network), startingWith: 1)
            target.containerID = there?.owner.containerID ?? id
        }
        let list = try places.network(network, of: target)
        if self.target.containerID == nil { try places.requireSame(target, on: list) }
        let runtime = places.runtime
        let meant = target
        let outcome = Result { () throws(CNIError) in try runtime.check(list, meant) }
        guard case .failure(let error) = outcome else {
            return output.print(["differences": []]) {}
        }
        guard error.code == CNIError.Code.internalError.rawValue else { throw error }
        let differences = error.message.split(separator: "; ").map { JSON.string(String($0)) }
        output.print(["differences": .array(differences)]) { Terminal.complain("\(error)") }
        throw Exit.found
    }
}
