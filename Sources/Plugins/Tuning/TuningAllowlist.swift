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

        /// A line's expression, which is written for Go's regexp, in the words of regcomp(3).
        ///
        /// What Go spells with a backslash or as a group without a number is spelt out; what it has
        /// besides, such as flags, regcomp refuses.
        static func posix(_ pattern: String) -> String {
            let classes: [Character: String] = [
                "d": "0-9", "w": "0-9A-Za-z_", "s": "\t\n\u{c}\r ",
            ]
            var text = ""
            var rest = Substring(pattern)
            while let character = rest.popFirst() {
                switch character {
                case "\\":
                    guard let escaped = rest.popFirst() else { return pattern }
                    switch escaped {
                    case "A": text += "^"
                    case "z": text += "$"
                    case "D", "W", "S":
                        text += "[^" + (classes[Character(escaped.lowercased())] ?? "") + "]"
                    default:
                        text += classes[escaped].map { "[\($0)]" } ?? "\\\(escaped)"
                    }
                case "(" where rest.hasPrefix("?:"):
                    text += "("
                    rest = rest.dropFirst(2)
                case "[": text += bracket(&rest, classes)
                default: text.append(character)
                }
            }
            return text
        }

        /// A list in brackets, in which POSIX has no backslash: there `]` must be first and `-` last.
        private static func bracket(
            _ rest: inout Substring, _ classes: [Character: String]
        ) -> String {
            var (members, start, end) = ("", "[", "")
            if rest.first == "^" {
                start += "^"
                rest = rest.dropFirst()
            }
            var isFirst = true
            while let character = rest.popFirst(), character != "]" || isFirst {
                isFirst = false
                if character == "[", rest.first == ":" {
                    let name = rest.prefix { $0 != "]" }
                    members += "[\(name)]"
                    rest = rest.dropFirst(name.count + 1)
                    continue
                }
                guard character == "\\", let escaped = rest.popFirst() else {
                    if character == "]" { start += "]" } else { members.append(character) }
                    continue
                }
                switch escaped {
                case "]": start += "]"
                case "-", "^": end.append(escaped)
                default: members += classes[escaped] ?? String(escaped)
                }
            }
            // A caret of its own is none that inverts.
            return start + members + end.filter { $0 == "^" } + end.filter { $0 == "-" } + "]"
        }

        private static func matches(_ key: String, _ pattern: String) throws(CNIError) -> Bool {
            var expression = unsafe regex_t()
            let flags = REG_EXTENDED | REG_NOSUB
            guard unsafe regcomp(&expression, posix(pattern), flags) == 0 else {
                throw CNIError(.invalidConfiguration, "\(path): not an expression: \(pattern)")
            }
            defer { unsafe regfree(&expression) }
            return unsafe regexec(&expression, key, 0, nil, 0) == 0
        }
    }
}
