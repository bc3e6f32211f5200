import CNI
import Glibc
import PluginRuntime
import SystemPackage

/// Another program that is found by PATH.
struct HelperProgram {
    private let words: [String]

    /// A program with its arguments.
    init(_ words: [String]) { self.words = words }

    /// Where it is, or nil if it is not installed.
    var path: FilePath? {
        let directories = environment("PATH") ?? "/usr/sbin:/usr/bin:/sbin:/bin"
        return Delegate.find(words[0], in: directories.split(separator: ":").map(String.init))
    }

    /// The path of this program itself.
    static var own: String {
        var path = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = unsafe readlink("/proc/self/exe", &path, path.count)
        return String(
            decoding: path.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// What it prints.
    ///
    /// - Throws: Code 5 if it is not installed or fails.
    func output() throws(CNIError) -> String {
        guard let path else { throw CNIError(.io, "\(words[0]) is not installed") }
        let (status, bytes, _) = try Subprocess.run(path, Array(words.dropFirst()))
        guard status == 0 else {
            throw CNIError(.io, "\(words.joined(separator: " ")) ended with status \(status)")
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
