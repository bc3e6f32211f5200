public import CNI

/// A network as it is configured: a name, a version and a chain of plugins.
public struct ConfigurationList: Sendable {
    /// The network's name.
    public let name: String
    /// The version that the plugins are called with.
    public let version: SpecVersion
    /// The configuration of each plugin, in the chain's order.
    public let plugins: [JSON]
    /// Whether CHECK is never asked for.
    public let disablesCheck: Bool
    /// Whether GC is never asked for.
    public let disablesGC: Bool
    /// Where it came from, for messages.
    public let file: String
    /// The list as JSON text, as it is cached beside a result.
    public let bytes: [UInt8]

    /// Where networks are configured unless said otherwise.
    public static let standardDirectory = "/etc/cni/net.d"

    /// Reads a list, or a single plugin's configuration as a list of one.
    public init(parsing bytes: [UInt8], file: String) throws(CNIError) {
        let json: JSON
        guard bytes.contains(where: { !" \t\r\n".utf8.contains($0) }) else {
            throw CNIError(.decode, "\(file): the file is empty")
        }
        do throws(CNIError) {
            json = try JSON(parsing: bytes)
        } catch {
            throw error.prefixed(file)
        }
        try self.init(json, file: file, bytes: bytes)
    }

    /// Reads the file of a list, with the plugins of the directory beside it that has its name.
    public init(file: String) throws(CNIError) {
        let list = try ConfigurationList(parsing: Files.read(file), file: file)
        let json = try? JSON(parsing: list.bytes)
        guard json?["loadOnlyInlinedPlugins"] != .bool(true) else {
            guard !list.plugins.isEmpty else { throw Self.isWithoutPlugins(file) }
            self = list
            return
        }
        let directory = file.prefix(through: file.lastIndex(of: "/") ?? file.startIndex)
        var further: [JSON] = []
        for path in Self.files(in: "\(directory)\(list.name)", suffixes: [".conf"]) {
            further.append(try Self.parse(path))
        }
        guard !list.plugins.isEmpty || !further.isEmpty else { throw Self.isWithoutPlugins(file) }
        guard !further.isEmpty, let json else {
            self = list
            return
        }
        let whole = json.setting("plugins", to: .array(list.plugins + further))
        try self.init(whole, file: file, bytes: Array(whole.text(indented: false).utf8))
    }

    /// The list of a network's name in a directory: lists come before single configurations.
    ///
    /// - Throws: Code 3 if there is none.
    public static func find(_ name: String, in directory: String) throws(CNIError)
        -> ConfigurationList
    {
        try Files.requireReadable(directory)
        var unread: [String] = []
        for suffixes in [[".conflist"], [".conf", ".json"]] {
            for file in files(in: directory, suffixes: suffixes) {
                do throws(CNIError) {
                    let list = try ConfigurationList(file: file)
                    if list.name == name { return list }
                } catch {
                    unread.append("\(error)")
                }
            }
        }
        let remark =
            unread.isEmpty ? "" : ", as far as can be read: " + unread.joined(separator: "; ")
        throw CNIError(
            .unknownContainer, "no network \"\(name)\" is configured in \(directory)" + remark)
    }

    /// Every list in a directory, each with its file or with what is wrong with it.
    public static func all(in directory: String) -> [(file: String, list: Result<Self, CNIError>)] {
        files(in: directory, suffixes: [".conf", ".conflist", ".json"]).map { file in
            do throws(CNIError) {
                return (file, .success(try ConfigurationList(file: file)))
            } catch {
                return (file, .failure(error))
            }
        }
    }

    /// The configuration that one plugin gets.
    public func configuration(
        of plugin: JSON, previous: JSON? = nil, capabilities: JSON = [:], adding: JSON = [:]
    ) -> JSON {
        var json = plugin.setting("name", to: .string(name))
            .setting("cniVersion", to: .string("\(version)"))
        if let previous { json = json.setting("prevResult", to: previous) }
        // Of the runtime's capabilities a plugin sees those that it declares.
        let declared = (plugin["capabilities"]?.members ?? []).filter { $0.value == .bool(true) }
        let given = declared.compactMap { declared in
            capabilities[declared.key].map { (key: declared.key, value: $0) }
        }
        if !given.isEmpty {
            let own = (plugin["runtimeConfig"]?.members ?? []).filter { member in
                !given.contains { $0.key == member.key }
            }
            json = json.setting("runtimeConfig", to: .object(own + given))
        }
        for (key, value) in adding.members ?? [] { json = json.setting(key, to: value) }
        return json
    }

    private init(_ json: JSON, file: String, bytes: [UInt8]) throws(CNIError) {
        guard let name = json["name"]?.text, !name.isEmpty else {
            throw CNIError(.invalidConfiguration, "\(file): name: missing")
        }
        self.name = name
        self.file = file
        version = try Self.version(json, file)
        disablesCheck = Self.flag("disableCheck", json)
        disablesGC = Self.flag("disableGC", json)
        if let plugins = json["plugins"] {
            guard let plugins = plugins.elements else {
                throw CNIError(
                    .decode, "\(file): plugins: expected an array of objects, found \(plugins.kind)"
                )
            }
            guard !plugins.isEmpty else { throw Self.isWithoutPlugins(file) }
            self.plugins = plugins
            self.bytes = bytes
        } else if file.hasSuffix(".conflist") {
            // All of them may be in files beside it.
            plugins = []
            self.bytes = bytes
        } else {
            plugins = [json]
            let list: JSON = [
                "name": .string(name), "cniVersion": .string("\(version)"), "plugins": [json],
            ]
            self.bytes = Array(list.text(indented: false).utf8)
        }
        for (index, plugin) in plugins.enumerated() where plugin["type"]?.text ?? "" == "" {
            throw CNIError(.invalidConfiguration, "\(file): plugins[\(index)].type: missing")
        }
    }

    private static func isWithoutPlugins(_ file: String) -> CNIError {
        CNIError(.invalidConfiguration, "\(file): plugins: missing: a list has one plugin at least")
    }

    /// The newest of `cniVersion` and `cniVersions` that this project speaks.
    private static func version(_ json: JSON, _ file: String) throws(CNIError) -> SpecVersion {
        if let version = json["cniVersion"], version.text == nil, version != .null {
            throw CNIError(
                .decode, "\(file): cniVersion: expected a string, found \(version.kind)")
        }
        var texts = (json["cniVersions"]?.elements ?? []).compactMap(\.text)
        let own = json["cniVersion"]?.text ?? ""
        if !own.isEmpty { texts.append(own) }
        guard !texts.isEmpty else { return .v0_1_0 }
        var versions: [SpecVersion] = []
        for text in texts {
            guard let version = SpecVersion(text) else {
                throw CNIError(.decode, "\(file): cniVersion: not a version: \"\(text)\"")
            }
            versions.append(version)
        }
        let known = versions.filter { $0 <= .v1_1_0 }
        guard let newest = known.max() else {
            throw CNIError(
                .incompatibleVersion,
                "\(file): cniVersion: \(texts.joined(separator: ", ")): newer than 1.1.0")
        }
        return newest
    }

    /// A flag that may also be written as a string.
    private static func flag(_ key: String, _ json: JSON) -> Bool {
        json[key] == .bool(true) || json[key]?.text?.lowercased() == "true"
    }

    static func files(in directory: String, suffixes: [String]) -> [String] {
        Files.names(in: directory).filter { name in suffixes.contains { name.hasSuffix($0) } }
            .map { "\(directory)/\($0)" }
    }

    private static func parse(_ file: String) throws(CNIError) -> JSON {
        do throws(CNIError) {
            return try JSON(parsing: Files.read(file))
        } catch {
            throw error.prefixed(file)
        }
    }
}
