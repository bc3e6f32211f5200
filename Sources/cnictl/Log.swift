import ArgumentParser
import CNI
import FoundationEssentials
import Glibc
import Operator

/// Reads the plugins' log, and turns it on and off.
struct Log: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Reads the log of the plugins' calls, or turns it on and off.",
        discussion: """
            The log is off unless it is turned on. Nothing of a network's configuration is in it. \
            --off removes the file with the calls in it; one that --to has named stays.
            """)

    @Flag(help: "Makes the plugins log from now on.")
    var on = false

    @Flag(help: "Makes the plugins log no more, and removes the log.")
    var off = false

    @Option(help: "With --on: a file to log to, or journal.")
    var to: String?

    @Option(help: "Where the log is.")
    var file = environment("SWIFT_CNI_LOG") ?? LoggedCall.standardPath

    @Flag(help: "Only calls that failed.")
    var failed = false

    @Option(name: .shortAndLong, help: "Only the last so many calls.")
    var lines: Int?

    @Flag(name: .shortAndLong, help: "Goes on with calls as they are logged.")
    var follow = false

    @Argument(
        help:
            "Only calls whose network, plugin or verb this is, or whose container: its ID, or the start of it."
    )
    var filter: [String] = []

    @OptionGroup var output: OutputOptions

    func validate() throws {
        try requireWords(filter)
        if on, off { throw ValidationError("--on and --off exclude each other") }
        if to != nil, !on { throw ValidationError("--to needs --on") }
        try requireLines(lines)
    }

    func run() throws {
        if on || off {
            if on {
                try LoggedCall.turnOn(at: file, to: to)
            } else {
                try LoggedCall.turnOff(at: file)
            }
            return output.print(["file": .string(file), "on": .bool(on)]) {}
        }
        if !follow, unsafe access(file, F_OK) != 0 {
            Terminal.complain("\(file): there is no log; log --on turns it on")
        }
        let logged = LoggedCall.all(in: file)
        var seen = logged.count
        var calls = chosen(logged[...], of: logged)
        if let lines { calls = calls.suffix(lines) }
        let all = calls
        output.print(.array(all.map(\.json))) {
            for call in all { print(line(call)) }
        }
        guard follow else { return }
        while true {
            usleep(300_000)
            let now = LoggedCall.all(in: file)
            if now.count < seen { seen = 0 }
            for call in chosen(now.dropFirst(seen), of: now) {
                print(output.output == .json ? call.json.text(indented: false) : line(call))
            }
            _ = fflush(nil)
            seen = now.count
        }
    }

    /// Those of some calls that are asked for; an ID of the log is not taken for the start of another.
    private func chosen(_ calls: ArraySlice<LoggedCall>, of logged: [LoggedCall]) -> [LoggedCall] {
        let containers = Set(logged.map(\.container))
        return calls.filter { call in
            (!failed || call.code != 0)
                && filter.allSatisfy { word in
                    call.network == word || call.plugin == word || call.verb == word.uppercased()
                        || call.container == word
                        || !containers.contains(word) && call.container.hasPrefix(word)
                }
        }
    }

    /// `2026-11-24T11:52:03.123Z ADD    bridge     4.21 ms web c1 eth0`.
    private func line(_ call: LoggedCall) -> String {
        let pad = { (text: String, width: Int) in
            text + String(repeating: " ", count: max(0, width - text.count))
        }
        let time = call.json["time"]?.text ?? ""
        let duration = fixed(Double(call.microseconds) / 1000, 2) + " ms"
        let owner = [call.network, call.container, call.interface].filter { !$0.isEmpty }
        let start =
            "\(Terminal.styled(time, .dim)) \(pad(call.verb, 6)) \(pad(call.plugin, 11)) "
            + String(repeating: " ", count: max(0, 12 - duration.count)) + duration + "  "
            + owner.joined(separator: " ")
        guard call.code != 0 else { return start }
        return start + "  " + Terminal.styled("\(call.code): \(call.error ?? "")", .red)
    }
}
