import Foundation
import Testing

extension Torture {
    /// What one set of plugins attached, the other removes.
    ///
    /// It is so for every subject that Debian's Go plugins have, which are of version 1.1.1.
    @Suite("the Go plugins' containers, and back", .enabled(if: isRoot), .serialized)
    struct UpgradeTests {
        /// Who attaches and who removes.
        enum Way: String, CaseIterable, Sendable {
            case here = "taken over"
            case back = "given back"
        }

        /// A network of a subject, as both sets of plugins know it.
        private struct Passage {
            let way: Way
            let subject: Subject
            let world: World
            let network: Network
            let peer: String

            /// - Returns: Nil if only one of them has the plugins.
            init?(_ subject: Subject, _ way: Way) throws {
                self.subject = subject
                self.way = way
                let peer = try Peer.directory()
                self.peer = peer
                world = try World()
                let whole = try subject.network(for: 0, in: world)
                guard
                    whole.plugins.allSatisfy({ plugin in
                        let program = peer + "/" + (plugin["type"].string ?? "")
                        // Shares of a link are this project's alone.
                        return FileManager.default.fileExists(atPath: program)
                            && plugin["shaping"].isNull
                    })
                else { return nil }
                network = Network(
                    JSON([
                        "name": whole.name, "cniVersion": "1.0.0",
                        "plugins": whole.plugins.map { Self.known($0, way).value },
                    ]), in: world)
            }

            /// A configuration without what came after 1.1.1 and, for the way back, with the rules that
            /// the Go plugins look for.
            private static func known(_ plugin: JSON, _ way: Way) -> JSON {
                var plugin = plugin
                for key in ["txQLen", "ingressPolicy", "ipspoofchk"] { plugin[key] = JSON(nil) }
                if plugin["type"].string == "tuning" {
                    plugin["sysctl"] = #"{"net.core.somaxconn": "512"}"#
                }
                // Two default routes are an error there.
                if plugin["isDefaultGateway"].bool == true { plugin["ipam"]["routes"] = JSON(nil) }
                guard way == .back else { return plugin }
                if plugin["ipMasq"].bool == true { plugin["ipMasqBackend"] = #""iptables""# }
                if plugin["type"].string == "portmap" { plugin["backend"] = #""iptables""# }
                return plugin
            }

            private var hasLimits: Bool {
                network.plugins.contains { $0["type"].string == "bandwidth" }
            }

            /// Attaches a container, looks at it and removes it.
            func pass(_ container: World.Container) throws {
                let interface = subject.interface
                network.path = way == .here ? peer : nil
                try network.add(container, interface: interface)
                // The Go plugins do not wait for duplicate address detection on the host's end.
                for _ in 0..<100 where try !world.onHost("ip -6 addr show tentative").isEmpty {
                    usleep(100_000)
                }
                network.path = way == .here ? nil : peer
                // The two limit rates in ways that have nothing in common, as both CHECKs say.
                if let difference = try network.check(container, interface: interface),
                    !hasLimits
                {
                    throw Failure("CHECK: \(difference)")
                }
                try network.del(container, interface: interface)
                guard way == .back else { return }
                // What the Go plugins do not know of is for GC.
                network.path = nil
                let newest = Network(
                    JSON([
                        "name": network.name, "cniVersion": "1.1.0",
                        "plugins": network.plugins.map(\.value),
                    ]), in: world)
                try newest.gc(keeping: [])
            }

            /// What is left on the host and in the container of one that was passed on.
            func leftovers() throws -> String {
                // What all share and what stays is there from now on, whoever makes it.
                try pass(world.container())
                let container = try world.container()
                try container.output(of: "ip link set lo up")
                try container.output(of: "ip link set lo down")
                let (before, inside) = (try Snapshot(of: world), try Snapshot(of: container))
                try pass(container)
                let lasting = [subject.lastsInside].compactMap(\.self)
                // The Go plugin leaves the names of a lent link, which this one has noted.
                let notes = ["link up0: altnames", "link up0: ifalias"]
                let onHost = try world.settledDifference(from: before)
                let inContainer = try Snapshot(of: container).difference(from: inside)
                let lines = [
                    (onHost, subject.name == "host-device" ? notes : []), (inContainer, lasting),
                ].flatMap { text, known in
                    text.split(separator: "\n").filter { line in
                        !known.contains { line.hasPrefix($0) }
                    }
                }
                return lines.joined(separator: "\n")
            }
        }

        @Test(
            "what one set of plugins attached is in order to the other, whose DEL leaves nothing of it",
            arguments: Way.allCases)
        func all(way: Way) {
            let subjects = Subject.all.filter { Sweep.isWanted($0) }
            let tallies = Sweep.inParallel(subjects) { subject -> Sweep.Tally? in
                var tally = Sweep.Tally()
                do {
                    guard let passage = try Passage(subject, way) else { return nil }
                    tally.count(1)
                    let left = try passage.leftovers()
                    if !left.isEmpty { tally.problems.append("left behind:\n\(left)") }
                } catch {
                    tally.problems.append("\(error)")
                }
                return tally
            }
            let both = zip(subjects, tallies).compactMap { subject, tally in
                tally.map { (subject: subject.name, tally: $0) }
            }
            Sweep.report(way.rawValue, both)
            #expect(both.count > 8)
            for (name, tally) in both { #expect(tally.problems == [], "\(name)") }
        }
    }
}
