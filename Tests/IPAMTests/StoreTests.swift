import Addressing
import CNI
import Foundation
import IPAM
import Testing

/// Reservations on disk, in the form that the reference plugin reads and writes.
@Suite struct StoreTests {
    let data = DataDirectory()

    @Test("a reservation is a file named by its address, with container, CR LF and interface")
    func format() throws {
        try data.store { store in
            let (v4, v6) = (try address("10.1.0.5"), try address("fd00:0::5"))
            #expect(try store.reserve(v4, for: holder("c1")))
            #expect(try store.reserve(v6, for: holder("c1", "net1")))
            store.setLastReserved(v4, in: 0)
            store.setLastReserved(v6, in: 1)
        }
        #expect(
            try data.files() == [
                "10.1.0.5": "c1\r\neth0", "fd00::5": "c1\r\nnet1", "last_reserved_ip.0": "10.1.0.5",
                "last_reserved_ip.1": "fd00::5", "lock": "",
            ])
    }

    @Test("files and directories are for their owner alone")
    func modes() throws {
        try data.store { store in
            let free = try address("10.1.0.5")
            #expect(try store.reserve(free, for: holder("c1")))
        }
        let mode = { (path: String) in
            try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        }
        #expect(try mode(data.network + "/10.1.0.5") == 0o600)
        #expect(try mode(data.network + "/lock") == 0o600)
        #expect(try mode(data.network) == 0o700)
        #expect(try mode(data.path) == 0o700)
    }

    @Test("an address is found by its container and interface, through a new store too")
    func lookup() throws {
        try data.store { store in
            for (text, who) in [
                ("10.1.0.5", holder("c1")), ("10.1.0.6", holder("c1", "net1")),
                ("fd00::5", holder("c1")), ("10.1.0.7", holder("c11")),
            ] {
                let free = try address(text)
                #expect(try store.reserve(free, for: who))
            }
        }
        #expect(try data.addresses(of: holder("c1")) == ["10.1.0.5", "fd00::5"])
        #expect(try data.addresses(of: holder("c1", "net1")) == ["10.1.0.6"])
        #expect(try data.addresses(of: holder("c11")) == ["10.1.0.7"])
        #expect(try data.addresses(of: holder("c2")) == [])
    }

    @Test("an address is reserved once")
    func once() throws {
        let wanted = try address("10.1.0.5")
        for (name, isFirst) in [("c1", true), ("c2", false), ("c1", false)] {
            let done = try data.store { store in try store.reserve(wanted, for: holder(name)) }
            #expect(done == isFirst)
        }
        #expect(try data.addresses(of: holder("c2")) == [])
    }

    @Test("what the reference wrote is found, old entries without an interface and newlines too")
    func foreignEntries() throws {
        try data.write("c1\r\neth0", to: "10.1.0.5")
        try data.write("c2", to: "10.1.0.6")
        try data.write(" c3\r\neth0\n", to: "10.1.0.7")
        #expect(try data.addresses(of: holder("c1")) == ["10.1.0.5"])
        #expect(try data.addresses(of: holder("c2")) == ["10.1.0.6"])
        #expect(try data.addresses(of: holder("c3")) == ["10.1.0.7"])
    }

    @Test("an old entry without an interface counts where the holder has no other")
    func oldEntry() throws {
        try data.write("c1", to: "10.1.0.5")
        try data.write("c1\r\neth0", to: "10.1.0.6")
        #expect(try data.addresses(of: holder("c1", "eth0")) == ["10.1.0.6"])
        #expect(try data.addresses(of: holder("c1", "eth1")) == ["10.1.0.5"])
    }

    @Test("a release frees the holder's addresses and no other's, and again does nothing")
    func release() throws {
        try data.store { store in
            for (text, who) in [
                ("10.1.0.5", holder("c1")), ("fd00::5", holder("c1")),
                ("10.1.0.6", holder("c1", "net1")), ("10.1.0.7", holder("c2")),
            ] {
                let free = try address(text)
                #expect(try store.reserve(free, for: who))
            }
        }
        let freed = try data.store { store in
            try store.release(holder("c1")).map { "\($0)" }.sorted()
        }
        #expect(freed == ["10.1.0.5", "fd00::5"])
        #expect(try data.files().keys.sorted() == ["10.1.0.6", "10.1.0.7", "lock"])
        #expect(try data.store { store in try store.release(holder("c1")) } == [])
    }

    @Test("one address is released only if the holder has it")
    func releaseOne() throws {
        let wanted = try address("10.1.0.5")
        try data.store { store in
            #expect(try store.reserve(wanted, for: holder("c1")))
            try store.release(wanted, of: holder("c2"))
            #expect(try store.addresses(of: holder("c1")) == [wanted])
            try store.release(wanted, of: holder("c1"))
            #expect(try store.addresses(of: holder("c1")) == [])
        }
        #expect(try data.files()["10.1.0.5"] == nil)
    }

    @Test("GC frees what no valid attachment holds, old entries by their container")
    func garbage() throws {
        try data.write("c1\r\neth0", to: "10.1.0.5")
        try data.write("c1\r\nnet1", to: "10.1.0.6")
        try data.write("c2", to: "10.1.0.7")
        try data.write("c3", to: "10.1.0.8")
        try data.write("notes", to: "README")
        try data.store { store in
            try store.release(except: [holder("c1"), holder("c2")])
        }
        #expect(
            try data.files().keys.sorted() == ["10.1.0.5", "10.1.0.7", "README", "lock"])
        try data.store { store in try store.release(except: []) }
        #expect(try data.files().keys.sorted() == ["README", "lock"])
        let free = try data.store { store in
            store.firstFree(in: try address("10.1.0.5")...address("10.1.0.9")).map { "\($0)" }
        }
        #expect(free == "10.1.0.5")
    }

    @Test("a pod's record with damaged lines gives the pod's former container back all the same")
    func damagedRecord() throws {
        let pod = "1c-9"
        let former = try address("10.1.0.5")
        try data.store { store in
            #expect(try store.reserve(former, for: holder("c1")))
            _ = try store.takeOver(pod, by: holder("c1"), in: "/run/netns/c1") { _ in true }
        }
        let records = data.path + "/.pods/"
        let record =
            records + (try #require(FileManager.default.contentsOfDirectory(atPath: records).first))
        let text = try String(contentsOfFile: record, encoding: .utf8)
        try (" \n\n" + text + "  ").write(toFile: record, atomically: true, encoding: .utf8)
        try data.store { store in
            try store.takeOver(pod, by: holder("c2"), in: "/run/netns/c2") { _ in true }
        }
        #expect(try data.files()["10.1.0.5"] == nil)
    }

    @Test("without a store there is nothing to open, and nothing is made")
    func absent() throws {
        let opened = try ReservationStore.open(data.path, network: "net", creating: false)
        let isThere = opened != nil
        #expect(!isThere)
        #expect(!FileManager.default.fileExists(atPath: data.path))
    }

    @Test("a last address that is none is none", arguments: ["", "x", "10.1.0", "10.1.0.5/16"])
    func badLastAddress(text: String) throws {
        try data.write(text, to: "last_reserved_ip.0")
        #expect(try data.store { store in store.lastReserved(in: 0) } == nil)
    }

    @Test("the last address is read with white space around it, and written over a longer one")
    func lastAddress() throws {
        try data.write("10.1.0.105\n", to: "last_reserved_ip.0")
        #expect(try data.store { store in store.lastReserved(in: 0) } == address("10.1.0.105"))
        try data.store { store in store.setLastReserved(try address("10.1.0.2"), in: 0) }
        #expect(try data.files()["last_reserved_ip.0"] == "10.1.0.2")
        try data.store { store in store.setLastReserved(nil, in: 0) }
        #expect(try data.files()["last_reserved_ip.0"] == nil)
    }

    @Test("an address is given out where its place cannot be noted, and found again")
    func unwritableHint() throws {
        try data.write("", to: "x")
        try FileManager.default.createDirectory(
            atPath: data.network + "/last_reserved_ip.0", withIntermediateDirectories: false)
        try data.store { store in
            let free = try address("10.1.0.5")
            #expect(try store.reserve(free, for: holder("c1")))
            store.setLastReserved(free, in: 0)
        }
        #expect(try data.addresses(of: holder("c1")) == ["10.1.0.5"])
    }

    @Test("a directory in the place of a reservation is no hindrance, and its address not free")
    func directoryInPlace() throws {
        try data.write("", to: "x")
        try FileManager.default.createDirectory(
            atPath: data.network + "/10.1.0.2", withIntermediateDirectories: false)
        let run = try address("10.1.0.2")...address("10.1.0.9")
        #expect(try data.store { store in store.firstFree(in: run) } == address("10.1.0.3"))
    }

    @Test("a symbolic link in the place of a file is not followed")
    func links() throws {
        let victim = data.path + "/victim"
        try data.write("", to: "x")
        try Data("precious".utf8).write(to: URL(fileURLWithPath: victim))
        for name in ["last_reserved_ip.0", ".draft", "10.1.0.9"] {
            try FileManager.default.createSymbolicLink(
                atPath: data.network + "/" + name, withDestinationPath: victim)
        }
        try data.store { store in
            let free = try address("10.1.0.5")
            #expect(try store.reserve(free, for: holder("c1")))
            store.setLastReserved(free, in: 0)
            let linked = try address("10.1.0.9")
            #expect(try !store.reserve(linked, for: holder("c1")))
        }
        #expect(try String(contentsOfFile: victim, encoding: .utf8) == "precious")
        #expect(try data.files()["last_reserved_ip.0"] == "10.1.0.5")
    }
}
