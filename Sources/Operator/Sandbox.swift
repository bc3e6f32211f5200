internal import SystemPackage
public import CNI
internal import Glibc
internal import Netlink
internal import Plan
internal import PluginRuntime
internal import Rtnetlink

/// A network namespace of its own for a command, gone when nobody is in it.
///
/// Nothing on disk leads to it: its path is that of this process's descriptor.
public struct Sandbox: ~Copyable {
    private let namespace: NetworkNamespace
    private let home: NetworkNamespace
    /// The path for CNI_NETNS.
    public var path: String { "/proc/\(getpid())/fd/\(namespace.descriptor.rawValue)" }

    /// Makes a namespace with its loopback up.
    public static func make() throws(CNIError) -> Sandbox {
        let home = try current()
        try wrapping { () throws(KernelError) in try NetworkNamespace.enterNew() }
        let sandbox = Sandbox(namespace: try current(), home: home)
        try wrapping { () throws(KernelError) in
            try LinkUp("lo", in: .host).write(Kernel(container: nil), over: nil)
        }
        try sandbox.enterHome()
        return sandbox
    }

    private init(namespace: consuming NetworkNamespace, home: consuming NetworkNamespace) {
        self.namespace = namespace
        self.home = home
    }

    /// Starts a program in the namespace, found by PATH.
    public func spawn(_ words: [String], _ signals: SignalWatch) throws(CNIError) -> Int32 {
        do throws(KernelError) {
            try namespace.enter()
        } catch {
            throw CNIError(error)
        }
        let outcome = signals.spawn(words)
        try enterHome()
        return try outcome.get()
    }

    private static func current() throws(CNIError) -> NetworkNamespace {
        do throws(KernelError) {
            return try NetworkNamespace.current()
        } catch {
            throw CNIError(error)
        }
    }

    private func enterHome() throws(CNIError) {
        do throws(KernelError) {
            try home.enter()
        } catch {
            throw CNIError(error)
        }
    }
}

/// Keeps signals from ending this process, and passes them on to a program that it waits for.
public struct SignalWatch {
    private static let numbers = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD]
    private let before: sigset_t

    /// From now on signals wait until they are looked for.
    public init() {
        var (set, old) = (sigset_t(), sigset_t())
        unsafe sigemptyset(&set)
        for number in Self.numbers { unsafe sigaddset(&set, number) }
        unsafe sigprocmask(SIG_BLOCK, &set, &old)
        before = old
    }

    /// Starts a program for which signals are as they were.
    func spawn(_ words: [String]) -> Result<pid_t, CNIError> {
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe _ = posix_spawnattr_destroy(&attributes) }
        // Whoever started this may have blocked them, as threads of some libraries do.
        var mask = before
        for number in Self.numbers { unsafe sigdelset(&mask, number) }
        unsafe posix_spawnattr_setsigmask(&attributes, &mask)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { unsafe arguments.forEach { unsafe free($0) } }
        var process: pid_t = 0
        let error = unsafe posix_spawnp(
            &process, words[0], nil, &attributes, &arguments, environ)
        guard error == 0 else {
            return .failure(
                CNIError(
                    .io, "run \(words[0]): \(unsafe String(cString: strerror(error))) (\(error))"))
        }
        return .success(process)
    }

    /// Waits for the end of a program and returns its status as a shell has it.
    ///
    /// What the terminal sends reaches the program by itself; what a process sends is passed on.
    public func wait(for process: Int32) -> Int32 {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for number in Self.numbers { unsafe sigaddset(&set, number) }
        while true {
            var status: Int32 = 0
            let ended = unsafe waitpid(process, &status, WNOHANG)
            if ended == process {
                let signal = status & 0x7f
                return signal == 0 ? status >> 8 & 0xff : 128 + signal
            }
            if ended < 0, errno == ECHILD { return 1 }
            var information = unsafe siginfo_t()
            let number = unsafe sigwaitinfo(&set, &information)
            guard number > 0, number != SIGCHLD, unsafe information.si_code <= 0 else { continue }
            kill(process, number)
        }
    }
}
