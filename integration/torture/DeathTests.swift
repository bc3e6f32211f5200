import Foundation
import Testing

extension Torture {
    @Suite("death at every system call", .enabled(if: isRoot), .serialized)
    struct DeathTests {
        /// What comes after the death.
        enum End: String, CaseIterable, Sendable {
            case deletion = "two DELs"
            case collection = "GC"
        }

        /// A verb of a subject, and what comes after it.
        private struct Job: Sendable {
            let subject: Subject
            let verb: String
            let end: End
        }

        @Test(
            "killed at any system call, a verb leaves nothing that two DELs or one GC do not remove"
        )
        func all() throws {
            var jobs: [Job] = []
            for subject in Subject.all where Sweep.isWanted(subject) {
                for verb in ["ADD", "DEL", "GC"] {
                    jobs.append(Job(subject: subject, verb: verb, end: .deletion))
                    if subject.isCollectable {
                        jobs.append(Job(subject: subject, verb: verb, end: .collection))
                    }
                }
            }
            let tallies = Sweep.inParallel(jobs, Self.sweep)
            let names = jobs.map { "\($0.subject): \($0.verb), then \($0.end.rawValue)" }
            Sweep.report("killed", Array(zip(names, tallies)))
            for (name, tally) in zip(names, tallies) { #expect(tally.problems == [], "\(name)") }
            // A single verb's sample may have a few points, of which some were calls more than this time.
            for (subject, tallies) in Dictionary(
                grouping: zip(jobs, tallies), by: \.0.subject.name)
            {
                let tried = tallies.map(\.1.tried).reduce(0, +)
                let bitten = tallies.map(\.1.bitten).reduce(0, +)
                #expect((bitten + 1) * 10 > tried * 9, "\(subject): too few were killed")
            }
        }

        private static func sweep(_ job: Job) -> Sweep.Tally {
            var tally = Sweep.Tally()
            do {
                let site = try Site(job.subject)
                let points = try site.points(of: job.verb)
                Sweep.visit(points, &tally) { point, tally in
                    do {
                        try kill(job, at: point, of: site, &tally)
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

        /// Kills a verb at a point, lets come what is to come after it, and looks at what is left.
        private static func kill(
            _ job: Job, at point: Site.Point, of site: Site, _ tally: inout Sweep.Tally
        ) throws {
            let ended = try site.run(to: point, ["-k", "\(point.number)"])
            // Where the table of addresses differs, a run may be a few calls shorter.
            guard ended.status == -SIGKILL || ended.succeeded else {
                throw Failure("status \(ended.status): \(ended.output)\(ended.errors)")
            }
            if !ended.succeeded { tally.bitten += 1 }
            if job.end == .deletion {
                try site.detach()
                try site.detach()
            }
            try site.collect()
            // GC is for containers that are no more, whose inside went with the namespace.
            let left = try site.leftovers(inside: job.end == .deletion && job.verb != "GC")
            if job.end == .collection { try site.clear() }
            guard left.isEmpty else { throw Failure("left behind:\n\(left)") }
            guard job.verb == "ADD", job.end == .deletion else { return }
            try site.attach()
            try site.detach()
        }
    }
}
