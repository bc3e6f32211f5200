import Addressing
import CNI
import Foundation
import IPAM
import Testing

/// Which address is given out next.
@Suite struct AllocatorTests {
    let data = DataDirectory()

    @Test("addresses come in order, without network, gateway and broadcast")
    func order() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/29"}"#)
        let given = try (0..<5).map { try data.allocate(set, holder("c\($0)")) }
        #expect(given == ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"])
        let error = failure { try data.allocate(set, holder("c5")) }
        #expect(
            error
                == CNIError(
                    .internalError, "no IP addresses available in range set: 10.1.0.1-10.1.0.6"))
    }

    @Test("a lease has its subnet's length and its range's gateway")
    func lease() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/20", "gateway": "10.1.15.254"}"#)
        let lease = try data.store { store in
            try Allocator(set, number: 0).reserve(nil, for: holder("c"), in: &store)
        }
        #expect("\(lease.address)" == "10.1.0.1/20")
        #expect(lease.gateway == IPAddress("10.1.15.254"))
        #expect(lease.interface == nil)
    }

    @Test("an address that was freed is not given out again before the others")
    func roundRobin() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/29"}"#)
        #expect(try data.allocate(set, holder("a")) == "10.1.0.2")
        try data.store { store in try store.release(holder("a")) }
        #expect(try data.allocate(set, holder("b")) == "10.1.0.3")
        for name in ["c", "d", "e"] { _ = try data.allocate(set, holder(name)) }
        #expect(try data.allocate(set, holder("f")) == "10.1.0.2")
    }

    @Test("it goes on after last_reserved_ip, whoever wrote it")
    func lastReserved() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/24"}"#)
        try data.write("10.1.0.77", to: "last_reserved_ip.0")
        #expect(try data.allocate(set, holder("a")) == "10.1.0.78")
        try data.write("10.1.0.254", to: "last_reserved_ip.0")
        #expect(try data.allocate(set, holder("b")) == "10.1.0.2")
        try data.write("192.168.0.1", to: "last_reserved_ip.0")
        #expect(try data.allocate(set, holder("c")) == "10.1.0.3")
        #expect(try data.files()["last_reserved_ip.0"] == "10.1.0.3")
    }

    @Test("the one address left is found, also where it is the last given out")
    func lastOne() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/29"}"#)
        for name in ["a", "b", "c", "d", "e"] { _ = try data.allocate(set, holder(name)) }
        try data.store { store in try store.release(holder("e")) }
        #expect(try data.allocate(set, holder("f")) == "10.1.0.6")
    }

    @Test("the ranges of a set follow one another, and around")
    func ranges() throws {
        let set = try rangeSet(
            #"{"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.5", "rangeEnd": "10.1.0.6"}"#,
            #"{"subnet": "10.2.0.0/30"}"#)
        let given = try (0..<3).map { try data.allocate(set, holder("c\($0)")) }
        #expect(given == ["10.1.0.5", "10.1.0.6", "10.2.0.2"])
        try data.store { store in try store.release(holder("c0")) }
        #expect(try data.allocate(set, holder("d")) == "10.1.0.5")
    }

    @Test("IPv6 ranges go to the end of the subnet, however large")
    func v6() throws {
        let set = try rangeSet(#"{"subnet": "fd00::/126"}"#)
        #expect(
            try (0..<2).map { try data.allocate(set, holder("c\($0)")) } == ["fd00::2", "fd00::3"])
        #expect(failure { try data.allocate(set, holder("c2")) }?.code == 999)
        let large = try rangeSet(#"{"subnet": "fd01::/64"}"#)
        try data.write("fd01::ffff:ffff:ffff:ffff", to: "last_reserved_ip.0")
        #expect(try data.allocate(large, holder("d")) == "fd01::2")
    }

    @Test("a holder gets one address of a set")
    func duplicate() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/24"}"#)
        _ = try data.allocate(set, holder("a"))
        #expect(
            failure { try data.allocate(set, holder("a")) }
                == CNIError(
                    .internalError,
                    "10.1.0.2 has been allocated to a, duplicate allocation is not allowed"))
        #expect(try data.allocate(set, holder("a", "net1")) == "10.1.0.3")
    }

    @Test("an address that is asked for is given, or refused with the reason")
    func requested() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/24"}"#)
        let request = { (text: String, name: String) in
            try data.allocate(set, holder(name), requested: address(text))
        }
        #expect(try request("10.1.0.50", "a") == "10.1.0.50")
        #expect(try data.allocate(set, holder("b")) == "10.1.0.51")
        for (text, message) in [
            (
                "10.1.0.50",
                "requested IP address 10.1.0.50 is not available in range set 10.1.0.1-10.1.0.254"
            ),
            ("10.1.0.1", "requested ip 10.1.0.1 is subnet's gateway"),
            ("10.1.0.255", "10.1.0.255 not in range set 10.1.0.1-10.1.0.254"),
            ("10.2.0.5", "10.2.0.5 not in range set 10.1.0.1-10.1.0.254"),
        ] {
            #expect(failure { try request(text, "c") } == CNIError(.internalError, message))
        }
    }

    @Test("whether there is a free address is told without taking it")
    func hasFree() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/30"}"#)
        let allocator = Allocator(set, number: 0)
        #expect(try data.store { store in allocator.hasFree(in: &store) })
        #expect(try data.files().keys.sorted() == ["lock"])
        #expect(try data.allocate(set, holder("a")) == "10.1.0.2")
        #expect(try !data.store { store in allocator.hasFree(in: &store) })
    }

    @Test("a thousand come and go, and the table grows with them")
    func many() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/20"}"#)
        var given: [String: String] = [:]
        for number in 0..<1000 {
            given["c\(number)"] = try data.allocate(set, holder("c\(number)"))
        }
        #expect(Set(given.values).count == 1000)
        try data.store { store in
            for number in stride(from: 0, to: 1000, by: 2) {
                try store.release(holder("c\(number)"))
            }
        }
        try data.store { store in
            for number in 0..<1000 {
                let found = try store.addresses(of: holder("c\(number)")).map { "\($0)" }
                #expect(found == (number % 2 == 0 ? [] : [given["c\(number)"] ?? ""]))
            }
        }
    }

    @Test("callers at the same time get different addresses")
    func concurrent() throws {
        let set = try rangeSet(#"{"subnet": "10.1.0.0/24"}"#)
        let path = data.path
        DispatchQueue.concurrentPerform(iterations: 8) { worker in
            for number in 0..<15 {
                guard
                    var store = try? ReservationStore.open(path, network: "net", creating: true)
                else { return }
                _ = try? Allocator(set, number: 0)
                    .reserve(nil, for: holder("c\(worker)-\(number)"), in: &store)
                store.close()
            }
        }
        let holders = try data.files().filter { IPAddress($0.key) != nil }.values
        #expect(holders.count == 120)
        #expect(Set(holders).count == 120)
    }
}
