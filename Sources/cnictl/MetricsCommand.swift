import ArgumentParser
import CNI
import Operator

/// Prints the host's networks in numbers.
struct MetricsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics",
        abstract: "Prints the host's networks in numbers, as OpenMetrics text.",
        discussion: """
            For the node exporter's textfile directory: --textfile, from a timer. For a scraper: \
            --listen, which answers one client after the other. Durations and \
            errors of calls are those of the plugins' log, if it is on.
            """)

    @Option(help: "A file to write instead, whole at every moment.")
    var textfile: String?

    @Option(help: "Where the plugins' log is.")
    var log = environment("SWIFT_CNI_LOG") ?? LoggedCall.standardPath

    @Option(
        help:
            "Answers GET /metrics at ADDRESS:PORT until it is ended; the port alone is all addresses."
    )
    var listen: ScrapeServer.Place?

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws {
        if listen != nil, textfile != nil || output.output == .json {
            throw ValidationError("--listen goes with neither --textfile nor JSON")
        }
    }

    func run() throws {
        try requireRoot()
        if let listen { try ScrapeServer(listeningAt: listen).serve(text) }
        let text = try text()
        if let textfile { try Metrics.write(text, to: textfile) }
        output.print(.array(text.split(separator: "\n").compactMap { sample($0) })) {
            if textfile == nil { print(text, terminator: "") }
        }
    }

    private func text() throws -> String {
        try Metrics.text(
            Inventory(places.sources), networks: places.confDir, calls: LoggedCall.all(in: log))
    }

    /// A line of OpenMetrics text as JSON; nil for one that is no sample.
    private func sample(_ line: Substring) -> JSON? {
        guard !line.hasPrefix("#"), let space = line.lastIndex(of: " ") else { return nil }
        var labels: [(key: String, value: JSON)] = []
        for match in line[..<space].matches(of: /([a-z_]+)="((?:[^"\\]|\\.)*)"/) {
            labels.append((String(match.1), .string(String(match.2))))
        }
        return [
            "name": .string(String(line.prefix { $0 != "{" && $0 != " " })),
            "labels": .object(labels),
            "value": .string(String(line[line.index(after: space)...])),
        ]
    }
}
