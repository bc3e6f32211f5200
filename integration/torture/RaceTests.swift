import Foundation
import Testing

extension Torture {
    @Suite("races", .enabled(if: isRoot), .serialized)
    struct RaceTests {
        let world: World

        init() throws { world = try World() }

        /// A container of the chain of all that is on the host, and its network.
        private struct Member: @unchecked Sendable {
            let network: Network
            let container: World.Container
        }

        private func members(_ count: Int, of name: String = "headline") throws -> [Member] {
            let subject = try #require(Subject.all.first { $0.name == name })
            return try (0..<count).map { number in
                Member(
                    network: try subject.network(for: number, in: world),
                    container: try world.container())
            }
        }

        /// Does something for each of some items at once; what went wrong.
        private func atOnce<Item: Sendable>(
            _ items: [Item], _ body: @escaping @Sendable (Item) throws -> Void
        ) -> [String] {
            Sweep.inParallel(items, width: 64) { item -> String? in
                do {
                    try body(item)
                    return nil
                } catch {
                    return "\(error)"
                }
            }.compactMap(\.self)
        }

        @Test(
            "64 containers come, are checked and go at once, while GC runs: nothing is lost or left",
            arguments: Sweep.isWhole
                ? ["headline", "tenant", "bridge with rules", "ptp", "sbr"]
                : ["headline", "tenant"])
        func storm(name: String) throws {
            let members = try members(64, of: name)
            // What is shared and stays is there from now on.
            try members[0].network.add(members[0].container)
            try members[0].network.del(members[0].container)
            let before = try Snapshot(of: world)
            var tally = Sweep.Tally()
            for round in 0..<(Sweep.isWhole ? 20 : 1) {
                let problems = atOnce(Array(members.enumerated())) { index, member in
                    for turn in 0..<2 {
                        try member.network.add(member.container)
                        if let difference = try member.network.check(member.container) {
                            throw Failure("CHECK: \(difference)")
                        }
                        if (index + turn) % 16 == 0 {
                            // To GC this one is no more, and all others are valid.
                            let others = members.map(\.container).filter {
                                $0.id != member.container.id
                            }
                            try member.network.gc(keeping: others.map { ($0, "eth0") })
                        }
                        try member.network.del(member.container, withResult: turn == 0)
                    }
                }
                tally.count(64 * 2 * 3 + 8, problems)
                let left = try world.settledDifference(from: before)
                if !left.isEmpty { tally.problems.append("left behind:\n\(left)") }
                #expect(tally.problems == [], "round \(round)")
            }
            Sweep.report("64 at once", [("\(name): ADD, CHECK, GC, DEL", tally)])
        }

        @Test(
            "a port or an address goes from one container to another at once, or is refused whole")
        func handOver() throws {
            let subject = try #require(Subject.all.first { $0.name == "portmap" })
            let network = try subject.network(for: 0, in: world)
            var plugins = network.plugins
            // One address besides the gateway's.
            plugins[0]["ipam"]["rangeStart"] = #""10.108.0.2""#
            plugins[0]["ipam"]["rangeEnd"] = #""10.108.0.2""#
            let list = JSON([
                "name": "portmap", "cniVersion": "1.1.0", "plugins": plugins.map(\.value),
            ])
            var pair = try (0..<2).map { _ in
                Member(network: Network(list, in: world), container: try world.container())
            }
            try pair[0].network.add(pair[0].container)
            try pair[0].network.del(pair[0].container)
            let before = try Snapshot(of: world)
            try pair[0].network.add(pair[0].container)
            var tally = Sweep.Tally()
            for round in 0..<(Sweep.isWhole ? 200 : 15) {
                let sides = pair
                let problems = atOnce([true, false]) { isLeaving in
                    if isLeaving {
                        try sides[0].network.del(sides[0].container)
                    } else {
                        let ended = try sides[1].network.tryAdd(sides[1].container)
                        guard ended.succeeded || ended.json["code"].number != nil else {
                            throw Failure("status \(ended.status): \(ended.errors)")
                        }
                        // A runtime cleans up after a failed ADD.
                        if !ended.succeeded { try sides[1].network.del(sides[1].container) }
                    }
                }
                tally.count(1, problems)
                #expect(problems == [], "round \(round)")
                if world.file("portmap/10.108.0.2") == nil {
                    try pair[1].network.add(pair[1].container)
                }
                // The former owner's DEL comes late, and more than once.
                try pair[0].network.del(pair[0].container, withResult: false)
                #expect(try pair[1].network.check(pair[1].container) == nil, "round \(round)")
                pair.swapAt(0, 1)
            }
            try pair[0].network.del(pair[0].container)
            #expect(try world.settledDifference(from: before) == "")
            Sweep.report("handed over", [("portmap: DEL, meanwhile ADD, then a late DEL", tally)])
        }
    }
}
