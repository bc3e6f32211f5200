/// A rate of data.
public struct Rate: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The rate in bits per second.
    public let bitsPerSecond: UInt64

    /// No data at all.
    public static let none = Rate(bitsPerSecond: 0)

    /// A rate in bits per second.
    public init(bitsPerSecond: UInt64) { self.bitsPerSecond = bitsPerSecond }

    /// A rate in bytes per second, the kernel's unit.
    init(bytesPerSecond: UInt64) { bitsPerSecond = bytesPerSecond.times(8) }

    /// The rate in the kernel's unit: never zero, which it takes for no rate at all.
    var bytesPerSecond: UInt64 { max(1, bitsPerSecond / 8) }

    /// Orders by the rate.
    public static func < (left: Rate, right: Rate) -> Bool {
        left.bitsPerSecond < right.bitsPerSecond
    }

    /// Both rates together; where that is more than can be said, the most that can.
    public static func + (left: Rate, right: Rate) -> Rate {
        Rate(bitsPerSecond: left.bitsPerSecond.plus(right.bitsPerSecond))
    }

    /// The rate with the largest unit that leaves a whole number: `10 Mbit/s`.
    public var description: String {
        for (size, unit) in [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1000, "kbit/s")]
        where bitsPerSecond >= size && bitsPerSecond % UInt64(size) == 0 {
            return (bitsPerSecond / UInt64(size)).description + " " + unit
        }
        return bitsPerSecond.description + " bit/s"
    }

    /// The bytes that pass in a number of microseconds.
    func bytes(inMicroseconds time: UInt64) -> UInt64 {
        // In two parts: the product of a large rate and a long time would not fit.
        let (whole, rest) = bytesPerSecond.quotientAndRemainder(dividingBy: 1_000_000)
        return whole.times(time).plus(rest * min(time, 1 << 40) / 1_000_000)
    }

    /// The time that an amount of data takes, in the kernel's ticks.
    func ticks(forBytes count: UInt64) -> UInt32 {
        let nanoseconds = Double(count) * 1e9 / Double(bytesPerSecond)
        let ticks = nanoseconds / Double(Self.nanosecondsPerTick)
        return ticks >= Double(UInt32.max) ? .max : max(1, UInt32(ticks.rounded(.up)))
    }

    /// The data that pass in a number of the kernel's ticks, in bytes.
    func bytes(inTicks ticks: UInt32) -> UInt64 {
        let count = Double(ticks) * Double(Self.nanosecondsPerTick) * Double(bytesPerSecond) / 1e9
        return UInt64(exactly: (count + 0.5).rounded(.down)) ?? .max
    }

    /// The kernel's PSCHED_TICKS2NS is a shift by 6.
    private static let nanosecondsPerTick: UInt64 = 64
}

/// An amount of data that may pass at once.
public struct Burst: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The amount in bits.
    public let bits: UInt64

    /// An amount in bits.
    public init(bits: UInt64) { self.bits = bits }

    /// An amount in bytes, the kernel's unit.
    init(bytes: UInt64) { bits = bytes.times(8) }

    /// The amount in whole bytes.
    package var bytes: UInt64 { bits / 8 }

    /// Two Ethernet frames: less would not let the second one follow.
    static let least = Burst(bytes: 2 * 1514)

    /// What lets a rate be reached with the kernel's timers: 2 ms of it, and two frames at least.
    public static func fitting(_ rate: Rate) -> Burst {
        max(least, Burst(bytes: rate.bytes(inMicroseconds: 2000)))
    }

    /// This amount, or what the rate needs at the least: half a millisecond, and two frames.
    public func raised(for rate: Rate) -> Burst {
        max(self, .least, Burst(bytes: rate.bytes(inMicroseconds: 500)))
    }

    /// The amount as the kernel holds it beside a rate: as a time, of 275 s at most.
    func kept(at rate: Rate) -> Burst {
        Burst(bytes: rate.bytes(inTicks: rate.ticks(forBytes: bytes)))
    }

    /// Whether another amount is this one but for rounding: the kernel keeps a burst as a time.
    func isAbout(_ other: Burst) -> Bool {
        let margin = max(bytes, other.bytes) / 100 + 64
        return max(bytes, other.bytes) - min(bytes, other.bytes) <= margin
    }

    /// Orders by the amount.
    public static func < (left: Burst, right: Burst) -> Bool { left.bits < right.bits }

    /// The amount in bytes: `25000 B`.
    public var description: String { bytes.description + " B" }
}

extension UInt64 {
    /// The sum, or the largest number where that is too large: rates come from configurations and from
    /// whoever has made a class.
    fileprivate func plus(_ other: UInt64) -> UInt64 {
        let (sum, overflows) = addingReportingOverflow(other)
        return overflows ? .max : sum
    }

    /// The product, or the largest number where that is too large.
    fileprivate func times(_ other: UInt64) -> UInt64 {
        let (product, overflows) = multipliedReportingOverflow(by: other)
        return overflows ? .max : product
    }
}

/// The identity of a class, and of a qdisc where the minor number is 0.
public struct ClassID: Sendable, Hashable, CustomStringConvertible {
    /// The number of the qdisc.
    public let major: UInt16
    /// The number of the class in it.
    public let minor: UInt16

    /// A class of a qdisc.
    public init(_ major: UInt16, _ minor: UInt16) {
        self.major = major
        self.minor = minor
    }

    /// An identity as the kernel and `skb->priority` hold it.
    public init(handle: UInt32) {
        self.init(UInt16(truncatingIfNeeded: handle >> 16), UInt16(truncatingIfNeeded: handle))
    }

    /// Reads what `tc` prints: `1:10`, both numbers hexadecimal.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let major = UInt16(parts[0], radix: 16),
            let minor = UInt16(parts[1].isEmpty ? "0" : parts[1], radix: 16)
        else { return nil }
        self.init(major, minor)
    }

    /// The identity as the kernel and `skb->priority` hold it.
    public var handle: UInt32 { UInt32(major) << 16 | UInt32(minor) }

    /// The number of the class where a mark's bits hold it.
    func bits(of mask: UInt32) -> UInt32 {
        UInt32(minor) << UInt32(mask.trailingZeroBitCount) & mask
    }

    /// As `tc` prints it, hexadecimal: `1:10`, `10:`.
    public var description: String {
        String(major, radix: 16) + ":" + (minor == 0 ? "" : String(minor, radix: 16))
    }
}
