internal import CLinux
public import CNI
public import FoundationEssentials
internal import Glibc
internal import PluginRuntime

/// A call of a plugin as the log has it.
public struct LoggedCall: Sendable {
    /// When it ended.
    public let time: Date
    /// What was asked.
    public let verb: String
    /// Of which plugin.
    public let plugin: String
    /// On which network; empty if the configuration could not be read.
    public let network: String
    /// For which container; empty for GC and STATUS.
    public let container: String
    /// For which interface.
    public let interface: String
    /// The pod that the runtime named.
    public let pod: String?
    /// How long it took, in microseconds.
    public let microseconds: Int
    /// The code of its error; 0 for success.
    public let code: Int
    /// Its error.
    public let error: String?
    /// The line.
    public let json: JSON

    /// Reads a line of the log; nil if it is none.
    public init?(line: some StringProtocol) {
        guard let json = try? JSON(parsing: Array(line.utf8)), let verb = json["verb"]?.text,
            let plugin = json["plugin"]?.text, let text = json["time"]?.text,
            let time = try? Date(
                text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)),
            case .integer(let microseconds)? = json["us"], case .integer(let code)? = json["code"]
        else { return nil }
        self.json = json
        self.time = time
        self.verb = verb
        self.plugin = plugin
        self.microseconds = microseconds
        self.code = code
        network = json["network"]?.text ?? ""
        container = json["container"]?.text ?? ""
        interface = json["interface"]?.text ?? ""
        pod = json["pod"]?.text
        error = json["error"]?.text
    }

    /// Where plugins log to unless the runtime's environment says otherwise.
    public static let standardPath = CallLog.standardPath

    /// The calls in a log, oldest first; none if there is no log.
    public static func all(in path: String) -> [LoggedCall] {
        guard let bytes = try? Files.read(path) else { return [] }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
            .compactMap { LoggedCall(line: $0) }
    }

    /// Makes plugins log: to a file, which is made, or to the journal.
    ///
    /// - Throws: Code 4 if what was logged until now would be lost.
    public static func turnOn(at path: String, to target: String?) throws(CNIError) {
        if let slash = path.lastIndex(of: "/") {
            try Files.makeDirectory(String(path[..<slash]), mode: 0o755)
        }
        // A link to what is not absolute leads beside the link.
        let place =
            target == "journal"
            ? CallLog.journal
            : target.map { $0.hasPrefix("/") ? $0 : Files.workingDirectory + "/" + $0 } ?? path
        let (there, wanted) = (Files.status(path)?.identity, Files.status(place)?.identity)
        var status = stat()
        if there != wanted, unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            status.st_size > 0
        {
            throw CNIError(
                .environment,
                "\(path): has calls in it: move it away first, or log --off removes it")
        }
        if target != "journal" {
            let file = unsafe open(place, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
            guard file >= 0 else { throw failure("create", place) }
            close(file)
        }
        guard place != path, there == nil || there != wanted else { return }
        unsafe _ = unlink(path)
        guard unsafe symlink(place, path) == 0 else { throw failure("create", path) }
    }

    /// Makes plugins log no more; what a link led to stays.
    public static func turnOff(at path: String) throws(CNIError) {
        guard unsafe unlink(path) == 0 || errno == ENOENT else { throw failure("remove", path) }
    }

    private static func failure(_ verb: String, _ path: String) -> CNIError {
        CNIError(.io, "\(verb) \(path): \(unsafe String(cString: strerror(errno))) (\(errno))")
    }
}
