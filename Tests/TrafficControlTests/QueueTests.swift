import Testing
import TrafficControl

/// Leaves, and what they tell of what they were made for.
@Suite struct QueueTests {
    private func leaf(_ ceil: UInt64, _ milliseconds: Int, mtu: Int = 1500) -> Qdisc {
        let rate = Rate(bitsPerSecond: ceil)
        return .leaf(
            of: Tree.link, rate: rate, ceil: rate, milliseconds: milliseconds, mtu: mtu, on: "l",
            .owned)
    }

    @Test("a queue tells how long a packet may wait in it, and of frames the largest")
    func told() {
        for ceil: UInt64 in [50_000_000, 123_456_789, 499_000_000, 2_000_000_000] {
            for time in [16, 50, 999] {
                let leaf = leaf(ceil, time, mtu: 9000)
                #expect(leaf.milliseconds(at: Rate(bitsPerSecond: ceil)) == time)
                #expect(leaf.mtu == (ceil < 500_000_000 ? 9000 : nil))
            }
        }
    }

    @Test("a queue of the least room does not tell how long a packet may wait")
    func least() {
        #expect(leaf(1_000_000, 50).milliseconds(at: Rate(bitsPerSecond: 1_000_000)) == nil)
        #expect(
            leaf(1_000_000, 50, mtu: 65_535).milliseconds(at: Rate(bitsPerSecond: 1_000_000)) == nil
        )
    }
}
