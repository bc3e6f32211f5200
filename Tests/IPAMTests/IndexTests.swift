import Addressing
import Testing

@testable import IPAM

/// The table alone, beside a dictionary that says the same.
@Suite struct IndexTests {
    @Test("the table and a dictionary give the same answers, whatever comes and goes")
    func model() throws {
        var index = ReservationIndex(room: 2000)
        var held: [IPAddress: String] = [:]
        let first = try address("10.1.0.120")
        let firstV6 = try address("fd00::ffff:ffff:ffff:ff80")
        let pool =
            (0..<600).compactMap { first.advanced(by: $0) }
            + (0..<300).compactMap { firstV6.advanced(by: $0) }
        for round in 0..<4000 {
            let address = try #require(pool.randomElement())
            if let text = held[address] {
                index.remove(address, of: text)
                held[address] = nil
            } else {
                let text = "c\(Int.random(in: 0..<50))\r\neth0"
                index.insert(address, for: text)
                held[address] = text
            }
            guard round % 97 == 0 else { continue }
            for number in 0..<50 {
                let text = "c\(number)\r\neth0"
                let found = Set(index.addresses(of: text))
                #expect(found == Set(held.filter { $0.value == text }.keys))
            }
            for start in [0, 1, 7, 8, 9, 135, 599] {
                let free = index.firstFree(in: pool[start]...pool[599])
                #expect(free == pool[start...599].first { held[$0] == nil })
            }
            let free = index.firstFree(in: pool[600]...pool[899])
            #expect(free == pool[600...].first { held[$0] == nil })
        }
    }

    @Test("a run that is held has no free address, at the ends of the families too")
    func full() throws {
        for (low, high) in [
            ("255.255.255.250", "255.255.255.255"), ("0.0.0.0", "0.0.0.5"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("10.1.0.126", "10.1.0.130"),
        ] {
            var index = ReservationIndex(room: 10)
            let run = try address(low)...address(high)
            var next: IPAddress? = run.lowerBound
            while let address = next, address <= run.upperBound {
                let free = index.firstFree(in: run)
                #expect(free == address)
                index.insert(address, for: "c")
                next = address.advanced(by: 1)
            }
            let free = index.firstFree(in: run)
            #expect(free == nil)
        }
    }

    @Test("an address of one family does not hold the other's of the same number")
    func families() throws {
        var index = ReservationIndex(room: 10)
        index.insert(try address("::a01:5"), for: "c")
        let v4 = try address("10.1.0.5")
        let free = index.firstFree(in: v4...v4)
        #expect(free == v4)
    }

    @Test("a mark holds an address for nobody")
    func mark() throws {
        var index = ReservationIndex(room: 10)
        let v4 = try address("10.1.0.5")
        index.mark(v4)
        index.mark(v4)
        let free = index.firstFree(in: v4...v4)
        #expect(free == nil)
    }
}
