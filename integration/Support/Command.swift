import CLinux
import Glibc

/// A program that ran, or runs: its input, output and errors are files, so that nothing waits for
/// a pipe.
struct Command: Sendable {
    /// What a program left when it ended.
    struct Ended: Sendable {
        /// The exit status, or minus the signal that ended it.
        let status: Int32
        let output: String
        let errors: String
        /// The most memory it had at once, in bytes.
        let peakMemory: Int
        /// The time that it had a processor, in seconds.
        let processorTime: Double

        var succeeded: Bool { status == 0 }
        /// The output as JSON, or null.
        var json: JSON { JSON(text: output) }
    }

    let process: pid_t
    private let output: Int32
    private let errors: Int32

    /// Starts a program; `arguments[0]` is looked up in PATH.
    ///
    /// It runs in the network namespace of that file, or else in this process's own.
    init(
        _ arguments: [String], environment: [String: String]? = nil, input: [UInt8] = [],
        in namespace: String? = nil
    ) throws {
        let given = Command.scratchFile()
        output = Command.scratchFile()
        errors = Command.scratchFile()
        defer { close(given) }
        guard write(given, input, input.count) == input.count else {
            throw Failure("write the input of \(arguments)")
        }
        lseek(given, 0, SEEK_SET)

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (number, file) in [given, output, errors].enumerated() {
            posix_spawn_file_actions_adddup2(&actions, file, Int32(number))
        }
        var words = arguments.map { strdup($0) } + [nil]
        let setting = environment.map { $0.map { "\($0)=\($1)" } } ?? Command.environment
        var variables = setting.map { strdup($0) } + [nil]
        defer { for word in words + variables { free(word) } }

        let home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        defer { close(home) }
        if let namespace {
            let there = open(namespace, O_RDONLY | O_CLOEXEC)
            defer { close(there) }
            guard there >= 0, linux_enter_network_namespace(there) == 0 else {
                throw Failure("enter \(namespace): \(String(cString: strerror(errno)))")
            }
        }
        var process: pid_t = 0
        let error = posix_spawnp(&process, arguments[0], &actions, nil, &words, &variables)
        guard namespace == nil || linux_enter_network_namespace(home) == 0 else {
            fatalError("no way back into the network namespace of the tests")
        }
        guard error == 0 else {
            throw Failure("start \(arguments[0]): \(String(cString: strerror(error)))")
        }
        self.process = process
    }

    /// Waits for the end.
    func wait() -> Ended {
        var status: Int32 = 0
        var usage = rusage()
        while wait4(process, &status, 0, &usage) < 0, errno == EINTR {}
        let signal = status & 0x7f
        defer {
            close(output)
            close(errors)
        }
        return Ended(
            status: signal == 0 ? status >> 8 & 0xff : -signal, output: Command.text(output),
            errors: Command.text(errors), peakMemory: usage.ru_maxrss * 1024,
            processorTime: [usage.ru_utime, usage.ru_stime].reduce(0) {
                $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6
            })
    }

    /// Whether it has ended.
    var hasEnded: Bool {
        var info = siginfo_t()
        waitid(P_PID, id_t(process), &info, WEXITED | WNOHANG | WNOWAIT)
        return info.si_signo == SIGCHLD
    }

    /// What it has printed so far.
    var outputSoFar: String { Command.text(output) }

    private static let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]

    private static func scratchFile() -> Int32 {
        var name = Array("/tmp/swift-cni-test-XXXXXX".utf8CString)
        let file = mkstemp(&name)
        unlink(name)
        _ = fcntl(file, F_SETFD, FD_CLOEXEC)
        return file
    }

    private static func text(_ file: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: Int(lseek(file, 0, SEEK_END)))
        let count = pread(file, &bytes, bytes.count, 0)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}

/// Runs a program to its end; `words` are split at spaces.
@discardableResult
func run(_ words: String, in namespace: String? = nil) throws -> Command.Ended {
    try Command(words.split(separator: " ").map(String.init), in: namespace).wait()
}

/// Runs a program that must succeed, and returns what it printed.
@discardableResult
func output(of words: String, in namespace: String? = nil) throws -> String {
    let ended = try run(words, in: namespace)
    guard ended.succeeded else {
        throw Failure("\(words): status \(ended.status): \(ended.errors)\(ended.output)")
    }
    return ended.output
}

/// Why a test could not go on.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
