import Foundation

/// JSON that answers for keys it has not with null, so that a test can ask in one line.
struct JSON: @unchecked Sendable, Equatable, CustomStringConvertible {
    var value: Any

    init(_ value: Any?) { self.value = value ?? NSNull() }

    init(text: String) {
        let data = Data(text.utf8)
        self.init(try? JSONSerialization.jsonObject(with: data, options: .fragmentsAllowed))
    }

    var isNull: Bool { value is NSNull }
    var string: String? { value as? String }
    var number: Int? { value as? Int }
    var bool: Bool? { value as? Bool }
    var array: [JSON] { (value as? [Any])?.map { JSON($0) } ?? [] }
    var keys: [String] { (value as? [String: Any])?.keys.sorted() ?? [] }

    subscript(_ key: String) -> JSON {
        get { JSON((value as? [String: Any])?[key]) }
        set {
            var object = value as? [String: Any] ?? [:]
            object[key] = newValue.isNull ? nil : newValue.value
            value = object
        }
    }

    subscript(_ index: Int) -> JSON {
        let array = value as? [Any] ?? []
        return JSON(array.indices.contains(index) ? array[index] : nil)
    }

    /// This object with the other's keys over its own.
    func merging(_ other: JSON) -> JSON {
        var merged = self
        for key in other.keys { merged[key] = other[key] }
        return merged
    }

    static func == (left: JSON, right: JSON) -> Bool { left.description == right.description }

    /// The text, keys in order.
    var description: String {
        let options: JSONSerialization.WritingOptions = [
            .sortedKeys, .fragmentsAllowed, .withoutEscapingSlashes,
        ]
        let data = try? JSONSerialization.data(withJSONObject: value, options: options)
        return data.map { String(decoding: $0, as: UTF8.self) } ?? "null"
    }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByStringInterpolation {
    init(stringLiteral text: String) { self.init(text: text) }
}
