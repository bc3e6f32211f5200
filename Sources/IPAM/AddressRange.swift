public import Addressing
public import CNI

/// A run of addresses of one subnet from which containers are served.
public struct AddressRange: Sendable, Equatable {
    /// The subnet, whose prefix length the addresses get.
    public let subnet: IPPrefix
    /// The first address to give out.
    public let start: IPAddress
    /// The last address to give out.
    public let end: IPAddress
    /// The gateway, never given out.
    public let gateway: IPAddress

    /// The keys of a range as configured, before defaults.
    public struct Options: Sendable {
        /// The subnet, without which there is no range.
        public let subnet: IPPrefix?
        let start: IPAddress?
        let end: IPAddress?
        let gateway: IPAddress?

        /// Reads the keys of a range.
        public init(_ keys: inout Keys) throws(CNIError) {
            subnet = try keys("subnet", "The subnet, as a CIDR without host bits.")
            start = try keys("rangeStart", "The first address to give out; the subnet's second.")
            end = try keys(
                "rangeEnd", "The last address to give out; the last but the broadcast address.")
            gateway = try keys("gateway", "The gateway, never given out; the subnet's second.")
        }
    }

    /// A range with its defaults filled in.
    ///
    /// - Throws: Code 7 with the reference's text.
    public init(_ options: Options) throws(CNIError) {
        guard let subnet = options.subnet else {
            throw CNIError(.invalidConfiguration, "subnet: missing")
        }
        guard subnet.length <= subnet.family.bitWidth - 2 else {
            throw CNIError(
                .invalidConfiguration, "Network \(subnet) too small to allocate from")
        }
        guard subnet == subnet.network, let second = subnet.first.advanced(by: 1),
            let beforeLast = subnet.last.advanced(by: -1)
        else {
            throw CNIError(
                .invalidConfiguration,
                "Network has host bits set. For a subnet mask of length \(subnet.length) "
                    + "the network address is \(subnet.first)")
        }
        self.subnet = subnet
        gateway = options.gateway ?? second
        start = options.start ?? second
        end = options.end ?? (subnet.family == .v4 ? beforeLast : subnet.last)
        let isUpsideDown = options.start != nil && options.end != nil && end < start
        guard subnet.contains(start), !isUpsideDown else {
            throw CNIError(
                .invalidConfiguration, "RangeStart \(start) not in network \(subnet)")
        }
        guard subnet.contains(end), start <= end else {
            throw CNIError(.invalidConfiguration, "RangeEnd \(end) not in network \(subnet)")
        }
    }

    /// Whether the range gives the address out, or would if it were not the gateway.
    public func contains(_ address: IPAddress) -> Bool {
        address.family == start.family && start <= address && address <= end
    }

    func overlaps(_ other: AddressRange) -> Bool {
        subnet.family == other.subnet.family && start <= other.end && other.start <= end
    }
}

extension AddressRange: CustomStringConvertible {
    /// `10.1.0.1-10.1.0.254`.
    public var description: String { "\(start)-\(end)" }
}

/// Ranges of one family of which a container gets one address.
public struct RangeSet: Sendable, Equatable, CustomStringConvertible {
    /// The ranges, in the order they are used.
    public let ranges: [AddressRange]

    /// A set of ranges.
    ///
    /// - Throws: Code 7 with the reference's text.
    public init(_ options: [AddressRange.Options]) throws(CNIError) {
        guard !options.isEmpty else {
            throw CNIError(.invalidConfiguration, "empty range set")
        }
        ranges = try options.map { (range) throws(CNIError) in try AddressRange(range) }
        guard ranges.allSatisfy({ $0.subnet.family == ranges[0].subnet.family }) else {
            throw CNIError(.invalidConfiguration, "mixed address families")
        }
        for (index, range) in ranges.enumerated() {
            guard let other = ranges[(index + 1)...].first(where: range.overlaps) else { continue }
            throw CNIError(
                .invalidConfiguration, "subnets \(range) and \(other) overlap")
        }
    }

    /// The range that an address is in, or nil.
    public func range(of address: IPAddress) -> AddressRange? {
        ranges.first { $0.contains(address) }
    }

    /// The family of all the ranges.
    public var family: Family { ranges[0].subnet.family }

    /// Whether the two sets have an address in common.
    public func overlaps(_ other: RangeSet) -> Bool {
        ranges.contains { range in other.ranges.contains(where: range.overlaps) }
    }

    /// Neighbouring addresses of a range.
    struct Run {
        let first: IPAddress
        let last: IPAddress
        let range: AddressRange
    }

    /// The addresses in the order they are to be tried, as runs: from the one after the last that
    /// was given out, around to that one.
    func runs(after last: IPAddress?) -> [Run] {
        guard let last, let position = ranges.firstIndex(where: { $0.contains(last) }) else {
            return ranges.map { Run(first: $0.start, last: $0.end, range: $0) }
        }
        let current = ranges[position]
        var runs: [Run] = []
        if last < current.end, let next = last.advanced(by: 1) {
            runs.append(Run(first: next, last: current.end, range: current))
        }
        for range in ranges[(position + 1)...] + ranges[..<position] {
            runs.append(Run(first: range.start, last: range.end, range: range))
        }
        runs.append(Run(first: current.start, last: last, range: current))
        return runs
    }

    /// The ranges, separated by commas.
    public var description: String {
        ranges.map { $0.description }.joined(separator: ",")
    }
}
