import Foundation
import Testing

@Suite("objects as commands")
struct CommandObjectTests {
    private static let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Sources")

    /// The names that a pattern captures anywhere in the sources.
    private func names(_ pattern: Regex<(Substring, Substring)>) throws -> Set<String> {
        var names: Set<String> = []
        let files = FileManager.default.enumerator(atPath: Self.sources.path)
        for case let path as String in files ?? .init() where path.hasSuffix(".swift") {
            let text = try String(
                contentsOf: Self.sources.appendingPathComponent(path), encoding: .utf8)
            for match in text.matches(of: pattern) { names.insert(String(match.1)) }
        }
        return names
    }

    @Test("every kind of object is made by commands, or of rules, which nft shows itself")
    func all() throws {
        let rules: Set<String> = [
            "Admission", "AddressCheck", "ClassName", "ContainerTree", "FormerRules", "GroupChain",
            "GroupTree", "IPTablesRules",
            "Masquerade", "PortMappings", "PortSteering", "ProcessSteering", "SpoofCheck",
            "SteeringTable",
            // Only ever taken away.
            "SpareClass",
        ]
        let resources = try names(/struct (\w+): Resource \{/)
        let commands = try names(/extension (\w+): CommandObject/)
        #expect(resources.count > 20)
        #expect(resources.subtracting(commands) == rules)
        #expect(commands.subtracting(resources) == [])
    }
}
