/// Ranges of values that a rule looks a register up in, in a set that comes and goes with the rule.
public struct Ranges: Sendable, Equatable {
    /// What the values are.
    let type: DataType
    private let list: [Range]

    /// The name that lets the kernel choose one.
    static let setName = "__set%d"

    private struct Range: Equatable {
        let first: [UInt8]
        var last: [UInt8]
    }

    /// Ranges, each from its first value to its last, in the network's byte order; they may overlap.
    public init(_ type: DataType, _ ranges: [(first: [UInt8], last: [UInt8])]) {
        self.type = type
        var list: [Range] = []
        for range in ranges.sorted(by: { $0.first.lexicographicallyPrecedes($1.first) }) {
            let next = Range(first: range.first, last: range.last)
            // The kernel refuses ranges that overlap, and those that touch are one.
            guard let before = list.last,
                before.last.successor.map({ !$0.lexicographicallyPrecedes(next.first) }) ?? true
            else {
                list.append(next)
                continue
            }
            if before.last.lexicographicallyPrecedes(next.last) {
                list[list.count - 1].last = next.last
            }
        }
        self.list = list
    }

    /// A kernel's set of ranges: where each begins, and where it has ended.
    var elements: [Element] {
        var elements: [Element] = []
        for range in list {
            elements.append(Element(range.first))
            guard let after = range.last.successor else { continue }
            var end = Element(after)
            end.isEnd = true
            elements.append(end)
        }
        return elements
    }
}

extension [UInt8] {
    /// The next number of as many bytes, or nil after the greatest.
    fileprivate var successor: [UInt8]? {
        var next = self
        for index in next.indices.reversed() {
            next[index] &+= 1
            if next[index] != 0 { return next }
        }
        return nil
    }
}
