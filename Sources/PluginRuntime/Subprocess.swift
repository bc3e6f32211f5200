internal import CLinux
package import CNI
internal import Glibc
package import SystemPackage

/// Runs another plugin's program as the specification says.
package enum Subprocess {
    /// How often, and with what pause, a program that is just being written is tried again.
    private static let busyAttempts = 6

    /// Runs a plugin with the same input and environment but another verb.
    ///
    /// - Returns: What it printed.
    /// - Throws: The error it printed, or what kept it from running.
    static func run(
        _ path: FilePath, _ verb: Verb, _ invocation: Invocation
    ) throws(CNIError) -> [UInt8] {
        try run(path, environment: environment(verb), input: invocation.input)
    }

    /// Runs a plugin with an environment, `NAME=value` each.
    ///
    /// - Returns: What it printed.
    /// - Throws: The error it printed, or what kept it from running.
    package static func run(
        _ path: FilePath, environment: [String], input: [UInt8]
    ) throws(CNIError) -> [UInt8] {
        let (status, output) = try spawn(path, [], environment, input: input)
        guard status != 0 else { return output }
        if let error = (try? JSON(parsing: output)).flatMap({ CNIError($0) }) { throw error }
        let text = String(decoding: output.prefix(256), as: UTF8.self)
        throw CNIError(
            .internalError,
            text.isEmpty
                ? "netplugin failed with no error message: \(path) ended with status \(status)"
                : "netplugin failed: \(path) ended with status \(status): \(text)")
    }

    /// Runs any program with arguments, in this process's environment.
    ///
    /// - Returns: How it ended and what it printed.
    package static func run(
        _ path: FilePath, _ arguments: [String], input: [UInt8] = []
    ) throws(CNIError) -> (status: Int32, output: [UInt8]) {
        var variables: [String] = []
        var entry = unsafe environ
        while let text = unsafe entry.pointee {
            unsafe variables.append(String(cString: text))
            unsafe entry += 1
        }
        return try spawn(path, arguments, variables, input: input)
    }

    private static func environment(_ verb: Verb) -> [String] {
        var variables: [String] = []
        var entry = unsafe environ
        while let text = unsafe entry.pointee {
            let variable = unsafe String(cString: text)
            if !variable.hasPrefix("CNI_COMMAND=") { variables.append(variable) }
            unsafe entry += 1
        }
        return variables + ["CNI_COMMAND=\(verb.rawValue)"]
    }

    private static func spawn(
        _ path: FilePath, _ arguments: [String], _ environment: [String], input: [UInt8]
    ) throws(CNIError) -> (status: Int32, output: [UInt8]) {
        var (inputEnds, outputEnds): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        guard unsafe linux_pipe(&inputEnds) == 0, unsafe linux_pipe(&outputEnds) == 0
        else { throw failure("pipe", path, errno) }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, inputEnds[0], 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, outputEnds[1], 1)
        var child: pid_t = 0
        var error: Int32 = 0
        unsafe withCStrings([path.string] + arguments) { arguments in
            unsafe withCStrings(environment) { environment in
                for attempt in 1...busyAttempts {
                    error = unsafe posix_spawn(
                        &child, path.string, &actions, nil, arguments, environment)
                    guard error == ETXTBSY, attempt < busyAttempts else { break }
                    sleep(1)
                }
            }
        }
        close(inputEnds[0])
        close(outputEnds[1])
        guard error == 0 else {
            close(inputEnds[1])
            close(outputEnds[0])
            throw failure("run", path, error)
        }
        let output = exchange(input, inputEnds[1], outputEnds[0])
        var status: Int32 = 0
        while unsafe waitpid(child, &status, 0) < 0, errno == EINTR {}
        // The shell's way to put a signal into a status.
        let signal = status & 0x7f
        return (signal == 0 ? (status >> 8) & 0xff : 128 + signal, output)
    }

    /// Feeds the input and collects the output at once, so that neither pipe can fill up for good.
    private static func exchange(
        _ input: [UInt8], _ writeEnd: Int32, _ readEnd: Int32
    ) -> [UInt8] {
        // A child that does not read its input must not end us.
        let previous = signal(SIGPIPE, SIG_IGN)
        defer { _ = signal(SIGPIPE, previous) }
        _ = fcntl(writeEnd, F_SETFL, O_NONBLOCK)
        var rest = input[...]
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        var isWriting = true
        while true {
            var ends = [
                pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0),
                pollfd(fd: isWriting ? writeEnd : -1, events: Int16(POLLOUT), revents: 0),
            ]
            guard unsafe poll(&ends, 2, -1) >= 0 || errno == EINTR else { break }
            if isWriting, ends[1].revents != 0 {
                let count = unsafe rest.withUnsafeBytes { bytes in
                    unsafe write(writeEnd, bytes.baseAddress, bytes.count)
                }
                if count > 0 { rest = rest.dropFirst(count) }
                if rest.isEmpty || (count < 0 && errno != EAGAIN && errno != EINTR) {
                    close(writeEnd)
                    isWriting = false
                }
            }
            if ends[0].revents != 0 {
                let count = unsafe read(readEnd, &buffer, buffer.count)
                if count > 0 { output += buffer[..<count] }
                if count == 0 || (count < 0 && errno != EINTR) { break }
            }
        }
        if isWriting { close(writeEnd) }
        close(readEnd)
        return output
    }

    private static func failure(_ verb: String, _ path: FilePath, _ error: Int32) -> CNIError {
        let cause = Errno(rawValue: error)
        return CNIError(.io, "\(verb) \(path): \(cause) (\(cause.rawValue))")
    }
}

/// Lends a null-terminated vector of C strings.
private func withCStrings(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Void
) {
    var pointers = unsafe strings.map { unsafe strdup($0) } + [nil]
    defer { unsafe pointers.forEach { unsafe free($0) } }
    unsafe pointers.withUnsafeMutableBufferPointer { buffer in
        guard let start = buffer.baseAddress else { return }
        unsafe body(UnsafePointer(start))
    }
}
