import ArgumentParser
import CNI
import Glibc
import Operator
import PluginRuntime

/// The operator's command: every subcommand is a file of this directory.
@main
struct CNICtl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cnictl",
        abstract: "Looks at and looks after the container networks of a host.",
        discussion: """
            All that it shows it reads from the kernel and from the files of the plugins and of the \
            runtime at that moment; it keeps nothing of its own.

            Exit status: 0 done, or all is well; 1 something failed; 2 something was found that \
            is not as it should be; 3 there is no such network, container or file; 64 the \
            command line makes no sense. With -o json a failure is an error object of the \
            specification on standard output, too. `cnictl exec` ends with the command's own.
            """,
        version: Program.version,
        subcommands: [Manual.self],
        groupedSubcommands: [
            CommandGroup(
                name: "Attachments",
                subcommands: [List.self, Explain.self, Log.self, RepairCommand.self, Bundle.self]),
            CommandGroup(
                name: "Traffic", subcommands: [Top.self, Shape.self, MetricsCommand.self]),
            CommandGroup(
                name: "Configurations",
                subcommands: [LintCommand.self, SchemaCommand.self, Install.self]),
            CommandGroup(
                name: "Running networks as a runtime does",
                subcommands: [
                    PlanCommand.self, Add.self, Delete.self, Check.self, Collect.self, Status.self,
                    Execute.self,
                ]),
        ])

    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            end(with: error)
        }
    }

    /// Whether the command line asks for JSON, of whatever subcommand.
    private static var isJSON: Bool {
        let words = CommandLine.arguments.prefix { $0 != "--" }
        return zip(words, words.dropFirst()).contains {
            ["-o", "--output"].contains($0) && $1 == "json"
        } || ["--output=json", "-o=json", "-ojson"].contains(where: words.contains)
    }

    private static func end(with error: any Error) {
        if let end = error as? Exit { Glibc.exit(end.rawValue) }
        let status = exitCode(for: error)
        // What parsing throws: help that was asked for, or why the line makes no sense.
        guard status == .failure, !(error is ExitCode) else {
            if isJSON, status == .validationFailure {
                print(CNIError(.environment, message(for: error)).json.text(indented: true))
            }
            exit(withError: error)
        }
        let failure =
            error as? CNIError ?? .init(ofKernel: error) ?? CNIError(.io, message(for: error))
        if isJSON { print(failure.json.text(indented: true)) }
        Terminal.complain("\(failure)")
        let isMissing = failure.code == CNIError.Code.unknownContainer.rawValue
        Glibc.exit((isMissing ? Exit.missing : .failed).rawValue)
    }
}

/// How the command ends when not with success.
enum Exit: Int32, Error {
    /// Something failed.
    case failed = 1
    /// Something was found that is not as it should be.
    case found = 2
    /// There is no such thing.
    case missing = 3
}
