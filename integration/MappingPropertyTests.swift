import Testing

@Suite("portmap, whatever the mappings", .enabled(if: isRoot))
struct MappingPropertyTests {
    /// Mappings made up from a number: a few ports, so that they collide, of every protocol, on all
    /// addresses or on one.
    private struct Mappings {
        private var generator: Generator

        init(seed: Int) { generator = Generator(state: UInt64(bitPattern: Int64(seed))) }

        private mutating func pick<Element>(_ elements: [Element]) -> Element {
            elements[Int.random(in: 0..<elements.count, using: &generator)]
        }

        mutating func next() -> JSON {
            let entries = (0..<pick([1, 1, 2, 3, 8, 24])).map { _ in
                [
                    "hostPort": pick([53, 80, 443, 8080, 40000, 65535]),
                    "containerPort": pick([1, 53, 80, 65535]),
                    "protocol": pick(["tcp", "udp", "sctp", "TCP"]),
                    "hostIP": pick([
                        "", "", "192.0.2.1", "127.0.0.1", "0.0.0.0", "2001:db8::1", "::",
                    ]),
                ] as [String: Any]
            }
            var keys: JSON = "{}"
            keys["runtimeConfig"] = JSON(["portMappings": entries])
            return keys
        }

        mutating func isFirst() -> Bool { pick([true, false]) }
    }

    /// The same numbers for the same seed.
    private struct Generator: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = state
            mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
            return mixed ^ mixed >> 31
        }
    }

    @Test(
        "DEL takes back all that ADD has made, and nothing of another's with the same ports",
        arguments: [("nftables", 60), ("iptables", 6)])
    func identity(backend: String, few: Int) throws {
        let world = try World()
        let network = Network(
            dualStack: #"{"hairpinMode": true}"#,
            then: JSON(["type": "portmap", "backend": backend]), in: world)
        let (one, other) = (try world.container(), try world.container())
        // What is shared and stays is there from now on.
        var first = Mappings(seed: -1)
        try network.add(one, with: first.next())
        try network.del(one)
        let rules = {
            try ["nft -s list ruleset", "iptables-save -t nat", "ip6tables-save -t nat"].flatMap {
                try world.onHost($0).split(separator: "\n").filter { !$0.hasPrefix("#") }
            }
        }
        // By their words: the kernel lists the elements of a map in any order.
        let words = { (lines: [Substring]) in
            lines.flatMap { $0.split { ", \t{}".contains($0) } }.sorted()
        }
        let changes = { (lines: [Substring]) in
            try words(rules()).difference(from: words(lines)).map { change in
                switch change {
                case .insert(_, let word, _): "+\(word)"
                case .remove(_, let word, _): "-\(word)"
                }
            }
        }
        let empty = try rules()
        for seed in 0..<(Sweep.isWhole ? few * 10 : few) {
            var mappings = Mappings(seed: seed)
            try network.add(one, with: mappings.next())
            let alone = try rules()
            #expect(words(alone) != words(empty), "seed \(seed)")
            try network.add(other, with: mappings.next())
            #expect(try network.check(other) == nil, "seed \(seed)")
            let goesFirst = mappings.isFirst()
            try network.del(goesFirst ? other : one)
            if goesFirst {
                let left = try changes(alone)
                #expect(left == [], "seed \(seed)")
            } else {
                #expect(try network.check(other) == nil, "seed \(seed)")
            }
            try network.del(goesFirst ? one : other)
            let left = try changes(empty)
            #expect(left == [], "seed \(seed)")
        }
    }
}
