import CLinux
import Netlink
import Testing

/// Reading attributes from bytes that need not be right.
@Suite struct AttributesTests {
    /// An attribute's bytes with its padding.
    private func attribute(_ type: UInt16, _ payload: [UInt8]) -> [UInt8] {
        let length = UInt16(payload.count + 4)
        let padding = [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
        return [UInt8(length & 255), UInt8(length >> 8), UInt8(type & 255), UInt8(type >> 8)]
            + payload + padding
    }

    /// Everything that can be asked of attributes, all the way down.
    @discardableResult
    private func walk(_ attributes: Attributes, depth: Int = 0) -> Int {
        var count = 0
        for attribute in attributes {
            count += 1 + attribute.text.count + Int(attribute.uint8 ?? 0)
            _ = attribute.uint32
            if depth < 4 { count += walk(attribute.nested, depth: depth + 1) }
        }
        return count
    }

    @Test("attributes are read in their order, padding skipped, flags taken off the type")
    func read() {
        let bytes =
            attribute(1, [1, 2, 3, 4]) + attribute(2 | 0x8000, attribute(9, [7]))
            + attribute(3 | 0x4000, [0x65, 0x74, 0, 0x68]) + attribute(4, [])
        let attributes = Attributes(bytes[...])
        #expect(attributes.map(\.type) == [1, 2, 3, 4])
        #expect(attributes[1]?.uint32 == 0x0403_0201)
        #expect(attributes[2]?.nested[9]?.uint8 == 7)
        #expect(attributes[3]?.text == "et")
        #expect(attributes[4]?.payload.isEmpty == true)
        #expect(attributes[4]?.uint8 == nil)
        #expect(attributes[5] == nil)
    }

    @Test("of several attributes of a type the last counts")
    func repeated() {
        let attributes = Attributes((attribute(1, [1]) + attribute(1, [2]))[...])
        #expect(attributes[1]?.uint8 == 2)
        #expect(attributes.map(\.uint8) == [1, 2])
    }

    @Test("cut off anywhere, the whole attributes before the cut are read and no more")
    func truncated() {
        let first = attribute(1, [1, 2, 3, 4])
        let second = attribute(2, attribute(9, [7, 8, 9]))
        let bytes = first + second
        for length in 0..<bytes.count {
            let attributes = Attributes(bytes.prefix(length))
            walk(attributes)
            #expect(attributes.map(\.type) == (length < first.count ? [] : [1]), "\(length) bytes")
        }
        #expect(Attributes(bytes[...]).map(\.type) == [1, 2])
    }

    @Test("the last attribute's padding may be missing")
    func unpadded() {
        #expect(Attributes([5, 0, 1, 0, 7][...])[1]?.uint8 == 7)
    }

    @Test("a length below the header's or past the end ends the walk")
    func badLength() {
        for length: UInt8 in [0, 1, 2, 3, 9, 255] {
            let bytes: [UInt8] = [length, 0, 1, 0, 1, 2, 3, 4]
            #expect(Attributes(bytes[...]).map(\.type) == [], "length \(length)")
        }
        #expect(Attributes([0xff, 0xff, 1, 0][...]).map(\.type) == [])
    }

    @Test("random bytes are walked without harm, from any slice of an array")
    func random() {
        for _ in 0..<3000 {
            // Small numbers make lengths that fit now and then.
            let bytes = (0..<Int.random(in: 0...96)).map { _ in
                UInt8.random(in: 0...(Bool.random() ? 255 : 12))
            }
            walk(Attributes(bytes[...]))
            walk(Attributes(bytes.dropFirst(Int.random(in: 0...8))))
        }
    }

    @Test("a structure is read where all of it fits, and not where bytes are missing")
    func structures() throws {
        var bytes: [UInt8] = [0xff, 10, 24, 0, 0]
        bytes += withUnsafeBytes(of: UInt32(7)) { Array($0) }
        let header = try #require(bytes.dropFirst().value(ifaddrmsg.self))
        #expect(header.ifa_family == 10)
        #expect(header.ifa_prefixlen == 24)
        #expect(header.ifa_index == 7)
        #expect(bytes.dropFirst(2).value(ifaddrmsg.self) == nil)
        #expect(bytes.dropFirst().dropLast().value(ifaddrmsg.self) == nil)
        let shorter = attribute(3, Array(bytes.dropFirst()))
        #expect(Attributes(shorter[...])[3]?.value(UInt64.self) != nil)
    }

    @Test("a number is read where it fits and nowhere else")
    func numbers() {
        let bytes: [UInt8] = [0xff, 1, 2, 3, 4, 5]
        let slice = bytes.dropFirst()
        #expect(slice.uint8(at: 0) == 1)
        #expect(slice.uint8(at: 4) == 5)
        #expect(slice.uint8(at: 5) == nil)
        #expect(slice.uint16(at: 3) == 0x0504)
        #expect(slice.uint16(at: 4) == nil)
        #expect(slice.uint32(at: 1) == 0x0504_0302)
        #expect(slice.uint32(at: 2) == nil)
    }
}
