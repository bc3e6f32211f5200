import ArgumentParser
import CNI
import Operator

/// Looks for what is wrong with networks' configurations.
struct LintCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lint",
        abstract: "Looks for what is wrong with the configurations of networks.",
        discussion: """
            A directory's networks are compared with each other too. Ends with 2 if there is an \
            error, and with --strict if there is a warning.
            """)

    @Argument(
        help: "Files, or directories; without any, the configured directory.", completion: .file())
    var paths: [String] = []

    @Flag(help: "Warnings count as errors.")
    var strict = false

    @Flag(help: "Looks at the files alone: not at installed plugins, permissions and rules.")
    var filesOnly = false

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func run() throws {
        let lint = Lint(pluginDirectories: places.binDir, looksAtHost: !filesOnly)
        var faults: [Lint.Fault] = []
        for path in paths.isEmpty ? [places.confDir] : paths {
            faults += try lint.faults(at: path)
        }
        output.print(.array(faults.map(\.json))) {
            for fault in faults {
                let style: Terminal.Style = fault.severity == .error ? .red : .yellow
                print(
                    fault.file + ": " + (fault.path.isEmpty ? "" : fault.path + ": ")
                        + Terminal.styled(fault.severity.rawValue, style) + ": " + fault.message)
            }
        }
        if faults.contains(where: { strict || $0.severity == .error }) { throw Exit.found }
    }
}

extension Lint.Fault {
    fileprivate var json: JSON {
        [
            "severity": .string(severity.rawValue), "file": .string(file), "path": .string(path),
            "message": .string(message),
        ]
    }
}
