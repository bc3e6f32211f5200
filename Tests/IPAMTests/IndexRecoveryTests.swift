import Addressing
import CNI
import Foundation
import IPAM
import Testing

/// The index is derived: lost, stale or damaged, it must not change an answer.
@Suite struct IndexRecoveryTests {
    private static let count = 40
    let data = DataDirectory()

    /// Forty containers with an address each, from 10.1.0.2 on.
    init() throws {
        try data.store { store in
            for number in 0..<Self.count {
                let free = try address("10.1.0.\(2 + number)")
                #expect(try store.reserve(free, for: holder("c\(number)")))
            }
        }
    }

    /// Everything that the index is asked is as the files say.
    private func expectRight(_ comment: Comment) throws {
        try data.store { store in
            for number in 0..<Self.count {
                let found = try store.addresses(of: holder("c\(number)"))
                #expect(found == [try address("10.1.0.\(2 + number)")], comment)
            }
            let free = store.firstFree(in: try address("10.1.0.2")...address("10.1.0.250"))
            #expect(free == (try address("10.1.0.\(2 + Self.count)")), comment)
        }
    }

    private func damage(_ body: (inout Data) -> Void) throws {
        let url = URL(fileURLWithPath: data.index)
        var bytes = try Data(contentsOf: url)
        body(&bytes)
        try bytes.write(to: url)
    }

    @Test("whole, it is used as it is")
    func whole() throws {
        let before = try FileManager.default.attributesOfItem(atPath: data.index)
        try expectRight("whole")
        let after = try FileManager.default.attributesOfItem(atPath: data.index)
        #expect(before[.systemFileNumber] as? Int == after[.systemFileNumber] as? Int)
    }

    @Test("from another run of the machine, it is built anew: what was written last may be lost")
    func otherBoot() throws {
        try damage { bytes in bytes[48] ^= 1 }
        let before = try FileManager.default.attributesOfItem(atPath: data.index)
        try expectRight("another run")
        let after = try FileManager.default.attributesOfItem(atPath: data.index)
        #expect(before[.systemFileNumber] as? Int != after[.systemFileNumber] as? Int)
    }

    @Test("of a size that cannot be, under a good header, it is built anew")
    func size() throws {
        for bit in [10, 40, 59, 62] {
            try damage { bytes in
                bytes.replaceSubrange(8..<16, with: [UInt8](repeating: 0, count: 8))
                bytes[8 + bit / 8] = 1 << (bit % 8)
            }
            try expectRight("a size of 2 to the power of \(bit)")
        }
    }

    @Test("lost, it is built anew, with its directory too")
    func lost() throws {
        try FileManager.default.removeItem(atPath: data.index)
        try expectRight("index deleted")
        #expect(FileManager.default.fileExists(atPath: data.index))
        try FileManager.default.removeItem(atPath: data.path + "/.index")
        try expectRight("directory deleted")
        #expect(FileManager.default.fileExists(atPath: data.index))
    }

    @Test("cut off at any length, it is built anew")
    func truncated() throws {
        let size = try Data(contentsOf: URL(fileURLWithPath: data.index)).count
        let lengths =
            Array(0...64) + [4095, 4096, 4097, 4128, 8192]
            + Array(stride(from: 100, to: size, by: 997))
            + [size - 1]
        for length in lengths {
            try damage { $0 = $0.prefix(length) }
            try expectRight("cut off at \(length)")
        }
    }

    @Test("longer than it says, it is built anew")
    func tooLong() throws {
        try damage { $0.append(0) }
        try expectRight("one byte more")
    }

    @Test("filled with garbage, it is built anew")
    func garbage() throws {
        for byte: UInt8 in [0, 1, 0x7f, 0xff] {
            try damage { $0 = Data(repeating: byte, count: $0.count) }
            try expectRight("filled with \(byte)")
        }
        try damage { $0 = Data($0.map { _ in UInt8.random(in: 0...255) }) }
        try expectRight("filled at random")
    }

    @Test("with any bit of its header's fields wrong, no answer is")
    func header() throws {
        for bit in 0..<56 * 8 where !(128..<192).contains(bit) {
            try damage { $0[bit / 8] ^= 1 << (bit % 8) }
            try expectRight("bit \(bit) of the header")
        }
    }

    @Test("written before the machine started anew, it is not believed, whatever it holds")
    func powerLost() throws {
        // A loss of power: the header has reached the disk, a holder's slot has not.
        try damage { index in
            for slot in stride(from: 4096, to: index.count, by: 32) where index[slot] != 3 {
                index.replaceSubrange(slot..<slot + 32, with: Data(repeating: 0, count: 32))
            }
            index[48] ^= 1
        }
        try expectRight("of another run")
    }

    @Test("a change by another program makes it void")
    func stale() throws {
        try data.write("other\r\neth0", to: "10.1.0.200")
        #expect(try data.addresses(of: holder("other")) == ["10.1.0.200"])
        try expectRight("a file more")
        try FileManager.default.removeItem(atPath: data.network + "/10.1.0.200")
        #expect(try data.addresses(of: holder("other")) == [])
        try expectRight("a file less")
    }

    /// Opens and closes the store as one who sees, or does not look, what a container has.
    private func open(seeing live: [(address: IPAddress, holder: Holder)]?) throws {
        let opened = try ReservationStore.open(
            data.path, network: "net", creating: live != nil
        ) { live }
        guard let store = opened else { throw CNIError(.io, "no store") }
        store.close()
    }

    @Test("built by one who did not look what containers have, it does not do for one who does")
    func notLooked() throws {
        let (lost, owner) = (try address("10.1.0.3"), holder("c1"))
        try open(seeing: [])
        try FileManager.default.removeItem(atPath: data.network + "/10.1.0.3")
        for _ in 0..<2 { try open(seeing: nil) }
        #expect(try data.files()["10.1.0.3"] == nil)
        try open(seeing: [(lost, owner)])
        try expectRight("made anew")
        // Whole, and built by one who looked, it does for all.
        let before = try FileManager.default.attributesOfItem(atPath: data.index)
        try open(seeing: [(try address("10.1.0.200"), owner)])
        #expect(try data.files()["10.1.0.200"] == nil)
        let after = try FileManager.default.attributesOfItem(atPath: data.index)
        #expect(before[.systemFileNumber] as? Int == after[.systemFileNumber] as? Int)
    }

    @Test("an index of another directory is not believed")
    func foreign() throws {
        let other = DataDirectory()
        try other.store { store in
            let free = try address("10.1.0.99")
            #expect(try store.reserve(free, for: holder("c0")))
        }
        try Data(contentsOf: URL(fileURLWithPath: other.index))
            .write(to: URL(fileURLWithPath: data.index))
        try expectRight("of another directory")
    }

    @Test("a store that ended without closing leaves an index that is not believed")
    func unsealed() throws {
        do {
            let opened = try ReservationStore.open(data.path, network: "net", creating: true)
            guard var store = opened else { throw CNIError(.io, "no store") }
            try store.release(holder("c7"))
            let free = try address("10.1.0.9")
            #expect(try store.reserve(free, for: holder("c7")))
        }
        try expectRight("dropped")
    }

    @Test("a table without an empty slot, under a good header, gives no address out twice")
    func fullTable() throws {
        try damage { bytes in
            bytes.replaceSubrange(4096..., with: Data(repeating: 0xff, count: bytes.count - 4096))
        }
        let set = try rangeSet(#"{"subnet": "10.1.0.0/24"}"#)
        let free = try data.allocate(set, holder("new"))
        #expect(free == "10.1.0.\(2 + Self.count)")
    }

    @Test("where there is no place for it, everything works")
    func noPlace() throws {
        try FileManager.default.removeItem(atPath: data.path + "/.index")
        try Data().write(to: URL(fileURLWithPath: data.path + "/.index"))
        try expectRight("no place")
        try data.store { store in try store.release(holder("c7")) }
        #expect(try data.addresses(of: holder("c7")) == [])
    }

    @Test("files without content are removed when it is built")
    func emptyFiles() throws {
        for text in ["10.1.0.100", "fd00::5"] { try data.write("", to: text) }
        try data.write("\r\n ", to: "10.1.0.101")
        try data.write("", to: "README")
        try expectRight("empty files")
        let names = try data.files().keys
        #expect(!names.contains("10.1.0.100") && !names.contains("10.1.0.101"))
        #expect(!names.contains("fd00::5"))
        #expect(names.contains("README"))
    }

    @Test("a draft that a dead writer left is removed and counts for nothing")
    func draft() throws {
        try data.write("c9", to: ".draft")
        try expectRight("a draft")
        #expect(try data.files()[".draft"] == nil)
    }
}
