import CNI
import Foundation

@testable import Operator

/// A directory that is gone with the test.
final class TemporaryDirectory {
    let path = FileManager.default.temporaryDirectory.path + "/operator-tests-\(UUID().uuidString)"

    init() throws {
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o755])
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Writes a file and returns its path.
    @discardableResult
    func write(_ text: String, to name: String, mode: Int = 0o644) throws -> String {
        let path = "\(path)/\(name)"
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        _ = FileManager.default.createFile(
            atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: mode])
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return path
    }
}

/// The list that a text spells.
func list(_ text: String) throws -> ConfigurationList {
    try ConfigurationList(parsing: Array(text.utf8), file: "test.conflist")
}

/// The JSON that a text spells.
func json(_ text: String) throws -> JSON { try JSON(parsing: Array(text.utf8)) }

/// The error that `body` throws, or nil.
func failure<Result>(_ body: () throws -> Result) -> CNIError? {
    do {
        _ = try body()
        return nil
    } catch {
        return error as? CNIError
    }
}
