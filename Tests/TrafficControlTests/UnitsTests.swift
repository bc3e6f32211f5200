import Testing

@testable import TrafficControl

/// Rates, bursts and class numbers.
@Suite struct UnitsTests {
    @Test("a rate is told with the largest unit that leaves a whole number")
    func rateText() {
        #expect("\(Rate(bitsPerSecond: 10_000_000))" == "10 Mbit/s")
        #expect("\(Rate(bitsPerSecond: 1_500_000))" == "1500 kbit/s")
        #expect("\(Rate(bitsPerSecond: 2_000_000_000))" == "2 Gbit/s")
        #expect("\(Rate(bitsPerSecond: 7))" == "7 bit/s")
    }

    @Test("no rate is zero to the kernel")
    func tiny() {
        #expect(Rate(bitsPerSecond: 0).bytesPerSecond == 1)
        #expect(Rate(bitsPerSecond: 7).bytesPerSecond == 1)
    }

    @Test("a burst that is left to us is 2 ms of the rate, and two frames at least")
    func fitting() {
        #expect(Burst.fitting(Rate(bitsPerSecond: 1_000_000)).bytes == 3028)
        #expect(Burst.fitting(Rate(bitsPerSecond: 100_000_000)).bytes == 25_000)
        #expect(Burst.fitting(Rate(bitsPerSecond: 40_000_000_000)).bytes == 10_000_000)
    }

    @Test("a burst too small for its rate is raised to half a millisecond of it")
    func raised() {
        let rate = Rate(bitsPerSecond: 5_000_000_000)
        #expect(Burst(bits: 8000).raised(for: rate).bytes == 312_500)
        #expect(Burst(bits: 80_000_000).raised(for: rate).bytes == 10_000_000)
        #expect(Burst(bits: 1).raised(for: Rate(bitsPerSecond: 8)).bytes == 3028)
    }

    @Test("the kernel's ticks are 64 ns, and a time that does not fit is the longest")
    func ticks() {
        #expect(Rate(bitsPerSecond: 100_000_000).ticks(forBytes: 25_000) == 31_250)
        #expect(Rate(bitsPerSecond: 8).ticks(forBytes: 1 << 40) == .max)
        #expect(Rate(bitsPerSecond: 100_000_000_000).ticks(forBytes: 1) == 1)
        #expect(Rate(bitsPerSecond: 100_000_000).bytes(inTicks: 31_250) == 25_000)
    }

    @Test("no rate and no time overflows")
    func extremes() {
        let most = Rate(bitsPerSecond: .max)
        #expect(most.bytes(inMicroseconds: 1_000_000) > 1 << 60)
        #expect(most.bytes(inMicroseconds: .max) == .max)
    }

    @Test("a class number is written and read as tc does")
    func classID() {
        #expect("\(ClassID(1, 0x10))" == "1:10")
        #expect("\(ClassID(0x10, 0))" == "10:")
        #expect(ClassID("1:fffe") == ClassID(1, 0xfffe))
        #expect(ClassID("10:") == ClassID(0x10, 0))
        #expect(ClassID(handle: 0x1_0010) == ClassID(1, 0x10))
        #expect(ClassID(1, 0x10).handle == 0x1_0010)
        for text in ["", "1", "x:1", "1:2:3", "1:10000"] { #expect(ClassID(text) == nil) }
    }

    @Test("a class's turn is in proportion to its rate, within what is sane")
    func quantum() {
        let quantum = { (rate: UInt64) in
            let rate = Rate(bitsPerSecond: rate)
            return TrafficClass(
                ClassID(1, 0x10), of: Tree.link, on: "x", rate: rate, ceil: rate, .owned
            ).quantum
        }
        #expect(quantum(1_000_000) == 1514)
        #expect(quantum(100_000_000) == 62_500)
        #expect(quantum(10_000_000_000) == 4_000_000)
    }

    @Test("a slow class's leaf splits packets, a fast one's does not")
    func leaf() {
        let leaf = { (rate: UInt64) in
            Qdisc.leaf(
                of: ClassID(1, 0x10), rate: Rate(bitsPerSecond: rate),
                ceil: Rate(bitsPerSecond: rate), on: "x", .owned
            ).kind
        }
        #expect(leaf(1_000_000) == .splitting(burst: 4600, limit: 18_168))
        #expect(leaf(100_000_000) == .splitting(burst: 4600, limit: 200_000))
        #expect(leaf(500_000_000) == .fifo(limit: 1_000_000))
    }
}
