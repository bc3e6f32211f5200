/// A JSON value.
///
/// Objects keep the order in which their members came. A number with a fraction or an exponent is
/// kept as text, and an integer beyond 64 bits as one with a fraction.
public indirect enum JSON: Sendable, Equatable {
    /// `null`
    case null
    /// `true` or `false`
    case bool(Bool)
    /// A number without fraction or exponent.
    case integer(Int)
    /// Any other number, as text.
    case real(String)
    /// A string.
    case string(String)
    /// An array.
    case array([JSON])
    /// An object, its members in order.
    case object([(key: String, value: JSON)])

    /// The members of an object; nil for every other value.
    public var members: [(key: String, value: JSON)]? {
        guard case .object(let members) = self else { return nil }
        return members
    }

    /// The elements of an array; nil for every other value.
    public var elements: [JSON]? {
        guard case .array(let elements) = self else { return nil }
        return elements
    }

    /// The text of a string; nil for every other value.
    public var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// The member that a key names, upper and lower case being the same, as in Go: of several the
    /// last counts, and `null` counts as absent.
    public subscript(key: String) -> JSON? {
        guard let members else { return nil }
        guard let match = members.last(where: { sameIgnoringCase($0.key, key) }),
            match.value != .null
        else { return nil }
        return match.value
    }

    /// Whether the object has a key, be its value `null`.
    func has(_ key: String) -> Bool {
        members?.contains { sameIgnoringCase($0.key, key) } == true
    }

    /// This object with a member set, replacing every spelling of the key.
    public func setting(_ key: String, to value: JSON) -> JSON {
        let others = (members ?? []).filter { !sameIgnoringCase($0.key, key) }
        return .object(others + [(key, value)])
    }

    /// The same value with the members of every object in the order of their keys.
    var sorted: JSON {
        switch self {
        case .array(let elements): .array(elements.map(\.sorted))
        case .object(let members):
            .object(members.map { ($0.key, $0.value.sorted) }.sorted { $0.0 < $1.0 })
        default: self
        }
    }

    /// Compares by content; the order of an object's members counts.
    public static func == (left: JSON, right: JSON) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.bool(let left), .bool(let right)): left == right
        case (.integer(let left), .integer(let right)): left == right
        case (.real(let left), .real(let right)): left == right
        case (.string(let left), .string(let right)): left == right
        case (.array(let left), .array(let right)): left == right
        case (.object(let left), .object(let right)):
            left.count == right.count && zip(left, right).allSatisfy { $0 == $1 }
        default: false
        }
    }

    /// What kind of value this is, for error messages.
    public var kind: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .real(let text): text
        case .string(let text): "\"\(text.prefix(64))\""
        case .array: "an array"
        case .object: "an object"
        }
    }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    /// A string.
    public init(stringLiteral text: String) { self = .string(text) }
    /// An integer.
    public init(integerLiteral value: Int) { self = .integer(value) }
    /// A boolean.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// An array.
    public init(arrayLiteral elements: JSON...) { self = .array(elements) }
    /// An object.
    public init(dictionaryLiteral members: (String, JSON)...) {
        self = .object(members.map { (key: $0.0, value: $0.1) })
    }
}

/// Whether two keys are one key to Go's decoder: ASCII letters match in either case.
func sameIgnoringCase(_ left: String, _ right: String) -> Bool {
    func lower(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }
    let (left, right) = (left.utf8, right.utf8)
    return left.count == right.count && zip(left, right).allSatisfy { lower($0) == lower($1) }
}
