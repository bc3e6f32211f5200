import ArgumentParser
import CNI
import Operator

/// Writes the manual's pages.
struct Manual: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Writes the manual's pages, cnictl.8 and one for each command.",
        discussion: "They are made from the same declarations as the help.", shouldDisplay: false)

    @Argument(help: "The directory to write to.")
    var directory: String

    @OptionGroup var output: OutputOptions

    func run() throws {
        let dump = try JSON(parsing: Array(CNICtl._dumpHelp().utf8))
        guard let root = dump["command"] else { return }
        let commands = (root["subcommands"]?.elements ?? []).filter {
            $0["shouldDisplay"] != .bool(false) && $0["commandName"] != "help"
        }
        let whole = ManualPage(root, of: nil, commands: commands)
        let pages = commands.map { ManualPage($0, of: whole.name, commands: []) }
        try write(whole, others: pages)
        for page in pages {
            try write(page, others: [whole] + pages.filter { $0.name != page.name })
        }
        output.print(["directory": .string(directory), "pages": .integer(commands.count + 1)]) {}
    }

    private func write(_ page: ManualPage, others: [ManualPage]) throws(CNIError) {
        try Metrics.write(page.text(others: others), to: "\(directory)/\(page.name).8")
    }
}

/// A page in the language of man(7), from a command's description.
private struct ManualPage {
    let name: String
    private let command: JSON
    private let parent: String?
    private let commands: [JSON]

    init(_ command: JSON, of parent: String?, commands: [JSON]) {
        self.command = command
        self.parent = parent
        self.commands = commands
        let own = command["commandName"]?.text ?? ""
        name = parent.map { "\($0)-\(own)" } ?? own
    }

    /// The page, which leads to others.
    func text(others: [ManualPage]) -> String {
        let call = parent.map { "\($0) \(command["commandName"]?.text ?? "")" } ?? name
        let arguments = (command["arguments"]?.elements ?? []).filter {
            $0["shouldDisplay"] != .bool(false)
        }
        var lines = [".TH \(name.uppercased()) 8", ".SH NAME"]
        lines.append(Self.escaped("\(name) - \(command["abstract"]?.text ?? "")"))
        lines += [".SH SYNOPSIS", ".B \(Self.escaped(call))"]
        if !commands.isEmpty { lines.append(".I command") }
        for argument in arguments {
            let word = Self.usage(argument)
            let text = argument["isOptional"] == .bool(true) ? "[\(word)]" : word
            lines.append(
                Self.escaped(text + (argument["isRepeating"] == .bool(true) ? " ..." : "")))
        }
        if let discussion = command["discussion"]?.text, !discussion.isEmpty {
            lines += [".SH DESCRIPTION", Self.escaped(discussion)]
        }
        lines += section("COMMANDS", commands) { "\($0["commandName"]?.text ?? "")" }
        lines += section("ARGUMENTS AND OPTIONS", arguments) { Self.usage($0) }
        let names = others.map { ".BR \(Self.escaped($0.name)) (8)" }
        lines += [".SH SEE ALSO"] + names.dropLast().map { $0 + "," } + names.suffix(1)
        return lines.joined(separator: "\n") + "\n"
    }

    private func section(_ title: String, _ items: [JSON], _ head: (JSON) -> String) -> [String] {
        guard !items.isEmpty else { return [] }
        var lines = [".SH \(title)"]
        for item in items {
            var text = item["abstract"]?.text ?? ""
            if let standard = item["defaultValue"]?.text { text += " The default is \(standard)." }
            lines += [".TP", ".B \(Self.escaped(head(item)))", Self.escaped(text)]
        }
        return lines
    }

    /// `--conf-dir <conf-dir>`, `<network>`.
    private static func usage(_ argument: JSON) -> String {
        let value = argument["valueName"]?.text.map { "<\($0)>" } ?? ""
        let names = (argument["names"]?.elements ?? []).map { name in
            (name["kind"] == "long" ? "--" : "-") + (name["name"]?.text ?? "")
        }
        guard !names.isEmpty else { return value }
        return names.joined(separator: ", ") + (argument["kind"] == "option" ? " \(value)" : "")
    }

    /// The text with what man(7) would take for its own made plain.
    private static func escaped(_ text: String) -> String {
        let plain = text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
            .replacing("…", with: "...")
        return plain.split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.hasPrefix(".") || $0.hasPrefix("'") ? "\\&" + $0 : String($0) }
            .joined(separator: "\n")
    }
}
