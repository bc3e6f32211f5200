/// The pairs of CNI_ARGS: `IP=10.1.0.5;MAC=02:00:00:00:00:01`.
public struct CNIArguments: Sendable {
    private let pairs: [(key: String, value: String)]

    /// The keys that some plugin of the set takes; a sibling's key is no error.
    private static let known = ["IP", "GATEWAY", "MAC", "IgnoreUnknown"]

    /// Splits the pairs.
    ///
    /// - Throws: Code 4 naming CNI_ARGS, for a pair without exactly one `=`, for an `IgnoreUnknown` that
    ///   is neither 1 nor 0, true nor false, and, unless that is 1 or true, for a key that no plugin knows
    ///   and Kubernetes does not send.
    public init(_ text: String) throws(CNIError) {
        var pairs: [(key: String, value: String)] = []
        for pair in text.split(separator: ";", omittingEmptySubsequences: false)
        where !text.isEmpty {
            let parts = pair.split(separator: "=", omittingEmptySubsequences: false)
            guard parts.count == 2 else {
                throw CNIError(.environment, "CNI_ARGS: ARGS: invalid pair \"\(pair)\"")
            }
            pairs.append((String(parts[0]), String(parts[1])))
        }
        self.pairs = pairs
        let flag = pairs.last { $0.key == "IgnoreUnknown" }?.value ?? "0"
        let ignoresUnknown = ["1", "true"].contains { sameIgnoringCase($0, flag) }
        guard ignoresUnknown || ["0", "false"].contains(where: { sameIgnoringCase($0, flag) })
        else {
            throw CNIError(
                .environment,
                "CNI_ARGS: ARGS: error parsing value of pair \"IgnoreUnknown=\(flag)\"")
        }
        let unknown = pairs.filter { !Self.known.contains($0.key) && !$0.key.hasPrefix("K8S_") }
        guard ignoresUnknown || unknown.isEmpty else {
            let list = unknown.map { "\"\($0.key)=\($0.value)\"" }.joined(separator: " ")
            throw CNIError(.environment, "CNI_ARGS: ARGS: unknown args [\(list)]")
        }
    }

    /// The value of a key, case counting; nil if it is absent or empty.
    public subscript(key: String) -> String? {
        guard let value = pairs.last(where: { $0.key == key })?.value, !value.isEmpty else {
            return nil
        }
        return value
    }
}
