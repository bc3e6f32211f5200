internal import Addressing
public import CNI
internal import PluginRuntime
internal import Plugins

/// The keys that the configuration of a plugin may have, those of its IPAM plugin among them, as
/// the plugins declare them.
public struct KeyTable: Sendable {
    /// The keys, each by its path.
    public let keys: [KeyDescription]

    /// What is wrong with a key or its value.
    public struct Fault: Sendable, Equatable {
        /// The place: `plugins[0].ipam.ranges[0][1].subnet`.
        public let path: String
        /// What is wrong there.
        public let message: String
        /// Whether it is only a key that is not known, which a plugin does not mind.
        public let isUnknownKey: Bool
    }

    /// The keys that every plugin reads, or that runtimes write.
    private static let common: [KeyDescription] = [
        KeyDescription("cniVersion", "a string", "The specification's version."),
        KeyDescription("name", "a string", "The network's name."),
        KeyDescription("type", "a string", "The plugin's name."),
        KeyDescription("capabilities", "an object", "What the runtime may fill in."),
        KeyDescription("runtimeConfig", "an object", "What the runtime has filled in."),
        KeyDescription("args", "an object", "Arguments of the runtime."),
        KeyDescription("prevResult", "an object", "The result of the plugin before."),
        KeyDescription("ipam", "an object", "Address management."),
        KeyDescription("ipam.type", "a string", "The plugin that gives out addresses."),
    ]

    /// Objects whose members are others' affair.
    private static let open = ["capabilities", "runtimeConfig", "args", "prevResult"]

    /// The keys of a plugin together with those of its IPAM plugin; nil for a plugin that is none
    /// of this project's.
    public init?(plugin type: String, ipam: String = "") {
        guard let plugin = plugin(named: type) else { return nil }
        var keys = plugin.keys
        let own = keys.map(\.path)
        keys += (Plugins.plugin(named: ipam)?.keys ?? []).filter { !own.contains($0.path) }
        let known = keys.map(\.path)
        self.keys = keys + Self.common.filter { !known.contains($0.path) }
        // A plugin of somebody else's takes keys that are not known here.
        knowsIPAM = ipam.isEmpty || Plugins.plugin(named: ipam) != nil
    }

    private let knowsIPAM: Bool

    /// The capabilities that the plugin, or its IPAM plugin, makes something of.
    public var capabilities: [String] {
        var names: [String] = []
        for key in keys where key.path.hasPrefix("runtimeConfig.") {
            let rest = key.path.dropFirst("runtimeConfig.".count)
            let name = String(rest.prefix { $0 != "." && $0 != "[" })
            if !names.contains(name) { names.append(name) }
        }
        return names
    }

    /// What is wrong with a configuration's keys and the types of their values.
    public func faults(in json: JSON, at place: String) -> [Fault] {
        faults(in: json, pattern: "", place: place)
    }

    private func faults(in json: JSON, pattern: String, place: String) -> [Fault] {
        guard let members = json.members else {
            return [
                Fault(
                    path: place, message: "expected an object, found \(json.kind)",
                    isUnknownKey: false)
            ]
        }
        var faults: [Fault] = []
        for (key, value) in members where value != .null {
            let path = place.isEmpty ? key : "\(place).\(key)"
            let wanted = pattern.isEmpty ? key : "\(pattern).\(key)"
            guard let match = match(wanted) else {
                if key.hasPrefix("cni.dev/") || isOpen(pattern) { continue }
                faults.append(
                    Fault(
                        path: path, message: "unknown key" + hint(key, in: pattern),
                        isUnknownKey: true))
                continue
            }
            faults += self.faults(of: value, match, path)
        }
        return faults
    }

    /// A key as declared, or the start of one: its path, and its description if it has one itself.
    private func match(_ path: String) -> (path: String, description: KeyDescription?)? {
        let wanted = path.lowercased()
        if let exact = keys.first(where: { $0.path.lowercased() == wanted }) {
            return (exact.path, exact)
        }
        let isOuter = keys.first {
            let declared = $0.path.lowercased()
            return declared.hasPrefix(wanted + ".") || declared.hasPrefix(wanted + "[")
        }
        return isOuter.map { (String($0.path.prefix(path.count)), nil) }
    }

    private func faults(
        of value: JSON, _ match: (path: String, description: KeyDescription?), _ place: String
    ) -> [Fault] {
        let type = match.description?.type ?? "an object"
        let isOfType: Bool? =
            switch type {
            case Bool.typeName: Bool(value) != nil
            case Int.typeName: Int(value) != nil
            case String.typeName: String(value) != nil
            case IPAddress.typeName: IPAddress(value) != nil
            case IPPrefix.typeName: IPPrefix(value) != nil
            case [String].typeName: [String](value) != nil
            case [IPAddress].typeName: [IPAddress](value) != nil
            case [IPPrefix].typeName: [IPPrefix](value) != nil
            case "an object": value.members != nil
            case "an array of objects", "an array of arrays of objects": value.elements != nil
            default: nil
            }
        guard isOfType ?? true else {
            return [
                Fault(
                    path: place, message: "expected \(type), found \(value.kind)",
                    isUnknownKey: false)
            ]
        }
        switch type {
        case "an object":
            guard !isOpen(match.path) else { return [] }
            return faults(in: value, pattern: match.path, place: place)
        case "an array of objects":
            return elements(value, place).flatMap {
                faults(in: $0.value, pattern: match.path + "[]", place: $0.place)
            }
        case "an array of arrays of objects":
            return elements(value, place).flatMap { row in
                elements(row.value, row.place).flatMap {
                    faults(in: $0.value, pattern: match.path + "[][]", place: $0.place)
                }
            }
        default: return []
        }
    }

    private func elements(_ value: JSON, _ place: String) -> [(value: JSON, place: String)] {
        (value.elements ?? []).enumerated().map { ($0.element, "\(place)[\($0.offset)]") }
    }

    private func isOpen(_ pattern: String) -> Bool {
        let first = pattern.prefix { $0 != "." && $0 != "[" }
        return Self.open.contains(String(first)) || (first == "ipam" && !knowsIPAM)
    }

    /// What an error adds for a key that is nearly one: `: did you mean "isGateway"?`.
    private func hint(_ key: String, in pattern: String) -> String {
        let start = pattern.isEmpty ? "" : pattern + "."
        let siblings = Set(
            keys.filter { $0.path.hasPrefix(start) }
                .map { String($0.path.dropFirst(start.count).prefix { $0 != "." && $0 != "[" }) })
        return Self.nearest(key, among: siblings).map { ": did you mean \"\($0)\"?" } ?? ""
    }

    /// The word that is a few letters away, if there is one.
    static func nearest(_ word: String, among words: some Sequence<String>) -> String? {
        let limit = max(2, word.count / 3)
        return words.map { (word: $0, distance: distance(word.lowercased(), $0.lowercased())) }
            .filter { $0.distance <= limit }
            .min { ($0.distance, $0.word) < ($1.distance, $1.word) }?.word
    }

    /// How many letters must be added, removed, changed or swapped with their neighbours.
    static func distance(_ left: String, _ right: String) -> Int {
        let (a, b) = (Array(left), Array(right))
        var rows = [Array(0...b.count)]
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                var cost = min(rows[i][j + 1] + 1, row[j] + 1, rows[i][j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                    cost = min(cost, rows[i - 1][j - 1] + 1)
                }
                row.append(cost)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}

extension KeyDescription {
    fileprivate init(_ path: String, _ type: String, _ summary: String) {
        self.init(path: path, type: type, defaultValue: nil, summary: summary)
    }
}
