/// A plugin's configuration as it came on standard input, with the keys every plugin shares read.
public struct NetworkConfiguration: Sendable {
    /// The whole object.
    public let json: JSON
    /// The specification's version it follows: `cniVersion`, 0.1.0 if absent.
    public let version: SpecVersion
    /// The network's name: `name`.
    public let name: String
    /// The plugin's name: `type`.
    public let type: String
    /// The IPAM plugin's name: `ipam.type`; empty for none.
    public let ipamType: String
    /// What the plugin before answered, or the whole chain's ADD: `prevResult`.
    public let previous: AddResult?
    /// What runtimes say is still in use, for GC: `cni.dev/valid-attachments`.
    public let validAttachments: [ValidAttachment]?

    /// An attachment that GC must leave alone.
    public struct ValidAttachment: Sendable, Hashable {
        /// The container.
        public let containerID: String
        /// The interface in the container.
        public let interface: String

        /// An attachment by its container and interface.
        public init(containerID: String, interface: String) {
            self.containerID = containerID
            self.interface = interface
        }

        init(_ keys: inout Keys) throws(CNIError) {
            containerID = try keys("containerID", default: "", "The container.")
            interface = try keys("ifname", default: "", "The interface.")
        }
    }

    /// Parses and checks the shared keys.
    ///
    /// A `prevResult` that cannot be read is as good as none to those who do not need it: DEL does
    /// all it can.
    ///
    /// - Throws: Code 6 for what cannot be decoded, code 7 for a missing or invalid name, code 1 for a
    ///   version that is written like none of those that are supported; the messages are the reference's
    ///   where it has one.
    public init(
        parsing input: [UInt8], needsResult: Bool = true,
        supporting versions: [SpecVersion] = SpecVersion.all
    ) throws(CNIError) {
        let json: JSON
        do throws(CNIError) {
            json = try JSON(parsing: input)
        } catch {
            throw error.prefixed("error unmarshall network config")
        }
        // To Go's decoder null is an object without members here.
        guard json.members != nil || json == .null else {
            throw CNIError(
                .decode,
                "error unmarshall network config: expected an object, found \(json.kind)")
        }
        try self.init(json: json, needsResult: needsResult, supporting: versions)
    }

    /// Checks the shared keys of an object.
    public init(
        json: JSON, needsResult: Bool = true, supporting versions: [SpecVersion] = SpecVersion.all
    ) throws(CNIError) {
        self.json = json
        var keys = Keys(json)
        let name: String? = try keys("name", "The network's name.")
        guard let name, !name.isEmpty else {
            throw CNIError(.invalidConfiguration, "missing network name")
        }
        guard isValidIdentifier(name) else {
            throw CNIError(
                .invalidConfiguration, "invalid characters found in network name",
                details: name)
        }
        self.name = name
        let version: String? = try keys("cniVersion", "The specification's version.")
        let text = version.flatMap { $0.isEmpty ? nil : $0 } ?? "0.1.0"
        // To the reference a version is a text, so `1.1` is not `1.1.0`.
        guard let known = SpecVersion(text), "\(known)" == text else {
            throw CNIError(incompatible: text, with: versions)
        }
        self.version = known
        type = try keys("type", "The plugin's name.") ?? ""
        ipamType = try keys("ipam.type", default: "", "The IPAM plugin's name.")
        previous = try json["prevResult"].flatMap { (json) throws(CNIError) in
            do throws(CNIError) {
                return try Self.previousResult(json, in: known)
            } catch {
                if needsResult { throw error }
                return nil
            }
        }
        // The specification's text and its table spell this key differently; libcni sends both.
        let valid = "cni.dev/valid-attachments"
        let key = json[valid] == nil ? "cni.dev/attachments" : valid
        let attachments = try keys.list(key, "Attachments in use.", ValidAttachment.init)
        // A list of Go that is empty may be written as null.
        let isListed = json.has(valid) || json.has("cni.dev/attachments")
        validAttachments = attachments ?? (isListed ? [] : nil)
    }

    /// This configuration without the outermost key of a place such as `runtimeConfig.mac`; nil if there
    /// is none.
    public func without(_ place: String) throws(CNIError) -> NetworkConfiguration? {
        let key = String(place.prefix { $0 != "." && $0 != "[" })
        guard json[key] != nil else { return nil }
        return try NetworkConfiguration(json: json.setting(key, to: .null), needsResult: false)
    }

    private static func previousResult(
        _ json: JSON, in version: SpecVersion
    ) throws(CNIError) -> AddResult {
        let result = try AddResult(json, path: "prevResult")
        guard let text = json["cniVersion"]?.text, !text.isEmpty else { return result }
        let readable = version.ofSameShape.map { "\($0)" }
        guard readable.contains(text) else {
            throw CNIError(
                .decode,
                "could not parse prevResult: result type supports "
                    + "[\(readable.joined(separator: " "))] "
                    + "but unmarshalled CNIVersion is \"\(text)\"")
        }
        return result
    }
}
