import Foundation
import Testing

extension Torture {
    /// What one set of plugins attached, and the other removes, for every subject that Debian's Go
    /// plugins have.
    @Suite("the Go plugins' containers, and back", .enabled(if: isRoot), .serialized)
    struct UpgradeTests {
        /// A subject on a host where all that is shared and stays is there already, whoever made it.
        private struct Scene {
            let world: World
            let network: Network
            let container: World.Container
            let interface: String
            let before: Snapshot
            let inside: Snapshot

            init?(_ subject: Subject) throws {
                let peer = try Peer.directory()
                world = try World()
                network = try subject.network(for: 0, in: world, version: "1.0.0")
                let types = network.plugins.compactMap { $0["type"].string }
                guard types.allSatisfy({ FileManager.default.fileExists(atPath: "\(peer)/\($0)") })
                else { return nil }
                interface = subject.interface
                container = try world.container()
                try container.output(of: "ip link set lo up")
                try container.output(of: "ip link set lo down")
                for path in [nil, peer, nil] {
                    network.path = path
                    let first = try world.container()
                    try network.add(first, interface: interface)
                    try network.del(first, interface: interface)
                }
                before = try Snapshot(of: world)
                inside = try Snapshot(of: container)
            }

            /// What is left of an attachment on the host and in the container.
            func leftovers(_ subject: Subject) throws -> String {
                let lasts = subject.lastsInside ?? "nothing"
                return try world.settledDifference(from: before)
                    + Snapshot(of: container).difference(from: inside)
                    .split(separator: "\n").filter { !$0.hasPrefix(lasts) }
                    .map { "\nin the container: \($0)" }.joined()
            }
        }

        /// Runs an attachment of a subject through both sets of plugins; nil where only one has it.
        private static func passOn(
            _ subject: Subject, _ body: (Scene, _ peer: String) throws -> Void
        ) -> Sweep.Tally? {
            var tally = Sweep.Tally()
            do {
                guard let scene = try Scene(subject) else { return nil }
                tally.count(1)
                try body(scene, try Peer.directory())
                let left = try scene.leftovers(subject)
                if !left.isEmpty { tally.problems.append("left behind:\n\(left)") }
            } catch {
                tally.problems.append("\(error)")
            }
            return tally
        }

        private func all(
            _ what: String,
            _ body: @escaping @Sendable (Subject, Scene, _ peer: String) throws -> Void
        ) {
            let subjects = Subject.all.filter { Sweep.isWanted($0) }
            let tallies = Sweep.inParallel(subjects) { subject in
                (subject.name, Self.passOn(subject) { try body(subject, $0, $1) })
            }
            let both = tallies.compactMap { name, tally in tally.map { (name, $0) } }
            Sweep.report(what, both)
            #expect(both.count > 8)
            for (name, tally) in both { #expect(tally.problems == [], "\(name)") }
        }

        @Test("what the Go plugins attached is in order here, and DEL leaves nothing of it")
        func here() {
            all("taken over") { _, scene, peer in
                let (network, interface) = (scene.network, scene.interface)
                network.path = peer
                try network.add(scene.container, interface: interface)
                network.path = nil
                // The Go plugins do not wait for duplicate address detection on the host's end.
                for _ in 0..<100
                where try !scene.world.onHost("ip -6 addr show tentative").isEmpty {
                    usleep(100_000)
                }
                if let difference = try network.check(scene.container, interface: interface) {
                    throw Failure("CHECK: \(difference)")
                }
                try network.del(scene.container, interface: interface)
            }
        }

        @Test("what these attached the Go plugins remove, and GC here what they do not know of")
        func back() {
            all("given back") { subject, scene, peer in
                let (network, interface) = (scene.network, scene.interface)
                try network.add(scene.container, interface: interface)
                network.path = peer
                if let difference = try network.check(scene.container, interface: interface) {
                    throw Failure("CHECK: \(difference)")
                }
                try network.del(scene.container, interface: interface)
                network.path = nil
                let newest = try subject.network(for: 0, in: scene.world)
                try newest.gc(keeping: [])
            }
        }
    }
}
