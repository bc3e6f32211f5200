import ArgumentParser
import CNI
import Glibc
import Operator
import Plugins

/// Puts the plugins into a runtime's directory.
struct Install: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Puts the plugins into a runtime's directory.",
        discussion: """
            Each name is whole at every moment, also while a runtime calls it. What is right already \
            is left alone, and each plugin is asked for its versions at the end.
            """)

    @Option(help: "The runtime's directory.")
    var dest = Runtime.standardDirectories[0]

    @Option(help: "The program, or the directory with it; without it, cni beside this command.")
    var from: String?

    @Option(help: "A plugin that somebody else's program is to go on with; several times.")
    var skip: [String] = []

    @OptionGroup var output: OutputOptions

    func validate() throws {
        if let stranger = skip.first(where: { !pluginNames.contains($0) }) {
            throw ValidationError(
                "--skip \(stranger): the plugins are \(pluginNames.joined(separator: ", "))")
        }
    }

    func run() throws {
        let changes = try Installation.install(
            from: from ?? Self.beside(), to: dest, skipping: skip)
        let json = changes.map { change -> JSON in
            ["name": .string(change.name), "changed": .bool(change.isNew)]
        }
        output.print(.array(json)) {
            let new = changes.filter(\.isNew).map(\.name)
            print(
                new.isEmpty
                    ? "\(dest): everything is in its place"
                    : "\(dest): installed \(new.joined(separator: ", "))")
        }
    }

    /// The plugins of the build that this command is of, or of its own directory.
    private static func beside() throws(CNIError) -> String {
        let own = HelperProgram.own
        let directory = own.prefix(through: own.lastIndex(of: "/") ?? own.startIndex)
        for place in ["\(directory)cni", String(directory)]
        where unsafe access("\(place)/swift-cni", R_OK) == 0 { return place }
        throw CNIError(
            .unknownContainer, "the program is not beside \(own): give --from its directory")
    }
}
