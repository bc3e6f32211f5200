/// A version of the CNI specification.
public struct SpecVersion: Sendable, Hashable, Comparable, CustomStringConvertible {
    private let major: UInt16
    private let minor: UInt16
    private let micro: UInt16

    private init(_ major: UInt16, _ minor: UInt16, _ micro: UInt16) {
        self.major = major
        self.minor = minor
        self.micro = micro
    }

    /// The versions this project speaks, oldest first.
    public static let all: [SpecVersion] = [v0_1_0, v0_2_0, v0_3_0, v0_3_1, v0_4_0, v1_0_0, v1_1_0]
    /// 0.1.0: the oldest there is.
    public static let v0_1_0 = SpecVersion(0, 1, 0)
    /// 0.2.0: the last whose results hold one address a family.
    public static let v0_2_0 = SpecVersion(0, 2, 0)
    /// 0.3.0: interfaces in results, and chains.
    public static let v0_3_0 = SpecVersion(0, 3, 0)
    /// 0.3.1: as 0.3.0, with its text put right.
    public static let v0_3_1 = SpecVersion(0, 3, 1)
    /// 0.4.0: CHECK, and prevResult for DEL.
    public static let v0_4_0 = SpecVersion(0, 4, 0)
    /// 1.0.0: no address versions in results.
    public static let v1_0_0 = SpecVersion(1, 0, 0)
    /// 1.1.0: GC and STATUS, more fields in results.
    public static let v1_1_0 = SpecVersion(1, 1, 0)

    /// The versions whose results have the same shape.
    private static let shapes = [[v0_1_0, v0_2_0], [v0_3_0, v0_3_1, v0_4_0], [v1_0_0, v1_1_0]]

    /// The versions whose results are read like this one's.
    var ofSameShape: [SpecVersion] { Self.shapes.first { $0.contains(self) } ?? [self] }

    /// Reads `major[.minor[.micro]]`; nil for anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { part in
            part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(part) : nil
        }
        guard (1...3).contains(parts.count), numbers.count == parts.count else { return nil }
        self.init(
            numbers[0], numbers.count > 1 ? numbers[1] : 0, numbers.count > 2 ? numbers[2] : 0)
    }

    /// Orders by major, then minor, then micro.
    public static func < (left: SpecVersion, right: SpecVersion) -> Bool {
        (left.major, left.minor, left.micro) < (right.major, right.minor, right.micro)
    }

    /// The text form, `1.1.0`.
    public var description: String {
        major.description + "." + minor.description + "." + micro.description
    }
}

extension CNIError {
    /// That a configuration is of a version that is not supported, code 1.
    public init(incompatible version: String, with supported: [SpecVersion]) {
        let list = supported.map { "\"\($0)\"" }.joined(separator: " ")
        self.init(
            .incompatibleVersion, "incompatible CNI versions",
            details: "config is \"\(version)\", plugin supports [\(list)]")
    }
}
