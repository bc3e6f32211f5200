import Foundation
import Testing

extension Torture {
    @Suite("between two system calls", .enabled(if: isRoot), .serialized)
    struct InterruptionTests {
        @Test("a dump that the kernel says was interrupted, three times, is asked for again unseen")
        func dumps() {
            let subjects = Subject.all.filter { Sweep.isWanted($0) }
            let tallies = Sweep.inParallel(subjects) { subject in
                var tally = Sweep.Tally()
                do {
                    let site = try Site(subject)
                    for verb in ["ADD", "CHECK", "DEL", "GC"] {
                        for plugin in site.network.plugins.indices {
                            tally.points += 1
                            tally.tried += 1
                            try site.clear()
                            let point = Site.Point(
                                verb: verb, plugin: plugin,
                                type: site.network.plugins[plugin]["type"].string ?? "",
                                number: 0, call: "recvmsg", isInProgram: true)
                            let ended = try site.run(to: point, ["-i", "3"])
                            guard ended.succeeded else {
                                throw Failure("\(verb) of \(point.type): \(ended.output)")
                            }
                        }
                    }
                    try site.clear()
                    let left = try site.leftovers(inside: false)
                    guard left.isEmpty else { throw Failure("left behind:\n\(left)") }
                } catch {
                    tally.problems.append("\(error)")
                }
                return tally
            }
            Sweep.report("interrupted dumps", Array(zip(subjects.map(\.name), tallies)))
            for (subject, tally) in zip(subjects, tallies) {
                #expect(tally.problems == [], "\(subject)")
            }
        }

        /// What another container's call does while one is stopped between two system calls.
        private struct Job: Sendable {
            let subject: Subject
            let verb: String
            let other: String
        }

        @Test(
            "whatever another container's call does between two system calls, both come out right")
        func others() {
            var jobs: [Job] = []
            for subject in Subject.all where Sweep.isWanted(subject) && subject.isShared {
                for (verb, other) in [
                    ("ADD", "ADD"), ("ADD", "DEL"), ("DEL", "ADD"), ("ADD", "GC"),
                ] {
                    jobs.append(Job(subject: subject, verb: verb, other: other))
                }
            }
            let tallies = Sweep.inParallel(jobs, Self.sweep)
            let names = jobs.map { "\($0.subject): \($0.verb), meanwhile \($0.other)" }
            Sweep.report("interleaved", Array(zip(names, tallies)))
            for (name, tally) in zip(names, tallies) { #expect(tally.problems == [], "\(name)") }
        }

        private static func sweep(_ job: Job) -> Sweep.Tally {
            var tally = Sweep.Tally()
            do {
                let site = try Site(job.subject)
                let points = try site.points(of: job.verb)
                let other = try Guest(of: site)
                Sweep.visit(points, &tally) { point, tally in
                    do {
                        try site.approach(point)
                        if job.other == "DEL" { try other.attach() }
                        let script = try other.script(
                            job.other, point.plugin, keeping: site.container)
                        let ended = try site.call(point, ["-m", "\(point.number)", script])
                        guard ended.succeeded else {
                            throw Failure("\(ended.output)\(ended.errors)")
                        }
                        tally.bitten += 1
                        if job.verb == "ADD" { try site.check(point.plugin) }
                        if job.other == "ADD" { try other.check(point.plugin) }
                        try other.detach()
                        try site.clear()
                        let left = try site.leftovers()
                        guard left.isEmpty else { throw Failure("left behind:\n\(left)") }
                    } catch {
                        try? other.detach()
                        try? site.clear()
                        throw error
                    }
                }
            } catch {
                tally.problems.append("\(error)")
            }
            return tally
        }
    }
}

/// Another container of a site's network, whose calls are made from a script.
private final class Guest {
    private let site: Site
    private let network: Network
    private let container: World.Container
    private var results: [JSON] = []

    init(of site: Site) throws {
        self.site = site
        network = try site.subject.network(for: 2, in: site.world)
        container = try site.world.container()
    }

    func attach() throws {
        results = []
        for index in network.plugins.indices { try add(index) }
    }

    private func add(_ index: Int) throws {
        let ended = try site.world.call(
            type(index), "ADD",
            network.configuration(network.plugins[index], previous: results.last),
            container, interface: site.subject.interface)
        guard ended.succeeded else { throw Failure("ADD of the other: \(ended.output)") }
        results.append(ended.json)
    }

    func detach() throws {
        results = []
        for index in network.plugins.indices.reversed() {
            let ended = try site.world.call(
                type(index), "DEL", network.configuration(network.plugins[index]), container,
                interface: site.subject.interface)
            guard ended.succeeded else { throw Failure("DEL of the other: \(ended.output)") }
        }
    }

    /// CHECK of one plugin, with the result that a script's ADD of it gave.
    func check(_ index: Int) throws {
        let result = JSON(text: site.world.file(".other.out") ?? "")
        let ended = try site.world.call(
            type(index), "CHECK", network.configuration(network.plugins[index], previous: result),
            container, interface: site.subject.interface)
        guard ended.succeeded else { throw Failure("CHECK of the other: \(ended.output)") }
    }

    /// A command that runs a verb of one plugin for this container, those before it having been
    /// run; for GC, that plugin's, with the neighbours and `kept` valid.
    func script(_ verb: String, _ index: Int, keeping kept: World.Container) throws -> String {
        if verb == "ADD" {
            results = []
            for before in 0..<index { try add(before) }
        }
        var keys: JSON = "{}"
        if verb == "GC" {
            let valid = (site.neighbours + [kept]).map {
                ["containerID": $0.id, "ifname": site.subject.interface]
            }
            keys["cni.dev/valid-attachments"] = JSON(valid)
        }
        let directory = site.world.directory
        let input = network.configuration(
            network.plugins[index], previous: verb == "ADD" ? results.last : nil, with: keys)
        try input.description.write(
            toFile: "\(directory)/.other.in", atomically: true, encoding: .utf8)
        return "CNI_COMMAND=\(verb) CNI_CONTAINERID=\(container.id) CNI_NETNS=\(container.path) "
            + "CNI_IFNAME=\(site.subject.interface) CNI_PATH=\(site.world.plugins) "
            + "\(site.world.plugins)/\(type(index)) < \(directory)/.other.in > \(directory)/.other.out"
    }

    private func type(_ index: Int) -> String { network.plugins[index]["type"].string ?? "" }
}
