/// An error as the specification prints it: a code, a sentence, and details if there are more.
public struct CNIError: Error, Equatable, CustomStringConvertible {
    /// The codes of the specification, and the two that the Go implementation adds.
    public enum Code: Int, Sendable {
        /// The configuration's version is not supported.
        case incompatibleVersion = 1
        /// A field of the configuration is not supported.
        case unsupportedField = 2
        /// The container is unknown or does not exist.
        case unknownContainer = 3
        /// An environment variable is missing or invalid.
        case environment = 4
        /// Reading or writing failed.
        case io = 5
        /// Bytes could not be decoded.
        case decode = 6
        /// The configuration makes no sense.
        case invalidConfiguration = 7
        /// The namespace is the plugin's own (Go implementation).
        case invalidNamespace = 8
        /// A passing condition: the runtime may try again later.
        case tryAgainLater = 11
        /// STATUS: the plugin cannot serve ADD.
        case notAvailable = 50
        /// STATUS: the plugin cannot serve ADD, and containers may have limited connectivity.
        case limitedConnectivity = 51
        /// Anything else (Go implementation).
        case internalError = 999
    }

    /// The number printed as `code`.
    public let code: Int
    /// The sentence printed as `msg`.
    public let message: String
    /// The text printed as `details`; empty for none.
    public let details: String
    /// The place in the configuration whose value makes no sense; empty for other errors.
    public private(set) var place = ""

    /// An error of one of the known codes.
    public init(_ code: Code, _ message: String, details: String = "") {
        self.init(code: code.rawValue, message, details: details)
    }

    /// An error about a place in the configuration, code 7 unless the value there is of another type.
    ///
    /// Where there is none, `other` is the place of the value that makes no sense without it.
    init(
        at place: String, _ message: String, because other: String? = nil,
        code: Code = .invalidConfiguration
    ) {
        self.init(code, "\(place): \(message)")
        self.place = other ?? place
    }

    /// An error whose code comes from elsewhere, such as another plugin.
    public init(code: Int, _ message: String, details: String = "") {
        self.code = code
        self.message = message
        self.details = details
    }

    /// Reads the error JSON that a delegated plugin printed; nil if it is none.
    public init?(_ json: JSON) {
        guard case .integer(let code)? = json["code"] else { return nil }
        self.init(
            code: code, json["msg"]?.text ?? "", details: json["details"]?.text ?? "")
    }

    /// The error as JSON: `code`, `msg`, and `details` if there are any.
    public var json: JSON {
        let error: JSON = ["code": .integer(code), "msg": .string(message)]
        return details.isEmpty ? error : error.setting("details", to: .string(details))
    }

    /// This error with words in front of its message.
    public func prefixed(_ words: String) -> CNIError {
        CNIError(code: code, "\(words): \(message)", details: details)
    }

    /// Whether what is printed of both is the same.
    public static func == (left: CNIError, right: CNIError) -> Bool {
        (left.code, left.message, left.details) == (right.code, right.message, right.details)
    }

    /// The message and the details.
    public var description: String { details.isEmpty ? message : "\(message); \(details)" }
}
