import ArgumentParser
import CNI
import Glibc
import Operator

/// Runs a command in a namespace of its own that is attached to a network.
struct Execute: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec",
        abstract: "Runs a command in a fresh namespace that is attached to a network.",
        discussion: """
            The namespace is detached when the command ends, also when a signal ends it. The exit \
            status is the command's, or 128 and the number of the signal that ended it. Standard output \
            is the command's; -o json is for this command's own errors.
            """)

    @Argument(help: "The network's name, or a file with a slash in its path.")
    var network: String

    @Argument(
        parsing: .postTerminator,
        help: "The command and its arguments, behind --; without any, a shell.")
    var command: [String] = []

    @OptionGroup var target: TargetOptions
    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func run() throws {
        try requireRoot()
        let list = try places.network(network)
        var words = command
        if words.isEmpty { words = [environment("SHELL") ?? "/bin/sh"] }
        var target = try target.target("cnictl-\(getpid())")
        if self.target.containerID == nil { target.containerID = "cnictl-exec-\(getpid())" }
        try places.requireNew(target, on: list)
        self.target.nameIdleCapabilities(on: list)
        let signals = SignalWatch()
        let box = try Sandbox.make()
        target.netns = box.path
        let runtime = places.runtime
        _ = try runtime.add(list, target)
        let outcome = Self.end(of: words, in: box, signals)
        try runtime.del(list, target)
        throw ExitCode(try outcome.get())
    }

    private static func end(
        of words: [String], in box: borrowing Sandbox, _ signals: SignalWatch
    ) -> Result<Int32, CNIError> {
        do throws(CNIError) {
            return .success(signals.wait(for: try box.spawn(words, signals)))
        } catch {
            return .failure(error)
        }
    }
}
