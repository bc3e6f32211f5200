import Foundation
import PluginRuntime
import Testing

@testable import Plugins

/// The pages of docs/plugins against the keys as the code declares them.
@Suite struct DocumentationTests {
    static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("docs/plugins")

    /// The rows of the table under the heading `Keys`, a row's cells.
    private func rows(_ plugin: String) throws -> [[String]] {
        let page = try String(
            contentsOf: Self.directory.appendingPathComponent("\(plugin).md"), encoding: .utf8)
        let section = page.components(separatedBy: "\n## ").first { $0.hasPrefix("Keys") }
        return (section ?? "").split(separator: "\n").filter { $0.hasPrefix("| `") }.map { row in
            row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    @Test("every plugin has a page with its name for a title", arguments: pluginNames)
    func page(name: String) throws {
        let page = try String(
            contentsOf: Self.directory.appendingPathComponent("\(name).md"), encoding: .utf8)
        #expect(page.hasPrefix("# \(name)\n"))
    }

    @Test(
        "a page's table is the code's keys: name, type, default and meaning", arguments: pluginNames
    )
    func keys(name: String) throws {
        let declared = (plugin(named: name)?.keys ?? []).map { key in
            let standard =
                switch key.defaultValue {
                case nil: "–"
                case "": "empty"
                case .some(let value): "`\(value)`"
                }
            return ["`\(key.path)`", key.type, standard, key.summary]
        }
        let documented = try rows(name)
        #expect(documented.map { $0[0] }.sorted() == declared.map { $0[0] }.sorted())
        for key in declared {
            let isThere = documented.contains(key)
            #expect(isThere, "\(key)")
        }
    }

    @Test("the README and the Makefile list every plugin", arguments: pluginNames)
    func lists(name: String) throws {
        let root = Self.directory.deletingLastPathComponent().deletingLastPathComponent()
        let text = { (path: String) in
            try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
        }
        #expect(try text("README.md").contains("[\(name)](docs/plugins/\(name).md)"))
        let names =
            try text("Makefile").split(separator: "\n")
            .first { $0.hasPrefix("PLUGINS :=") }?.split(separator: " ").dropFirst(2) ?? []
        #expect(names.map(String.init) == pluginNames)
    }
}
