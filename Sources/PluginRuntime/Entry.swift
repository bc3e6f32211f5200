internal import CNI
internal import Glibc

extension Program {
    /// The most input that is read, in bytes; runtimes send kilobytes.
    private static let inputLimit = 16 << 20

    /// Runs the plugin whose name the program was started under, and ends the process.
    public static func main(_ plugins: @escaping PluginLookup, names: @autoclosure () -> [String])
        -> Never
    {
        // One word of the arguments is all that is needed of them.
        let path = unsafe CommandLine.unsafeArgv[0].map { unsafe String(cString: $0) } ?? ""
        let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
        let name = String(path[(slash.map { path.utf8.index(after: $0) } ?? path.startIndex)...])
        guard let plugin = plugins(name) else {
            let names = names().joined(separator: ", ")
            write(
                "\(name): run this program by the name of a plugin, as a link to it: \(names)\n",
                to: STDERR_FILENO)
            exit(2)
        }
        let start = monotonicNanoseconds()
        var record: CallRecord?
        let output = serve(
            plugin, siblings: plugins, environment: environmentVariable, input: readInput,
            noting: &record)
        write(output.standardError, to: STDERR_FILENO)
        let isWritten = write(output.standardOutput, to: STDOUT_FILENO)
        if let record {
            let path = environmentVariable(CallLog.variable) ?? CallLog.standardPath
            CallLog.append(to: path) { record.line(nanoseconds: monotonicNanoseconds() - start) }
        }
        exit(isWritten ? output.status : 1)
    }

    private static func environmentVariable(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    private static func readInput() throws(CNIError) -> [UInt8] {
        var input: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 8 << 10)
        while true {
            let count = unsafe read(STDIN_FILENO, &buffer, buffer.count)
            if count == 0 { return input }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw CNIError(
                    .io, "error reading from stdin: \(unsafe String(cString: strerror(errno)))")
            }
            input += buffer[..<count]
            guard input.count <= inputLimit else {
                throw CNIError(
                    .decode, "error reading from stdin: more than \(inputLimit) bytes")
            }
        }
    }

    @discardableResult
    private static func write(_ text: String, to descriptor: Int32) -> Bool {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { bytes in
                unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}
