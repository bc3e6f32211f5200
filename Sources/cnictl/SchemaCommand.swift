import ArgumentParser
import CNI
import Operator
import Plugins

/// Prints the JSON Schema of a configuration.
struct SchemaCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "schema",
        abstract: "Prints the JSON Schema of a plugin's configuration, or of a list.",
        discussion:
            "It is made from the keys as the plugins declare them, and JSON in either form of the output."
    )

    @Argument(help: "The plugin; without one, the schema is that of a list with any plugins.")
    var plugin: String?

    @OptionGroup var output: OutputOptions

    func run() throws {
        guard let plugin else { return print(Schema.list.text(indented: true)) }
        guard let schema = Schema.plugin(plugin) else {
            let names = pluginNames.joined(separator: ", ")
            throw CNIError(.unknownContainer, "no plugin \"\(plugin)\"; there are \(names)")
        }
        print(schema.text(indented: true))
    }
}
