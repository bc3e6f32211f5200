import Foundation
import Testing

/// docs/reliability.md against the tests and commands that it names.
@Suite struct ReliabilityPageTests {
    private static let root = DocumentationTests.directory.deletingLastPathComponent()
        .deletingLastPathComponent()

    private func text(_ path: String) throws -> String {
        try String(contentsOf: Self.root.appendingPathComponent(path), encoding: .utf8)
    }

    private var sources: [URL] {
        ["Tests", "integration"].flatMap { folder in
            let files = FileManager.default.enumerator(
                at: Self.root.appendingPathComponent(folder), includingPropertiesForKeys: nil)
            return (files?.allObjects as? [URL] ?? []).filter { $0.pathExtension == "swift" }
        }
    }

    @Test("every suite that the page names is there")
    func suites() throws {
        let declared = try sources.flatMap { source in
            try String(contentsOf: source, encoding: .utf8)
                .matches(of: /struct (\w+Tests)\b/).map { String($0.output.1) }
        }
        let named = Set(
            try text("docs/reliability.md").matches(of: /`(\w+Tests)`/).map { String($0.output.1) })
        #expect(named.count > 20)
        #expect(named.subtracting(declared).sorted() == [])
    }

    @Test("every command that the page names is a target of the Makefile")
    func commands() throws {
        let makefile = try text("Makefile")
        let parts =
            makefile.split(separator: "\n").first { $0.hasPrefix("TORTURE_PARTS :=") }?
            .split(separator: " ").dropFirst(2).map { "torture-" + $0 } ?? []
        let named = try text("docs/reliability.md").matches(of: /`make ([a-z-]+)/).map {
            String($0.output.1)
        }
        #expect(named.count > 5)
        for target in named {
            #expect(parts.contains(target) || makefile.contains("\n\(target): "), "\(target)")
        }
    }

    @Test("every suite that measures a flow is one that the Makefile runs alone")
    func measuring() throws {
        let line = try text("Makefile").firstMatch(of: /\nMEASURING := (.+)/)
        let names = (line?.output.1).map(String.init) ?? ""
        let alone = names.split(separator: "|").map { "\($0)Tests.swift" }
        let measuring = try sources.filter {
            try String(contentsOf: $0, encoding: .utf8).contains(/\bFlow\(\s*from:/)
        }.map(\.lastPathComponent)
        #expect(measuring.count > 5)
        #expect(Set(measuring).subtracting(alone).sorted() == [])
    }

    @Test("every failure of the survey, and every requirement of security, has its row")
    func rows() throws {
        let counts = ["A": 14, "B": 8, "C": 7, "D": 10, "E": 8, "F": 7, "M": 7, "S": 16]
        let wanted = counts.flatMap { letter, count in (1...count).map { "\(letter)\($0)" } }
        let named = try text("docs/reliability.md").split(separator: "\n")
            .compactMap { $0.firstMatch(of: #/^\| ([A-Z][0-9]+(, [A-Z][0-9]+)*) \| /#) }
            .flatMap { $0.output.1.split(separator: ", ").map(String.init) }
        #expect(wanted.filter { !named.contains($0) }.sorted() == [])
    }
}
