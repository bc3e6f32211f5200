import CNI
import Foundation
import Testing

@testable import IPAM

/// What was reserved before the machine was started belongs to containers that did not survive it.
@Suite struct RestartTests {
    let data = DataDirectory()
    let set: RangeSet

    init() throws { set = try rangeSet(#"{"subnet": "10.1.0.0/29"}"#) }

    /// Where the index keeps the number of the machine's run, and that of the machine.
    private static let (run, machine) = (48, 56)

    /// Makes the index that of another run, as the machine's next start does.
    private func restart(changing place: Int = run) throws {
        let url = URL(fileURLWithPath: data.index)
        var bytes = try Data(contentsOf: url)
        bytes[place] ^= 1
        try bytes.write(to: url)
    }

    private func fill(_ names: String) throws {
        for letter in 0..<5 { _ = try data.allocate(set, holder("\(names)\(letter)")) }
    }

    @Test("a pool of five serves five containers in each of a hundred runs, with no DEL between")
    func manyRuns() throws {
        for run in 0..<100 {
            try fill("run-\(run)-")
            #expect(failure { try data.allocate(set, holder("more")) } != nil)
            try restart()
        }
    }

    @Test("free addresses come first, and the container that comes back has its own")
    func freeOnesFirst() throws {
        for name in ["a", "b", "c"] { _ = try data.allocate(set, holder(name)) }
        try restart()
        #expect(try data.allocate(set, holder("d")) == "10.1.0.5")
        #expect(try data.allocate(set, holder("e")) == "10.1.0.6")
        #expect(try data.addresses(of: holder("a")) == ["10.1.0.2"])
        try data.store { store in try store.release(holder("b")) }
        #expect(try data.allocate(set, holder("f")) == "10.1.0.3")
        _ = try data.allocate(set, holder("g"))
        _ = try data.allocate(set, holder("h"))
        #expect(failure { try data.allocate(set, holder("i")) } != nil)
        #expect(try data.files().values.filter { $0.hasPrefix("d\r\n") }.count == 1)
    }

    @Test("what this run reserved is never taken, though the index has grown since")
    func thisRun() throws {
        let large = try rangeSet(#"{"subnet": "10.1.0.0/22"}"#)
        for number in 0..<20 { _ = try data.allocate(large, holder("old-\(number)")) }
        try restart()
        for number in 20..<1041 { _ = try data.allocate(large, holder("c\(number)")) }
        let files = try data.files()
        for number in 20..<1041 {
            #expect(try data.addresses(of: holder("c\(number)")).count == 1)
        }
        #expect(files.values.filter { $0.hasPrefix("old-") }.isEmpty)
        #expect(failure { try data.allocate(large, holder("more")) } != nil)
    }

    @Test("nothing is taken where another program reserved meanwhile")
    func otherProgram() throws {
        try fill("c")
        try restart()
        try FileManager.default.removeItem(atPath: data.network + "/10.1.0.3")
        try data.write("d\r\neth0", to: "10.1.0.3")
        #expect(failure { try data.allocate(set, holder("more")) } != nil)
    }

    @Test("nothing is taken from another machine that shares the directory")
    func otherMachine() throws {
        try fill("c")
        try restart()
        try restart(changing: Self.machine)
        #expect(failure { try data.allocate(set, holder("more")) } != nil)
    }

    @Test("they are taken as well where one who looks comes after one who did not")
    func looked() throws {
        try fill("c")
        try restart()
        try data.store { store in try store.release(holder("c0")) }
        let opened = try ReservationStore.open(data.path, network: "net", creating: true) { [] }
        guard let store = opened else { throw CNIError(.io, "no store") }
        store.close()
        try fill("d")
    }

    @Test("STATUS counts them as free")
    func status() throws {
        try fill("c")
        let hasFree = { try data.store { Allocator(set, number: 0).hasFree(in: &$0) } }
        #expect(try !hasFree())
        try restart()
        #expect(try hasFree())
    }
}
