import CNI
import Glibc
import IPAM

extension Tuning {
    /// The administrator's list of the kernel settings that a configuration may name: regular
    /// expressions, one a line, each of which may match anywhere in a key as it is written.
    struct Allowlist {
        static let path = "/etc/cni/tuning/allowlist.conf"

        private let patterns: [String]

        /// The list of a text.
        init(_ text: String) {
            patterns = text.split(separator: "\n").map { line in
                let isSpace = { (byte: UInt8) in byte == 0x20 || (0x09...0x0d).contains(byte) }
                let bytes = line.utf8.drop(while: isSpace).reversed().drop(while: isSpace)
                return String(decoding: Array(bytes.reversed()), as: UTF8.self)
            }.filter { !$0.isEmpty }
        }

        /// The list of this host, or nil if it has none and all is allowed.
        static func ofThisHost() throws(CNIError) -> Allowlist? {
            try Directory.text(ofFile: path).map { Allowlist($0) }
        }

        /// Refuses a key that no line matches.
        func require(_ key: String) throws(CNIError) {
            for pattern in patterns where try Self.matches(key, pattern) { return }
            throw CNIError(
                .invalidConfiguration,
                "Sysctl \(key) is not allowed. Only the following sysctls are allowed: "
                    + "[\(patterns.joined(separator: " "))]")
        }

        private static func matches(_ key: String, _ pattern: String) throws(CNIError) -> Bool {
            var expression = unsafe regex_t()
            let flags = REG_EXTENDED | REG_NOSUB
            guard unsafe regcomp(&expression, pattern, flags) == 0 else {
                throw CNIError(.invalidConfiguration, "\(path): not an expression: \(pattern)")
            }
            defer { unsafe regfree(&expression) }
            return unsafe regexec(&expression, key, 0, nil, 0) == 0
        }
    }
}
