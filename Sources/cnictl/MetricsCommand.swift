import ArgumentParser
import CNI
import Operator

/// Prints the host's networks in numbers.
struct MetricsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics",
        abstract: "Prints the host's networks in numbers, as OpenMetrics text.",
        discussion: """
            For the node exporter's textfile directory: --textfile, from a timer. Durations and \
            errors of calls are those of the plugins' log, if it is on.
            """)

    @Option(help: "A file to write instead, whole at every moment.")
    var textfile: String?

    @Option(help: "Where the plugins' log is.")
    var log = environment("SWIFT_CNI_LOG") ?? LoggedCall.standardPath

    @OptionGroup var places: Places

    func run() throws {
        try requireRoot()
        let text = try Metrics.text(
            Inventory(places.sources), networks: places.confDir,
            calls: LoggedCall.all(in: log))
        guard let textfile else { return print(text, terminator: "") }
        try Metrics.write(text, to: textfile)
    }
}
