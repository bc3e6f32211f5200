import Glibc

/// Signals that would end the command, kept until it has cleared up after itself.
struct Interruption {
    private static let numbers = [SIGINT, SIGTERM, SIGHUP]

    /// Runs `body`; a signal that comes meanwhile ends the command after it.
    static func postponed<Value>(until body: (Interruption) throws -> Value) rethrows -> Value {
        var (set, before) = (sigset_t(), sigset_t())
        unsafe sigemptyset(&set)
        // nohup(1), for one, has a signal ignored.
        for number in numbers where !isIgnored(number) { unsafe sigaddset(&set, number) }
        unsafe sigprocmask(SIG_BLOCK, &set, &before)
        // Whoever started this may have blocked them, as threads of some libraries do.
        for number in numbers { unsafe sigdelset(&before, number) }
        defer { unsafe _ = sigprocmask(SIG_SETMASK, &before, nil) }
        return try body(Interruption())
    }

    private static func isIgnored(_ number: Int32) -> Bool {
        var action = sigaction()
        unsafe sigaction(number, nil, &action)
        // SIG_IGN is a pointer that is a number.
        return unsafe unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1
    }

    /// Whether one has come.
    var hasCome: Bool {
        var set = sigset_t()
        unsafe sigpending(&set)
        return Self.numbers.contains { unsafe sigismember(&set, $0) == 1 }
    }
}
