import CNI
import Foundation
import PluginRuntime
import Testing

@testable import Plugins

/// docs/plugins says of every key what the code says.
@Suite struct DocumentationTests {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path

    private struct Missing: Error {}

    private func text(_ path: String) throws -> String {
        try String(contentsOfFile: "\(Self.root)/\(path)", encoding: .utf8)
    }

    @Test("the table of keys is the code's", arguments: pluginNames)
    func keys(name: String) throws {
        guard let plugin = plugin(named: name) else { throw Missing() }
        let rows = try text("docs/plugins/\(name).md").split(separator: "\n")
        for key in plugin.keys {
            let standard = key.defaultValue.map { $0.isEmpty ? "empty" : "`\($0)`" } ?? "–"
            let row = "| `\(key.path)` | \(key.type) | \(standard) | \(key.summary) |"
            #expect(rows.contains { $0 == row }, "\(row)")
        }
    }

    @Test(
        "the list of plugins in the README and the Makefile is the code's", arguments: pluginNames)
    func lists(name: String) throws {
        #expect(try text("README.md").contains("[\(name)](docs/plugins/\(name).md)"))
        let names =
            try text("Makefile").split(separator: "\n")
            .first { $0.hasPrefix("PLUGINS :=") }?.split(separator: " ").dropFirst(2) ?? []
        #expect(names.map(String.init) == pluginNames)
    }
}
