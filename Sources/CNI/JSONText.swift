import CJansson
import Glibc

extension JSON {
    /// The deepest nesting accepted; what runtimes send is about ten deep.
    private static let depthLimit = 128

    /// Parses a JSON text: one value, with nothing but white space around it.
    ///
    /// - Throws: Code 6, with the line and column of the first fault.
    public init(parsing bytes: [UInt8]) throws(CNIError) {
        // jansson recurses once a level; the scan keeps 10 MB of "[" off its stack and off ours.
        guard nesting(of: bytes) <= Self.depthLimit else {
            throw CNIError(.decode, "nested more than \(Self.depthLimit) levels deep")
        }
        let (root, fault) = unsafe Self.load(bytes)
        if let root = unsafe root {
            defer { unsafe json_decref(root) }
            unsafe self.init(root)
            return
        }
        guard let root = unsafe Self.load(mendedForJansson(bytes)).root else {
            let place = "line \(fault.line) column \(fault.column)"
            throw CNIError(.decode, "\(place): \(Self.text(of: fault))")
        }
        defer { unsafe json_decref(root) }
        unsafe self.init(root)
    }

    private static func load(
        _ bytes: [UInt8], _ flags: Int = 0
    ) -> (root: UnsafeMutablePointer<json_t>?, fault: json_error_t) {
        var fault = json_error_t()
        let root = unsafe bytes.withUnsafeBytes { bytes in
            unsafe json_loadb(
                bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count,
                Int(JSON_DECODE_ANY) | Int(JSON_ALLOW_NUL) | flags, &fault)
        }
        return unsafe (root, fault)
    }

    private static func text(of fault: json_error_t) -> String {
        unsafe withUnsafeBytes(of: fault.text) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// A key that an object has twice, as it is written, or nil: the object under a path of keys in a text
    /// that parses.
    public static func repeatedKey(in bytes: [UInt8], under path: [String]) -> String? {
        var objects = [bytes]
        for key in path { objects = objects.flatMap { values(of: key, in: $0) } }
        return objects.lazy.compactMap { repeatedKey(in: $0) }.first
    }

    /// The texts of the values that the outermost object of a text that parses has under a key, upper and
    /// lower case being the same.
    private static func values(of wanted: String, in bytes: [UInt8]) -> [[UInt8]] {
        var values: [[UInt8]] = []
        var (depth, index) = (0, 0)
        var key: ArraySlice<UInt8> = []
        var start: Int?
        while index < bytes.count {
            let first = index
            index += 1
            switch bytes[first] {
            case UInt8(ascii: "\""):
                while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
                    index += bytes[index] == UInt8(ascii: "\\") ? 2 : 1
                }
                index = min(index + 1, bytes.count)
                if depth == 1, start == nil { key = bytes[first..<index] }
            case UInt8(ascii: ":") where depth == 1: start = index
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: ","), UInt8(ascii: "}"), UInt8(ascii: "]"):
                if depth == 1, let begin = start {
                    start = nil
                    let name = (try? JSON(parsing: Array(key)))?.text ?? ""
                    if sameIgnoringCase(name, wanted) { values.append(Array(bytes[begin..<first])) }
                }
                if bytes[first] != UInt8(ascii: ",") { depth -= 1 }
            default: break
            }
        }
        return values
    }

    /// A key that some object of a text that parses has twice, as it is written, or nil.
    public static func repeatedKey(in bytes: [UInt8]) -> String? {
        let (root, fault) = unsafe load(bytes, Int(JSON_REJECT_DUPLICATES))
        if let root = unsafe root {
            unsafe json_decref(root)
            return nil
        }
        let text = text(of: fault)
        guard text.hasPrefix("duplicate") else {
            // One that Go's decoder alone takes; what has been mended does not change any more.
            let mended = mendedForJansson(bytes)
            return mended == bytes ? nil : repeatedKey(in: mended)
        }
        // `duplicate object key near '"the key"'`
        let parts = text.split(separator: "\"", omittingEmptySubsequences: false)
        return parts.count > 1 ? String(parts[1]) : nil
    }

    /// The value as text, in the form the reference plugins print: indented by four spaces, or on
    /// one line.
    public func text(indented: Bool) -> String {
        let flags = Int(JSON_ENCODE_ANY) | (indented ? 4 : Int(JSON_COMPACT))
        let value = unsafe jansson()
        defer { unsafe json_decref(value) }
        guard let text = unsafe json_dumps(value, flags) else { return "null" }
        defer { unsafe free(text) }
        return unsafe String(cString: text)
    }

    private init(_ value: UnsafeMutablePointer<json_t>) {
        switch unsafe value.pointee.type {
        case JSON_TRUE: self = .bool(true)
        case JSON_FALSE: self = .bool(false)
        case JSON_INTEGER: self = unsafe .integer(Int(json_integer_value(value)))
        case JSON_STRING:
            let bytes = unsafe UnsafeRawBufferPointer(
                start: json_string_value(value), count: json_string_length(value))
            self = unsafe .string(String(decoding: bytes, as: UTF8.self))
        case JSON_ARRAY:
            self = unsafe .array(
                (0..<json_array_size(value)).compactMap { index in
                    unsafe json_array_get(value, index).map { unsafe JSON($0) }
                })
        case JSON_OBJECT:
            var members: [(key: String, value: JSON)] = []
            var iterator = unsafe json_object_iter(value)
            while let member = unsafe iterator {
                if let key = unsafe json_object_iter_key(member),
                    let value = unsafe json_object_iter_value(member)
                {
                    unsafe members.append((String(cString: key), JSON(value)))
                }
                unsafe iterator = json_object_iter_next(value, member)
            }
            self = .object(members)
        case JSON_REAL:
            guard let text = unsafe json_dumps(value, Int(JSON_ENCODE_ANY)) else {
                self = .null
                return
            }
            defer { unsafe free(text) }
            self = unsafe .real(String(cString: text))
        default: self = .null
        }
    }

    /// A new reference to the value in jansson's form.
    private func jansson() -> UnsafeMutablePointer<json_t>? {
        switch self {
        case .null: return unsafe json_null()
        case .bool(let value): return unsafe value ? json_true() : json_false()
        case .integer(let value): return unsafe json_integer(json_int_t(value))
        case .real(let text): return unsafe json_loads(text, Int(JSON_DECODE_ANY), nil)
        case .string(let text):
            // The length is given, so a NUL inside the text survives.
            return unsafe text.withCString { unsafe json_stringn_nocheck($0, text.utf8.count) }
        case .array(let elements):
            let array = unsafe json_array()
            for element in elements {
                unsafe json_array_append_new(array, element.jansson())
            }
            return unsafe array
        case .object(let members):
            let object = unsafe json_object()
            for (key, value) in members {
                unsafe json_object_set_new_nocheck(object, key, value.jansson())
            }
            return unsafe object
        }
    }
}

/// The deepest nesting of brackets outside strings.
private func nesting(of bytes: [UInt8]) -> Int {
    var (depth, deepest, inString, escaped) = (0, 0, false, false)
    for byte in bytes {
        if inString {
            if escaped {
                escaped = false
            } else if byte == UInt8(ascii: "\\") {
                escaped = true
            } else if byte == UInt8(ascii: "\"") {
                inString = false
            }
            continue
        }
        switch byte {
        case UInt8(ascii: "\""): inString = true
        case UInt8(ascii: "["), UInt8(ascii: "{"):
            depth += 1
            deepest = max(deepest, depth)
        case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
        default: break
        }
    }
    return deepest
}
