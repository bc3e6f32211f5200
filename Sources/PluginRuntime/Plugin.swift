public import CNI

/// A plugin: a name under which this program is run, and what it does for each verb.
public protocol Plugin: Sendable {
    /// The name runtimes know it by, which is the name of its link to this program.
    static var name: String { get }
    /// The versions of the specification it speaks, oldest first.
    static var versions: [SpecVersion] { get }
    /// The configuration keys it takes.
    static var keys: [KeyDescription] { get }
    /// Whether it gives out addresses, for others' `ipam.type`.
    static var isIPAM: Bool { get }

    /// Attaches a container, wholly or not at all.
    static func add(_ call: Call) throws(CNIError) -> AddResult
    /// Compares an attachment with what it should be.
    static func check(_ call: Call) throws(CNIError)
    /// Detaches a container, whatever is left of it.
    static func del(_ call: Call) throws(CNIError)
    /// Takes back what an ADD has answered that came to nothing, and no more than that.
    static func takeBack(_ result: AddResult, of call: Call) throws(CNIError)
    /// Removes what belongs to no valid attachment of the network.
    static func gc(_ call: Call) throws(CNIError)
    /// Throws code 50 if ADD could not be served now.
    static func status(_ call: Call) throws(CNIError)
}

/// Finds a plugin of this program by its name.
public typealias PluginLookup = @Sendable (String) -> (any Plugin.Type)?

extension Plugin {
    /// All versions.
    public static var versions: [SpecVersion] { SpecVersion.all }
    /// Most do not.
    public static var isIPAM: Bool { false }
    /// Most keep nothing of an earlier ADD's that DEL would take away.
    public static func takeBack(_ result: AddResult, of call: Call) throws(CNIError) {
        try del(call)
    }
}

/// Runs plugins for a runtime.
public enum Program {
    /// This program's version, as the about text shows it.
    public static let version = "0.1.0"

    /// What is printed, where, and how the process ends.
    public struct Output: Sendable, Equatable {
        /// The text for standard output.
        public var standardOutput = ""
        /// The text for standard error.
        public var standardError = ""
        /// The exit status.
        public var status: Int32 = 0
    }

    /// Serves one call of a plugin.
    ///
    /// - Parameters:
    ///   - plugin: The plugin the program was started as.
    ///   - siblings: The plugins of this program, any of which may serve as IPAM.
    ///   - environment: Looks an environment variable up.
    ///   - input: Reads standard input.
    /// - Returns: What to print, and the status to exit with.
    public static func serve(
        _ plugin: any Plugin.Type, siblings: @escaping PluginLookup,
        environment: (String) -> String?, input: () throws(CNIError) -> [UInt8]
    ) -> Output {
        var record: CallRecord?
        return serve(
            plugin, siblings: siblings, environment: environment, input: input, noting: &record)
    }

    /// Serves one call of a plugin, and notes for the log which and how it ended; nothing where no
    /// verb was run.
    static func serve(
        _ plugin: any Plugin.Type, siblings: @escaping PluginLookup,
        environment: (String) -> String?, input: () throws(CNIError) -> [UInt8],
        noting record: inout CallRecord?
    ) -> Output {
        if (environment("CNI_COMMAND") ?? "").isEmpty {
            return Output(
                standardError: "CNI \(plugin.name) plugin v\(version)\n"
                    + "CNI protocol versions supported: "
                    + list(plugin.versions, separator: ", ") + "\n")
        }
        do throws(CNIError) {
            let call = try Invocation(environment: environment, input: input)
            guard call.verb != .version else {
                return Output(standardOutput: versionText(plugin.versions))
            }
            record = CallRecord(plugin: plugin.name, call)
            let configuration = try NetworkConfiguration(
                parsing: call.input, needsResult: [.add, .check].contains(call.verb),
                supporting: plugin.versions)
            record?.network = configuration.name
            try requireVersion(configuration.version, for: call.verb, of: plugin)
            let text = try run(plugin, Call(call, configuration, siblings: siblings))
            return Output(standardOutput: text)
        } catch {
            record?.error = error
            return Output(standardOutput: error.json.text(indented: true), status: 1)
        }
    }

    /// Runs a plugin's verb and returns what it prints.
    private static func run(
        _ plugin: any Plugin.Type, _ call: Call
    ) throws(CNIError) -> String {
        switch call.invocation.verb {
        case .add:
            let result = try plugin.add(call)
            return try result.json(for: call.configuration.version).text(indented: true)
        case .check: try plugin.check(call)
        case .del: try plugin.del(call)
        case .gc: try plugin.gc(call)
        case .status: try plugin.status(call)
        case .version: break
        }
        return ""
    }

    /// VERSION's answer, written as text: it is asked often, and then start-up is all there is.
    private static func versionText(_ versions: [SpecVersion]) -> String {
        "{\"cniVersion\":\"" + SpecVersion.v1_1_0.description + "\",\"supportedVersions\":["
            + list(versions, quote: "\"", separator: ",") + "]}\n"
    }

    private static func list(
        _ versions: [SpecVersion], quote: String = "", separator: String
    ) -> String {
        var text = ""
        for version in versions {
            if !text.isEmpty { text += separator }
            text += quote + version.description + quote
        }
        return text
    }

    private static func requireVersion(
        _ version: SpecVersion, for verb: Verb, of plugin: any Plugin.Type
    ) throws(CNIError) {
        let since: SpecVersion? =
            switch verb {
            case .check: .v0_4_0
            case .gc, .status: .v1_1_0
            default: nil
            }
        if let least = since {
            guard version >= least else {
                throw CNIError(
                    .incompatibleVersion, "config version does not allow \(verb.rawValue)")
            }
            guard plugin.versions.contains(where: { $0 >= version }) else {
                throw CNIError(
                    .incompatibleVersion, "plugin version does not allow \(verb.rawValue)")
            }
        }
        guard plugin.versions.contains(version) else {
            throw CNIError(incompatible: "\(version)", with: plugin.versions)
        }
    }
}
