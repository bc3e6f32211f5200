import Foundation
import Testing

extension Torture {
    @Suite("errors at every system call", .enabled(if: isRoot), .serialized)
    struct FaultTests {
        /// What can go wrong with the system calls that reach outside the process, or ask for memory.
        private static let errors: [(calls: Set<String>, errors: [Int32])] = [
            (
                ["openat", "mkdir", "mkdirat", "renameat", "renameat2"],
                [ENOMEM, EIO, ENOSPC, EPERM]
            ),
            (["openat2", "setns", "ioctl"], [ENOMEM, EPERM]),
            (["socket", "bind", "setsockopt"], [ENOMEM, ENOBUFS, EPERM]),
            (["flock"], [ENOMEM, EINTR, EAGAIN]),
            (["getdents64"], [ENOMEM, EIO]),
            (["write", "pwrite64", "ftruncate"], [ENOSPC, EIO]),
            (["unlinkat"], [EIO, EPERM]),
            (["pread64", "newfstatat", "fstatfs", "utimensat"], [EIO]),
            (["read"], [EIO, EINTR]),
            (["sendto", "sendmsg"], [ENOBUFS, ENOMEM, EAGAIN, EINTR, EPERM]),
            (["recvmsg", "recvfrom", "poll"], [ENOBUFS, ENOMEM, EINTR]),
            (["mmap", "brk"], [ENOMEM]),
        ]

        /// Calls without which a program cannot go on, and may end in its own way.
        private static let memory: Set = ["mmap", "brk"]

        /// Errors that say "again", which no kernel does for ever.
        private static let passing: Set = [EINTR, EAGAIN]

        /// A fault: an error at a point, or at all calls of that name from there on.
        private struct Fault: CustomStringConvertible {
            let point: Site.Point
            let error: Int32
            let lasts: Bool

            var options: [String] {
                ["-c", point.call, lasts ? "-f" : "-e", "\(point.number)", "\(error)"]
            }
            var description: String {
                "\(String(cString: strerror(error))) \(lasts ? "from there on " : "")in \(point)"
            }
        }

        /// A verb of a subject, and whether the fault lasts.
        private struct Job: Sendable {
            let subject: Subject
            let verb: String
            let lasts: Bool
        }

        @Test(
            "with an error at any system call, a verb does its work, fails whole, or the next DEL does",
            arguments: [false, true])
        func all(lasts: Bool) {
            var jobs: [Job] = []
            for subject in Subject.all where Sweep.isWanted(subject) {
                for verb in ["ADD", "DEL", "GC"] {
                    jobs.append(Job(subject: subject, verb: verb, lasts: lasts))
                }
            }
            let tallies = Sweep.inParallel(jobs, Self.sweep)
            let names = jobs.map { "\($0.subject): \($0.verb)" }
            Sweep.report(lasts ? "lasting errors" : "errors", Array(zip(names, tallies)))
            for (name, tally) in zip(names, tallies) { #expect(tally.problems == [], "\(name)") }
            // A single verb may feel few: a GC with nothing to remove calls little that it needs.
            for (subject, tallies) in Dictionary(
                grouping: zip(jobs, tallies), by: \.0.subject.name)
            {
                let tried = tallies.map(\.1.tried).reduce(0, +)
                let bitten = tallies.map(\.1.bitten).reduce(0, +)
                #expect(bitten * 4 > tried || tried < 20, "\(subject): too few were felt")
            }
        }

        private static func sweep(_ job: Job) -> Sweep.Tally {
            var tally = Sweep.Tally()
            do {
                let site = try Site(job.subject)
                // What comes before is the loader's, which then starts no program.
                let points = try site.points(of: job.verb).filter(\.isInProgram)
                let faults = points.flatMap { point in
                    errors.filter { $0.calls.contains(point.call) }.flatMap(\.errors)
                        .filter { !job.lasts || !passing.contains($0) }
                        .map { Fault(point: point, error: $0, lasts: job.lasts) }
                }
                Sweep.visit(faults, &tally) { fault, tally in
                    do {
                        try feel(fault, at: site, &tally)
                        try site.clear()
                        let left = try site.leftovers(inside: job.verb != "GC")
                        guard left.isEmpty else {
                            throw Failure("left behind after DEL:\n\(left)")
                        }
                    } catch {
                        // One thing gone wrong is not to make the next go wrong.
                        try? site.clear()
                        throw error
                    }
                }
            } catch {
                tally.problems.append("\(error)")
            }
            return tally
        }

        /// Runs into a fault and looks at what comes of it.
        private static func feel(_ fault: Fault, at site: Site, _ tally: inout Sweep.Tally) throws {
            let point = fault.point
            try site.approach(point)
            let isFirst = point.verb == "ADD" && point.plugin == 0
            let before = isFirst || point.verb != "ADD" ? nil : try site.state()
            let ended = try site.call(point, fault.options)
            if !ended.succeeded { tally.bitten += 1 }
            if ended.json["code"].number != nil {
                let message = ended.json["msg"].string ?? ""
                guard message.contains(":") else { throw Failure("names nothing: \(ended.output)") }
                guard point.verb == "ADD" else { return }
                let left = try site.leftovers(from: before)
                guard !left.isEmpty else { return }
                // What fails from there on fails in taking back, too; then DEL must do it.
                guard fault.lasts else {
                    throw Failure("left behind by \(ended.output):\n\(left)")
                }
                tally.leftUntilDeletion += 1
            } else if ended.succeeded {
                // What is done in spite of an error is done right.
                if point.verb == "ADD" { try site.check(point.plugin) }
                guard point.verb == "DEL", point.plugin == 0 else { return }
                let left = try site.leftovers()
                guard left.isEmpty else {
                    throw Failure("left behind by a DEL that succeeds:\n\(left)")
                }
            } else if !memory.contains(point.call),
                !point.writesAnswer, !(fault.lasts && point.call == "write")
            {
                // An answer that cannot be written is none.
                throw Failure("no answer, status \(ended.status): \(ended.errors.suffix(500))")
            }
        }

        @Test("a fault is in a call of its name, from its number on")
        func named() throws {
            let fault = { (name: String) in
                try Command(
                    [
                        "\(World.build)/interfere", "-c", name, "-e", "1", "\(EIO)", "cat",
                        "/dev/null",
                    ]
                ).wait()
            }
            // The first call is the loader's for memory, the first that reads its for a library.
            #expect(try fault("read").errors.contains("cannot read file data"))
            #expect(try fault("mkdirat").succeeded)
        }

        /// A fault that once left something: a call of the program's, counted from 1 or back
        /// from -1, and the error.
        struct KnownFault: Sendable {
            let subject: String
            let verb: String
            let call: String
            let place: Int
            let error: Int32
        }

        static let known: [KnownFault] = [
            .init(subject: "loopback", verb: "ADD", call: "sendto", place: -1, error: ENOBUFS),
            .init(subject: "loopback", verb: "DEL", call: "newfstatat", place: 1, error: EIO),
            .init(subject: "tap", verb: "DEL", call: "newfstatat", place: 1, error: EIO),
            .init(subject: "host-device", verb: "ADD", call: "sendto", place: 4, error: ENOBUFS),
            .init(subject: "host-device", verb: "ADD", call: "sendto", place: 5, error: ENOBUFS),
            .init(subject: "macvlan", verb: "ADD", call: "sendto", place: 5, error: ENOBUFS),
            .init(subject: "portmap", verb: "ADD", call: "setsockopt", place: -1, error: ENOBUFS),
        ]

        @Test("what once left something leaves nothing", arguments: known)
        func leavesNothing(fault: KnownFault) throws {
            let subject = try #require(Subject.all.first { $0.name == fault.subject })
            let site = try Site(subject)
            let points = try site.points(of: fault.verb).filter {
                $0.call == fault.call && $0.isInProgram
            }
            let point = try #require(
                fault.place < 0
                    ? points.dropLast(-fault.place - 1).last
                    : points.dropFirst(fault.place - 1).first)
            var tally = Sweep.Tally()
            try Self.feel(Fault(point: point, error: fault.error, lasts: false), at: site, &tally)
            #expect(tally.bitten == 1)
            try site.clear()
            #expect(try site.leftovers() == "")
        }
    }
}
