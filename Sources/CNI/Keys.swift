public import Addressing

/// What one configuration key is: its place, type, default and meaning.
///
/// Documentation, schema and lint are made from these.
public struct KeyDescription: Sendable, Equatable {
    /// The path of the key: `ipam.ranges[].subnet`.
    public let path: String
    /// What it takes: `a boolean`, `a CIDR`.
    public let type: String
    /// Its default as text, or nil if it has none.
    public let defaultValue: String?
    /// Its meaning.
    public let summary: String

    /// A key that is described elsewhere than where it is read.
    package init(path: String, type: String, defaultValue: String?, summary: String) {
        self.path = path
        self.type = type
        self.defaultValue = defaultValue
        self.summary = summary
    }
}

/// A value that a configuration key can have.
public protocol ConfigurationValue: Sendable {
    /// What the key takes, with its article: `a boolean`.
    static var typeName: String { get }
    /// Whether an empty string is no value, as Go's decoder has it.
    static var isAbsentWhenEmpty: Bool { get }
    /// The value in JSON's terms, or nil if the JSON is something else.
    init?(_ json: JSON)
    /// What in a value is something else: where below its key (`.name`, `[2]`), what is taken there, and what
    /// there is.
    static func mismatch(in json: JSON) -> (place: String, wanted: String, found: JSON)
}

extension ConfigurationValue {
    /// To most an empty string is as good or bad as any other.
    public static var isAbsentWhenEmpty: Bool { false }
    /// All of it.
    public static func mismatch(
        in json: JSON
    ) -> (place: String, wanted: String, found: JSON) { ("", typeName, json) }
}

/// Reads the keys of one object of the configuration.
///
/// A type declares its keys in one initializer, one line a key. With a configuration behind it
/// that initializer parses; run by `describe` it lists the keys instead. So a key's name, type,
/// default and meaning are written once.
public struct Keys {
    private let object: JSON?
    private let path: String
    private var descriptions: [KeyDescription] = []

    /// The keys of `object`, whose place in the configuration is `path`.
    public init(_ object: JSON, path: String = "") {
        self.object = object
        self.path = path
    }

    private init(describing path: String) {
        object = nil
        self.path = path
    }

    /// Every key that `type` reads.
    public static func describe<Options>(
        _ read: (inout Keys) throws(CNIError) -> Options
    ) -> [KeyDescription] {
        var keys = Keys(describing: "")
        // Reading nothing cannot fail on a value; a type that insists on a key throws after its
        // keys are listed, which is all that is wanted here.
        _ = try? read(&keys)
        return keys.descriptions
    }

    /// The value of a key, or nil if it is absent or null; `args.cni.mac` is the key `mac` of an
    /// object in an object.
    ///
    /// - Throws: Code 6 with the key's path, if the value is of another type.
    public mutating func callAsFunction<Value: ConfigurationValue>(
        _ key: String, _ summary: String, as type: Value.Type = Value.self
    ) throws(CNIError) -> Value? {
        if object == nil { describe(key, Value.typeName, nil, summary) }
        return try value(key)
    }

    /// The value of a key, or its default if it is absent or null.
    ///
    /// - Throws: Code 6 with the key's path, if the value is of another type.
    public mutating func callAsFunction<Value: ConfigurationValue>(
        _ key: String, default standard: Value, _ summary: String
    ) throws(CNIError) -> Value {
        if object == nil { describe(key, Value.typeName, "\(standard)", summary) }
        return try value(key) ?? standard
    }

    /// The object under a key, read by `read`, or nil if it is absent or null.
    public mutating func object<Value>(
        _ key: String, _ summary: String, _ read: (inout Keys) throws(CNIError) -> Value
    ) throws(CNIError) -> Value? {
        guard let object else {
            describe(key, "an object", nil, summary)
            describe(inside: place(key), read)
            return nil
        }
        guard let value = object[key] else { return nil }
        var keys = try Self(value, object: place(key))
        return try read(&keys)
    }

    /// The objects of the array under a key, each read by `read`, or nil if it is absent or null.
    public mutating func list<Value>(
        _ key: String, _ summary: String, _ read: (inout Keys) throws(CNIError) -> Value
    ) throws(CNIError) -> [Value]? {
        guard let object else {
            describe(key, "an array of objects", nil, summary)
            describe(inside: place(key) + "[]", read)
            return nil
        }
        guard let value = object[key] else { return nil }
        return try Self.elements(value, path: place(key), read)
    }

    /// The arrays of objects of the array under a key, or nil if it is absent or null.
    public mutating func lists<Value>(
        _ key: String, _ summary: String, _ read: (inout Keys) throws(CNIError) -> Value
    ) throws(CNIError) -> [[Value]]? {
        guard let object else {
            describe(key, "an array of arrays of objects", nil, summary)
            describe(inside: place(key) + "[][]", read)
            return nil
        }
        guard let value = object[key] else { return nil }
        guard let rows = value.elements else {
            throw mismatch(place(key), "an array of arrays", value)
        }
        var lists: [[Value]] = []
        for (index, row) in rows.enumerated() {
            lists.append(try Self.elements(row, path: "\(place(key))[\(index)]", read))
        }
        return lists
    }

    /// An error about the value of a key of this object, code 7; one that says that the key is missing
    /// names the `other` key that asks for it.
    public func invalid(
        _ key: String, _ message: String, because other: String? = nil
    ) -> CNIError {
        CNIError(at: place(key), message, because: other.map { place($0) })
    }

    private init(_ value: JSON, object path: String) throws(CNIError) {
        guard value.members != nil else { throw mismatch(path, "an object", value) }
        self.init(value, path: path)
    }

    private static func elements<Value>(
        _ value: JSON, path: String, _ read: (inout Keys) throws(CNIError) -> Value
    ) throws(CNIError) -> [Value] {
        guard let elements = value.elements else {
            throw mismatch(path, "an array of objects", value)
        }
        var values: [Value] = []
        for (index, element) in elements.enumerated() {
            // To Go's decoder null is an object without members here.
            var keys = try Keys(
                element == .null ? .object([]) : element, object: "\(path)[\(index)]")
            values.append(try read(&keys))
        }
        return values
    }

    private func value<Value: ConfigurationValue>(_ key: String) throws(CNIError) -> Value? {
        guard let object else { return nil }
        if let dot = key.utf8.firstIndex(of: UInt8(ascii: ".")) {
            let outer = String(key[..<dot])
            guard let value = object[outer] else { return nil }
            let inner = try Self(value, object: place(outer))
            return try inner.value(String(key[key.utf8.index(after: dot)...]))
        }
        guard let json = object[key], !(Value.isAbsentWhenEmpty && json.text == "") else {
            return nil
        }
        guard let value = Value(json) else {
            let wrong = Value.mismatch(in: json)
            throw mismatch(place(key) + wrong.place, wrong.wanted, wrong.found)
        }
        return value
    }

    private func place(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    private mutating func describe(
        _ key: String, _ type: String, _ standard: String?, _ summary: String
    ) {
        descriptions.append(
            KeyDescription(
                path: place(key), type: type, defaultValue: standard, summary: summary))
    }

    private mutating func describe<Value>(
        inside path: String, _ read: (inout Keys) throws(CNIError) -> Value
    ) {
        var keys = Keys(describing: path)
        _ = try? read(&keys)
        descriptions += keys.descriptions
    }
}

private func mismatch(_ path: String, _ wanted: String, _ found: JSON) -> CNIError {
    let isAddress = wanted == IPPrefix.typeName || wanted == IPAddress.typeName
    if isAddress, found.text != nil {
        return CNIError(at: path, "not \(wanted): \(found.kind)", code: .decode)
    }
    return CNIError(at: path, "expected \(wanted), found \(found.kind)", code: .decode)
}

extension Bool: ConfigurationValue {
    /// A boolean.
    public static var typeName: String { "a boolean" }
    /// The value of `true` or `false`.
    public init?(_ json: JSON) {
        guard case .bool(let value) = json else { return nil }
        self = value
    }
}

extension Int: ConfigurationValue {
    /// An integer.
    public static var typeName: String { "an integer" }
    /// The value of a number without fraction.
    public init?(_ json: JSON) {
        guard case .integer(let value) = json else { return nil }
        self = value
    }
}

extension String: ConfigurationValue {
    /// A string.
    public static var typeName: String { "a string" }
    /// The text of a string; one with a NUL, at which names and paths would end, is none.
    public init?(_ json: JSON) {
        guard let text = json.text, !text.utf8.contains(0) else { return nil }
        self = text
    }
}

extension IPAddress: ConfigurationValue {
    /// An address.
    public static var typeName: String { "an IP address" }
    /// An address that is left out may be written as an empty string.
    public static var isAbsentWhenEmpty: Bool { true }
    /// The address that a string spells.
    public init?(_ json: JSON) {
        guard let text = json.text else { return nil }
        self.init(text)
    }
}

extension IPPrefix: ConfigurationValue {
    /// An address with the length of its prefix.
    public static var typeName: String { "a CIDR" }
    /// The prefix that a string spells.
    public init?(_ json: JSON) {
        guard let text = json.text else { return nil }
        self.init(text)
    }
}

extension Array: ConfigurationValue where Element: ConfigurationValue {
    /// An array of the element's type.
    public static var typeName: String { "an array, each \(Element.typeName)" }
    /// The values of an array whose elements are all of the type.
    public init?(_ json: JSON) {
        guard let elements = json.elements else { return nil }
        let values = elements.compactMap { Element($0) }
        guard values.count == elements.count else { return nil }
        self = values
    }
    /// The first element that is not of the type.
    public static func mismatch(
        in json: JSON
    ) -> (place: String, wanted: String, found: JSON) {
        for (index, element) in (json.elements ?? []).enumerated() where Element(element) == nil {
            let wrong = Element.mismatch(in: element)
            return ("[\(index)]" + wrong.place, wrong.wanted, wrong.found)
        }
        return ("", typeName, json)
    }
}
