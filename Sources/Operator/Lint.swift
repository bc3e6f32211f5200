internal import CLinux
public import CNI
internal import Glibc
internal import PluginRuntime
internal import Plugins

/// Looks for what is wrong with networks' configurations before a container meets it.
public struct Lint: Sendable {
    /// Something that is wrong, or may be.
    public struct Fault: Sendable, Equatable {
        /// How bad it is.
        public enum Severity: String, Sendable {
            /// ADD will fail, or do something else than is written.
            case error
            /// It may be meant so.
            case warning
        }

        /// How bad it is.
        public let severity: Severity
        /// The file.
        public let file: String
        /// The place in it, empty for the whole: `plugins[0].ipam.subnet`.
        public let path: String
        /// What is wrong.
        public let message: String

        init(_ severity: Severity, _ file: String, _ path: String, _ message: String) {
            self.severity = severity
            self.file = file
            self.path = path
            self.message = message
        }
    }

    /// The directories with plugins.
    public var pluginDirectories: [String]
    /// Whether it is looked at that the plugins are installed and who may write the files.
    public var looksAtHost: Bool
    /// The host's links and packet filters; nil to look at none.
    public var host: Host?

    /// A look with plugins from some directories and, unless it is at the files alone, at the host of
    /// the calling thread.
    public init(pluginDirectories: [String], looksAtHost: Bool = true) {
        self.pluginDirectories = pluginDirectories
        self.looksAtHost = looksAtHost
        host = looksAtHost ? .current() : nil
    }

    /// The faults of a file, or of all the networks in a directory and of what they are to each
    /// other.
    public func faults(at path: String) throws(CNIError) -> [Fault] {
        guard try Files.exists(path), let status = Files.status(path) else {
            throw CNIError(.unknownContainer, "\(path): no such file or directory")
        }
        guard status.isDirectory else { return faults(ofFiles: [path]) }
        try Files.requireReadable(path)
        let files = ConfigurationList.files(in: path, suffixes: [".conf", ".conflist", ".json"])
        return (looksAtHost ? permissions(of: path) : []) + faults(ofFiles: files)
    }

    private func faults(ofFiles files: [String]) -> [Fault] {
        var faults: [Fault] = []
        var lists: [ConfigurationList] = []
        for file in files {
            if looksAtHost { faults += permissions(of: file) }
            do throws(CNIError) {
                let list = try ConfigurationList(file: file)
                faults += self.faults(of: list)
                if let host { faults += self.faults(of: list, on: host) }
                lists.append(list)
            } catch {
                let text = error.message
                let prefix = "\(file): "
                faults.append(
                    Fault(
                        .error, file, "",
                        text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text))
            }
        }
        faults += conflicts(lists)
        if let host { faults += neighbours(lists, on: host) }
        return faults
    }

    // MARK: - One network

    private static let listKeys = [
        "cniVersion", "cniVersions", "name", "plugins", "disableCheck", "disableGC",
        "loadOnlyInlinedPlugins",
    ]

    private func faults(of list: ConfigurationList) -> [Fault] {
        var faults: [Fault] = []
        let json = try? JSON(parsing: Files.read(list.file))
        if let bytes = try? Files.read(list.file), let key = JSON.repeatedKey(in: bytes) {
            faults.append(
                Fault(
                    .error, list.file, "", "the key \"\(key)\" is there twice: the last one counts")
            )
        }
        let isList = json?["plugins"] != nil
        if isList {
            for (key, _) in json?.members ?? []
            where !Self.listKeys.contains(where: { $0.lowercased() == key.lowercased() }) {
                let near = KeyTable.nearest(key, among: Self.listKeys)
                faults.append(
                    Fault(
                        .warning, list.file, key,
                        "unknown key" + (near.map { ": did you mean \"\($0)\"?" } ?? "")))
            }
        }
        if !isValid(list) {
            faults.append(
                Fault(.error, list.file, "name", "\"\(list.name)\" is no name of a network"))
        }
        for (index, plugin) in list.plugins.enumerated() {
            let place = isList ? "plugins[\(index)]" : ""
            faults += self.faults(of: plugin, at: index, in: list, place)
        }
        return faults
    }

    private func isValid(_ list: ConfigurationList) -> Bool {
        (try? NetworkConfiguration(json: ["name": .string(list.name)])) != nil
    }

    private func faults(
        of json: JSON, at index: Int, in list: ConfigurationList, _ place: String
    ) -> [Fault] {
        let type = json["type"]?.text ?? ""
        let ipam = json["ipam"]?["type"]?.text ?? ""
        let inside = { (key: String) in place.isEmpty ? key : "\(place).\(key)" }
        var faults: [Fault] = []
        if looksAtHost { faults += missing(type, ipam, inside, list.file) }
        let table = KeyTable(plugin: type, ipam: ipam)
        faults += capabilities(json, of: type, table, list, inside)
        guard let plugin = plugin(named: type), let table else { return faults }
        let keyFaults = table.faults(in: json, at: place)
        faults += keyFaults.map {
            Fault($0.isUnknownKey ? .warning : .error, list.file, $0.path, $0.message)
        }
        if keyFaults.allSatisfy(\.isUnknownKey) {
            faults += refusals(plugin, json, list).map {
                Fault(.error, list.file, place, $0.message)
            }
        }
        let isChained = plugin.isChained
        if isChained == true, index == 0 {
            faults.append(
                Fault(.error, list.file, inside("type"), "\(type) must come behind another plugin"))
        }
        if type == Portmap.name, json["capabilities"]?["portMappings"] != .bool(true) {
            faults.append(
                Fault(
                    .warning, list.file, place,
                    "without \"capabilities\": {\"portMappings\": true} no runtime passes ports on")
            )
        }
        faults += sharedNetwork(type, json, list, inside)
        return faults + contradictions(type, json, list, inside)
    }

    private func missing(
        _ type: String, _ ipam: String, _ inside: (String) -> String, _ file: String
    ) -> [Fault] {
        let runtime = Runtime(pluginDirectories: pluginDirectories, cache: ResultCache())
        return [("type", type), ("ipam.type", ipam)].compactMap { key, name in
            guard !name.isEmpty else { return nil }
            let places = pluginDirectories.joined(separator: ":")
            guard let path = runtime.path(of: name) else {
                let near =
                    pluginNames.contains(name)
                    ? nil : KeyTable.nearest(name, among: pluginNames)
                return Fault(
                    .error, file, inside(key),
                    "\(name) is not installed in \(places)"
                        + (near.map { ": did you mean \"\($0)\"?" } ?? ""))
            }
            guard let status = Files.status(path), !status.isExecutable else { return nil }
            let mode = String(status.st_mode & 0o7777, radix: 8)
            return Fault(.error, file, inside(key), "\(path), mode \(mode), may not be run")
        }
    }

    /// What the plugin itself refuses, and its IPAM plugin.
    private func refusals(
        _ plugin: any Plugin.Type, _ json: JSON, _ list: ConfigurationList
    ) -> [CNIError] {
        var errors: [CNIError] = []
        do throws(CNIError) {
            let call = try list.trialCall(of: json, plugins: pluginDirectories)
            try parse(plugin, call)
            if let ipam = Plugins.plugin(named: call.configuration.ipamType) {
                try parse(ipam, call)
            }
        } catch {
            errors.append(error)
        }
        return errors
    }

    private func parse(_ plugin: any Plugin.Type, _ call: Call) throws(CNIError) {
        if let plugin = plugin as? any InterfacePlugin.Type {
            try parse(interface: plugin, call)
        } else if let plugin = plugin as? any ChainedPlugin.Type {
            try parse(chained: plugin, call)
        } else if plugin == HostLocal.self {
            _ = try HostLocal.Options(call)
        } else if plugin != Loopback.self {
            // Of the others STATUS is reading the configuration, and nothing else.
            try plugin.status(call)
        }
    }

    private func parse<P: InterfacePlugin>(interface: P.Type, _ call: Call) throws(CNIError) {
        _ = try P.options(call)
    }

    private func parse<P: ChainedPlugin>(chained: P.Type, _ call: Call) throws(CNIError) {
        _ = try P.options(call)
    }

    // MARK: - The host

    private func permissions(of path: String) -> [Fault] {
        guard let status = Files.status(path) else { return [] }
        var faults: [Fault] = []
        if status.st_mode & 0o022 != 0 {
            let mode = String(status.st_mode & 0o7777, radix: 8)
            faults.append(
                Fault(.error, path, "", "mode \(mode): others than the owner may write it"))
        }
        if status.st_uid != 0 {
            faults.append(
                Fault(.warning, path, "", "it belongs to user \(status.st_uid), not to root"))
        }
        return faults
    }
}

extension Plugin {
    /// Whether it works on what a plugin before it has made; nil for IPAM plugins.
    fileprivate static var isChained: Bool? {
        if self is any InterfacePlugin.Type || self == Loopback.self { return false }
        return self == HostLocal.self || self == Static.self ? nil : true
    }
}
