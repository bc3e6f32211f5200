import Foundation
import Testing

/// Everything that is done to the plugins on purpose; `make torture` does all of it, and every run of
/// the tests a sample.
@Suite("torture", .serialized)
enum Torture {}

/// Many tries of one kind on all subjects, several at a time, and what they came to.
struct Sweep: Sendable {
    /// What one subject's tries came to.
    struct Tally: Sendable {
        /// How many there were to try.
        var points = 0
        /// How many were tried.
        var tried = 0
        /// In how many the program was killed, or answered with an error.
        var bitten = 0
        /// After how many something was left by a failed ADD, which the next DEL removed.
        var leftUntilDeletion = 0
        /// What was wrong, a text each.
        var problems: [String] = []

        /// Adds points of which all were tried and did what they were to.
        mutating func count(_ number: Int, _ problems: [String] = []) {
            points += number
            tried += number
            bitten += number
            self.problems += problems
        }
    }

    /// The whole, with `make torture`, or a sample.
    static let isWhole = ProcessInfo.processInfo.environment["TORTURE"] == "whole"

    /// How long a sample of one subject's tries may take, in seconds.
    private static let budget: TimeInterval = 1.5
    /// How many subjects are worked on at once: most of the time the kernel is waited for.
    private static let width = 10

    /// Does something for each of some items, several at a time; the answers in the items' order.
    static func inParallel<Item: Sendable, Answer: Sendable>(
        _ items: [Item], width: Int = width, _ body: @escaping @Sendable (Item) -> Answer
    ) -> [Answer] {
        let work = Work(items, body)
        let threads = (0..<min(width, items.count)).map { _ in
            let thread = Thread { work.run() }
            thread.stackSize = 8 << 20
            thread.start()
            return thread
        }
        work.wait(for: threads.count)
        return work.answers.compactMap(\.self)
    }

    /// Subjects by a part of their names, where only some are wanted.
    static func isWanted(_ subject: Subject) -> Bool {
        let part = ProcessInfo.processInfo.environment["TORTURE_SUBJECT"] ?? ""
        return subject.isPossible && (part.isEmpty || subject.name.contains(part))
    }

    /// Visits points so that any beginning of the walk is spread over all of them; a sample ends
    /// when its time is spent or when five things have gone wrong.
    static func visit<Point>(
        _ points: [Point], _ tally: inout Tally, _ visit: (Point, inout Tally) throws -> Void
    ) {
        let end = Date(timeIntervalSinceNow: isWhole ? .infinity : budget)
        let stride = 17
        tally.points += points.count
        for start in 0..<stride {
            for index in Swift.stride(from: start, to: points.count, by: stride) {
                guard Date() < end, tally.problems.count < 5 else { return }
                tally.tried += 1
                do {
                    try visit(points[index], &tally)
                } catch {
                    let problem = "\(points[index]): \(error)"
                    tally.problems.append(problem)
                    // At once: the rest of a long run may take half an hour.
                    FileHandle.standardError.write(Data((problem + "\n").utf8))
                }
            }
        }
    }

    /// Prints what subjects' tries came to and keeps it for the table of `make torture`.
    static func report(_ what: String, _ results: [(subject: String, tally: Tally)]) {
        var lines = ""
        for (subject, tally) in results {
            let fields = [
                what, subject, "\(tally.points)", "\(tally.tried)", "\(tally.bitten)",
                "\(tally.leftUntilDeletion)", "\(tally.problems.count)",
            ]
            lines += fields.joined(separator: "\t") + "\n"
        }
        print(lines, terminator: "")
        guard let file = ProcessInfo.processInfo.environment["TORTURE_TABLE"],
            let handle = FileHandle(forWritingAtPath: file)
        else { return }
        handle.seekToEndOfFile()
        handle.write(Data(lines.utf8))
    }
}

/// Items that threads take one after another.
private final class Work<Item: Sendable, Answer: Sendable>: @unchecked Sendable {
    private let condition = NSCondition()
    private let items: [Item]
    private let body: @Sendable (Item) -> Answer
    private var next = 0
    private var ended = 0
    private(set) var answers: [Answer?]

    init(_ items: [Item], _ body: @escaping @Sendable (Item) -> Answer) {
        self.items = items
        self.body = body
        answers = items.map { _ in nil }
    }

    func run() {
        condition.lock()
        while next < items.count {
            let index = next
            next += 1
            condition.unlock()
            let answer = body(items[index])
            condition.lock()
            answers[index] = answer
        }
        ended += 1
        condition.broadcast()
        condition.unlock()
    }

    func wait(for threads: Int) {
        condition.lock()
        while ended < threads { condition.wait() }
        condition.unlock()
    }
}
