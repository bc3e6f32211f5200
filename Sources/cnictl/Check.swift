import ArgumentParser
import CNI
import Operator

/// Compares an attachment with what it should be.
struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compares an attachment with what it should be.",
        discussion: """
            What it should be is what the configuration says that it was made by. Every plugin of the \
            chain is asked. Ends with 2, and names every difference, if there is one.
            """)

    @Argument(help: "The network's name, or a file with a slash in its path.")
    var network: String

    @Argument(help: "The namespace: a path, or a name below /run/netns.")
    var namespace: String

    @OptionGroup var target: TargetOptions
    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func run() throws {
        let target = try target.target(namespace)
        let list = try places.network(network, of: target)
        if self.target.containerID == nil { try places.requireSame(target, on: list) }
        let runtime = places.runtime
        let outcome = Result { () throws(CNIError) in try runtime.check(list, target) }
        guard case .failure(let error) = outcome else {
            return output.print(["differences": []]) {}
        }
        guard error.code == CNIError.Code.internalError.rawValue else { throw error }
        let differences = error.message.split(separator: "; ").map { JSON.string(String($0)) }
        output.print(["differences": .array(differences)]) { Terminal.complain("\(error)") }
        throw Exit.found
    }
}
