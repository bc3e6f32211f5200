internal import CLinux
package import CNI
internal import Glibc
package import SystemPackage

/// Runs another plugin's program as the specification says.
package enum Subprocess {
    /// How often, and with what pause, a program that is just being written is tried again.
    private static let busyAttempts = 6

    /// How much is kept of what a program says on standard error.
    private static let errorLimit = 4 << 10
    /// How much of what a program said goes into an error.
    private static let quotedLimit = 256

    /// How the run of a plugin's program ended.
    enum Ending {
        /// With an answer.
        case answer([UInt8])
        /// With an error that it printed, or before it began: nothing has come of it.
        case refusal(CNIError)
        /// Without a word that makes sense: something may have come of it.
        case failure(CNIError)
    }

    /// Runs a plugin with the same input and environment but another verb.
    static func ending(
        of path: FilePath, _ verb: Verb, _ invocation: Invocation
    ) -> Ending {
        ending(of: path, environment: environment(verb), input: invocation.input)
    }

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
        switch ending(of: path, environment: environment, input: input) {
        case .answer(let output): return output
        case .refusal(let error), .failure(let error): throw error
        }
    }

    private static func ending(
        of path: FilePath, environment: [String], input: [UInt8]
    ) -> Ending {
        let ended: Ended
        do throws(CNIError) {
            ended = try spawn(path, [], environment, input: input)
        } catch {
            return .refusal(error)
        }
        guard ended.status != 0 else { return .answer(ended.output) }
        if let error = (try? JSON(parsing: ended.output)).flatMap({ CNIError($0) }) {
            return .refusal(error)
        }
        let said = ended.output.isEmpty ? ended.errors : ended.output
        let text = String(decoding: said.prefix(quotedLimit), as: UTF8.self)
        let how = "\(path) ended with status \(ended.status)"
        return .failure(
            CNIError(
                .internalError,
                text.isEmpty
                    ? "netplugin failed with no error message: \(how)"
                    : "netplugin failed: \(how): \(text)"))
    }

    /// Runs any program with arguments, in this process's environment.
    ///
    /// - Returns: How it ended, what it printed, and the beginning of what it complained of.
    package static func run(
        _ path: FilePath, _ arguments: [String], input: [UInt8] = []
    ) throws(CNIError) -> (status: Int32, output: [UInt8], errors: [UInt8]) {
        let ended = try spawn(path, arguments, ownEnvironment, input: input)
        return (ended.status, ended.output, ended.errors)
    }

    /// This process's environment with another verb.
    private static func environment(_ verb: Verb) -> [String] {
        ownEnvironment.filter { !$0.hasPrefix("CNI_COMMAND=") } + ["CNI_COMMAND=\(verb.rawValue)"]
    }

    /// This process's environment, `NAME=value` each.
    private static var ownEnvironment: [String] {
        var variables: [String] = []
        var entry = unsafe environ
        while let text = unsafe entry.pointee {
            unsafe variables.append(String(cString: text))
            unsafe entry += 1
        }
        return variables
    }

    /// A program's end: its status, or 128 and the signal that ended it, and what it said.
    private struct Ended {
        var status: Int32 = 0
        var output: [UInt8] = []
        /// The beginning of what it said on standard error, all of which has been passed on.
        var errors: [UInt8] = []
    }

    /// The two ends of a pipe.
    private struct Pipe {
        let readEnd: Int32
        let writeEnd: Int32
    }

    /// Some pipes for a program, or none of them.
    private static func pipes(_ count: Int, _ path: FilePath) throws(CNIError) -> [Pipe] {
        var pipes: [Pipe] = []
        while pipes.count < count {
            var ends: [Int32] = [-1, -1]
            guard unsafe linux_pipe(&ends) == 0 else {
                let error = failure("pipe", path, errno)
                for pipe in pipes {
                    close(pipe.readEnd)
                    close(pipe.writeEnd)
                }
                throw error
            }
            pipes.append(Pipe(readEnd: ends[0], writeEnd: ends[1]))
        }
        return pipes
    }

    private static func spawn(
        _ path: FilePath, _ arguments: [String], _ environment: [String], input: [UInt8]
    ) throws(CNIError) -> Ended {
        let pipes = try pipes(3, path)
        let (inputPipe, outputPipe, errorPipe) = (pipes[0], pipes[1], pipes[2])
        // Where whoever started us ignores it, the kernel keeps no status for us.
        let previous = signal(SIGCHLD, SIG_DFL)
        defer { _ = signal(SIGCHLD, previous) }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, inputPipe.readEnd, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, outputPipe.writeEnd, 1)
        unsafe posix_spawn_file_actions_adddup2(&actions, errorPipe.writeEnd, 2)
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
        close(inputPipe.readEnd)
        close(outputPipe.writeEnd)
        close(errorPipe.writeEnd)
        guard error == 0 else {
            close(inputPipe.writeEnd)
            close(outputPipe.readEnd)
            close(errorPipe.readEnd)
            throw failure("run", path, error)
        }
        var ended = exchange(input, inputPipe.writeEnd, outputPipe.readEnd, errorPipe.readEnd)
        var status: Int32 = 0
        var waited: pid_t
        repeat { waited = unsafe waitpid(child, &status, 0) } while waited < 0 && errno == EINTR
        // The shell's way to put a signal into a status; without one, it is not known to have succeeded.
        let signal = status & 0x7f
        ended.status = waited < 0 ? 255 : signal == 0 ? (status >> 8) & 0xff : 128 + signal
        return ended
    }

    /// Feeds the input and collects the output at once, so that no pipe can fill up for good.
    private static func exchange(
        _ input: [UInt8], _ writeEnd: Int32, _ outputEnd: Int32, _ errorEnd: Int32
    ) -> Ended {
        // A child that does not read its input must not end us.
        let previous = signal(SIGPIPE, SIG_IGN)
        defer { _ = signal(SIGPIPE, previous) }
        _ = fcntl(writeEnd, F_SETFL, O_NONBLOCK)
        var rest = input[...]
        var ended = Ended()
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        // One that is closed is -1, which poll(2) passes over.
        var ends = [
            pollfd(fd: outputEnd, events: Int16(POLLIN), revents: 0),
            pollfd(fd: errorEnd, events: Int16(POLLIN), revents: 0),
            pollfd(fd: writeEnd, events: Int16(POLLOUT), revents: 0),
        ]
        func finish(_ number: Int) {
            close(ends[number].fd)
            ends[number].fd = -1
        }
        func received(_ number: Int) -> ArraySlice<UInt8> {
            guard ends[number].fd >= 0, ends[number].revents != 0 else { return [] }
            let count = unsafe read(ends[number].fd, &buffer, buffer.count)
            if count == 0 || (count < 0 && errno != EINTR) { finish(number) }
            return buffer[..<max(count, 0)]
        }
        while ends[0].fd >= 0 || ends[1].fd >= 0 {
            guard unsafe poll(&ends, nfds_t(ends.count), -1) >= 0 else {
                guard errno == EINTR else { break }
                continue
            }
            if ends[2].fd >= 0, ends[2].revents != 0 {
                let count = unsafe rest.withUnsafeBytes { bytes in
                    unsafe write(writeEnd, bytes.baseAddress, bytes.count)
                }
                if count > 0 { rest = rest.dropFirst(count) }
                if rest.isEmpty || (count < 0 && errno != EAGAIN && errno != EINTR) { finish(2) }
            }
            ended.output += received(0)
            let errors = received(1)
            unsafe errors.withUnsafeBytes { bytes in
                unsafe _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count)
            }
            ended.errors += errors.prefix(errorLimit - ended.errors.count)
        }
        for number in ends.indices where ends[number].fd >= 0 { finish(number) }
        return ended
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
