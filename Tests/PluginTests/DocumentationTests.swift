import CNI
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

    @Test("a list of a page that is in conf/ is the same there")
    func examples() throws {
        let conf = Self.directory.deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("conf")
        var count = 0
        for name in pluginNames {
            let page = try String(
                contentsOf: Self.directory.appendingPathComponent("\(name).md"), encoding: .utf8)
            for block in page.components(separatedBy: "```json\n").dropFirst() {
                let text = block.components(separatedBy: "```").first ?? ""
                let json = try JSON(parsing: Array(text.utf8))
                guard let list = json["name"]?.text, json["plugins"] != nil,
                    let file = try? Data(
                        contentsOf: conf.appendingPathComponent("\(list).conflist"))
                else { continue }
                count += 1
                #expect(try JSON(parsing: Array(file)) == json, "\(name).md: \(list)")
            }
        }
        #expect(count > 10)
    }

    @Test("what pages make is a target of the Makefile")
    func targets() throws {
        let root = Self.directory.deletingLastPathComponent().deletingLastPathComponent()
        let makefile = try String(
            contentsOf: root.appendingPathComponent("Makefile"), encoding: .utf8)
        let parts = try #require(makefile.firstMatch(of: #/TORTURE_PARTS := (.+)/#)).1
        let targets =
            makefile.matches(of: #/(?m)^([a-z][a-z-]*):/#).map { String($0.1) }
            + parts.split(separator: " ").map { "torture-\($0)" }
        let files = FileManager.default.enumerator(
            at: root.appendingPathComponent("docs"), includingPropertiesForKeys: nil)
        let pages =
            (files?.allObjects ?? []).compactMap { $0 as? URL }
            .filter { $0.pathExtension == "md" } + [root.appendingPathComponent("README.md")]
        var count = 0
        for page in pages {
            let text = try String(contentsOf: page, encoding: .utf8)
            for match in text.matches(of: #/`make ([a-z][a-z-]*)/#) {
                count += 1
                #expect(targets.contains(String(match.1)), "\(page.lastPathComponent): \(match.0)")
            }
        }
        #expect(count >= 30)
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
