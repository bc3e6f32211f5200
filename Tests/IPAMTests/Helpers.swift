import Addressing
import CNI
import Foundation
import Testing

@testable import IPAM

/// A data directory of its own for each test, gone with it.
final class DataDirectory {
    let path = FileManager.default.temporaryDirectory.path + "/ipam-tests-\(UUID().uuidString)"

    /// The network's directory.
    var network: String { path + "/net" }
    /// The index of the network's directory.
    var index: String { path + "/.index/net" }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Does something with the network's store, then closes it.
    @discardableResult
    func store<Result>(
        _ body: (inout ReservationStore) throws -> Result
    ) throws -> Result {
        let opened = try ReservationStore.open(path, network: "net", creating: true)
        guard var store = opened else { throw CNIError(.io, "no store") }
        let result = try body(&store)
        store.close()
        return result
    }

    /// The addresses of a holder, by a store opened for it.
    func addresses(of holder: Holder) throws -> [String] {
        try store { store in try store.addresses(of: holder).map { "\($0)" }.sorted() }
    }

    /// The next address of a set for a holder, by a store opened for it.
    func allocate(
        _ set: RangeSet, _ holder: Holder, requested: IPAddress? = nil
    ) throws -> String {
        try store { store in
            let lease = try Allocator(set, number: 0).reserve(requested, for: holder, in: &store)
            return "\(lease.address.address)"
        }
    }

    /// The reservations as another program would see them.
    func files() throws -> [String: String] {
        var files: [String: String] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: network) {
            files[name] = try String(contentsOfFile: network + "/" + name, encoding: .utf8)
        }
        return files
    }

    /// Writes a file of the network as another program would.
    func write(_ text: String, to name: String) throws {
        try FileManager.default.createDirectory(
            atPath: network, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: network + "/" + name))
    }
}

/// The interface eth0 of a container.
func holder(_ containerID: String, _ interface: String = "eth0") -> Holder {
    Holder(containerID: containerID, interface: interface)
}

func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

/// A set of ranges in the configuration's form.
func rangeSet(_ ranges: String...) throws -> RangeSet {
    let options = try ranges.map { range in
        var keys = Keys(try JSON(parsing: Array(range.utf8)))
        return try AddressRange.Options(&keys)
    }
    return try RangeSet(options)
}

/// The error that `body` throws, or nil.
func failure<Result>(_ body: () throws -> Result) -> CNIError? {
    do {
        _ = try body()
        return nil
    } catch {
        return error as? CNIError
    }
}
