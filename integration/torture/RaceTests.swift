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
            "64 containers come, are checked and go at once, while GC runs: nothing is lost or left"
        )
        func storm() throws {
            let members = try members(64)
            // What is shared and stays is there from now on.
            try members[0].network.add(members[0].container)
            try members[0].network.del(members[0].container)
            let before = try Snapshot(of: world)
            let valid = members.map { ($0.container, "eth0") }
            let rounds = Sweep.isWhole ? 20 : 1
            for round in 0..<rounds {
                let problems = atOnce(Array(members.enumerated())) { index, member in
                    for turn in 0..<2 {
                        try member.network.add(member.container)
                        if let difference = try member.network.check(member.container) {
                            throw Failure("CHECK: \(difference)")
                        }
                        if (index + turn) % 16 == 0 { try member.network.gc(keeping: valid) }
                        try member.network.del(member.container, withResult: turn == 0)
                    }
                }
                #expect(problems == [], "round \(round)")
                #expect(try world.settledDifference(from: before) == "", "round \(round)")
            }
            var tally = Sweep.Tally()
            (tally.points, tally.tried, tally.bitten) = (rounds * 128, rounds * 128, rounds * 128)
            Sweep.report("storm", [("headline, ADD to DEL, 64 at once", tally)])
        }

        @Test(
            "a port or an address goes from one container to another at once, or is refused whole")
        func handOver() throws {
            let subject = try #require(Subject.all.first { $0.name == "portmap" })
            let network = try subject.network(for: 0, in: world)
            var plugins = network.plugins
            // One address besides the gateway's.
            plugins[0]["ipam"]["rangeStart"] = #""10.91.0.2""#
            plugins[0]["ipam"]["rangeEnd"] = #""10.91.0.2""#
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
                #expect(problems == [], "round \(round)")
                if world.file("portmap/10.91.0.2") == nil {
                    try pair[1].network.add(pair[1].container)
                }
                // The former owner's DEL comes late, and more than once.
                try pair[0].network.del(pair[0].container, withResult: false)
                #expect(try pair[1].network.check(pair[1].container) == nil, "round \(round)")
                pair.swapAt(0, 1)
            }
            try pair[0].network.del(pair[0].container)
            #expect(try world.settledDifference(from: before) == "")
        }
    }
}
