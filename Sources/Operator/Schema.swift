internal import Addressing
public import CNI
internal import PluginRuntime
internal import Plugins

/// JSON Schema of plugins' configurations, made from the keys as the plugins declare them.
public enum Schema {
    private static let dialect: JSON = "https://json-schema.org/draft/2020-12/schema"

    /// The schema of one plugin's configuration, or nil for a plugin that is none of this project's.
    public static func plugin(_ name: String) -> JSON? {
        configuration(name)?.setting("$schema", to: dialect)
            .setting("title", to: .string("Configuration of the CNI plugin \(name)"))
    }

    private static func configuration(_ name: String) -> JSON? {
        guard let table = KeyTable(plugin: name) else { return nil }
        var tree = Node()
        for key in table.keys { tree.insert(key) }
        return tree.json.setting("required", to: ["type"])
    }

    /// The schema of a list: each plugin's by its `type`.
    public static var list: JSON {
        let branches = pluginNames.compactMap { name -> JSON? in
            let condition: JSON = ["properties": ["type": ["const": .string(name)]]]
            return configuration(name).map { ["if": condition, "then": $0] }
        }
        let items: JSON = [
            "type": "object", "required": ["type"],
            "properties": ["type": ["type": "string"]], "allOf": .array(branches),
        ]
        return [
            "$schema": dialect, "title": "A list of CNI plugins",
            "type": "object", "required": ["name", "plugins"],
            "properties": [
                "cniVersion": ["type": "string"],
                "cniVersions": ["type": "array", "items": ["type": "string"]],
                "name": ["type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.\\-]*$"],
                "disableCheck": ["type": "boolean"], "disableGC": ["type": "boolean"],
                "loadOnlyInlinedPlugins": ["type": "boolean"],
                "plugins": ["type": "array", "minItems": 1, "items": items],
            ],
        ]
    }

    /// A place in a configuration, with the places inside it.
    private struct Node {
        var key: KeyDescription?
        var members: [(name: String, node: Node)] = []
        var element: [Node] = []

        mutating func insert(_ key: KeyDescription) {
            var path: [String] = []
            for word in key.path.split(separator: ".") {
                var name = word
                var depth = 0
                while name.hasSuffix("[]") {
                    name = name.dropLast(2)
                    depth += 1
                }
                path.append(String(name))
                path += Array(repeating: "[]", count: depth)
            }
            insert(key, path[...])
        }

        private mutating func insert(_ key: KeyDescription, _ path: ArraySlice<String>) {
            guard let first = path.first else {
                self.key = key
                return
            }
            if first == "[]" {
                var inner = element.first ?? Node()
                inner.insert(key, path.dropFirst())
                element = [inner]
            } else if let index = members.firstIndex(where: { $0.name == first }) {
                members[index].node.insert(key, path.dropFirst())
            } else {
                var inner = Node()
                inner.insert(key, path.dropFirst())
                members.append((first, inner))
            }
        }

        var json: JSON {
            var json: JSON
            if let inner = element.first {
                json = ["type": "array", "items": inner.json]
            } else if !members.isEmpty {
                json = [
                    "type": "object",
                    "properties": .object(members.map { ($0.name, $0.node.json) }),
                ]
            } else {
                json = key.map { Schema.type($0.type) } ?? ["type": "object"]
            }
            guard let key else { return json }
            json = json.setting("description", to: .string(key.summary))
            guard let text = key.defaultValue else { return json }
            let value: JSON =
                switch key.type {
                case Bool.typeName: .bool(text == "true")
                case Int.typeName: Int(text).map { .integer($0) } ?? .string(text)
                case String.typeName: .string(text)
                default: (try? JSON(parsing: Array(text.utf8))) ?? .string(text)
                }
            return json.setting("default", to: value)
        }
    }

    /// The schema of a value of a type.
    private static func type(_ name: String) -> JSON {
        let each = "an array, each "
        if name.hasPrefix(each) {
            return ["type": "array", "items": type(String(name.dropFirst(each.count)))]
        }
        return switch name {
        case Bool.typeName: ["type": "boolean"]
        case Int.typeName: ["type": "integer"]
        case String.typeName: ["type": "string"]
        case IPAddress.typeName:
            ["type": "string", "anyOf": [["format": "ipv4"], ["format": "ipv6"]]]
        case IPPrefix.typeName: ["type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"]
        case "an array of objects": ["type": "array", "items": ["type": "object"]]
        case "an object of strings":
            ["type": "object", "additionalProperties": ["type": "string"]]
        case "an object": ["type": "object"]
        default: [:]
        }
    }
}
