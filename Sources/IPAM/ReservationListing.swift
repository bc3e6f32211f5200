package import Addressing
package import CNI

/// An address that is held on this host, and by whom.
package struct Reservation: Sendable {
    /// The address.
    package let address: IPAddress
    /// The container's interface; its name is empty in entries older than its record.
    package let holder: Holder
}

extension ReservationStore {
    /// What is held in a network's directory, read without a lock and without a change.
    package static func reservations(
        _ dataDirectory: String, network: String
    ) throws(CNIError) -> [Reservation] {
        guard let parent = try Directory.open(dataDirectory, creating: false),
            let directory = try parent.open(network, creating: false)
        else { return [] }
        var reservations: [Reservation] = []
        for name in try directory.names() {
            guard let address = IPAddress(name) else { continue }
            var text: String? = ""
            do throws(CNIError) {
                text = try directory.read(name)
            } catch {
                // Whosever it is, a file that cannot be read holds its address all the same.
            }
            // One that is gone by now was released meanwhile.
            guard let text else { continue }
            reservations.append(Reservation(address: address, holder: Holder(text: text)))
        }
        return reservations.sorted { $0.address < $1.address }
    }

    /// Who holds an address, read without a lock and without a change; nil if nobody does.
    package static func holder(
        of address: IPAddress, _ dataDirectory: String, network: String
    ) throws(CNIError) -> Holder? {
        guard let parent = try Directory.open(dataDirectory, creating: false),
            let directory = try parent.open(network, creating: false)
        else { return nil }
        return try directory.read("\(address)").map { Holder(text: $0) }
    }

    /// The addresses that were freed so few seconds ago, read without a lock and without a change.
    package static func cooling(
        _ dataDirectory: String, network: String, seconds: Int
    ) throws(CNIError) -> Set<IPAddress> {
        guard seconds > 0, let parent = try Directory.open(dataDirectory, creating: false) else {
            return []
        }
        return Cooldown(seconds, in: parent, network: network, creating: false).addresses
    }

    /// The address of a range set that was given out last, read without a lock and without a change.
    package static func lastReserved(
        _ dataDirectory: String, network: String, set: Int
    ) throws(CNIError) -> IPAddress? {
        guard let parent = try Directory.open(dataDirectory, creating: false),
            let directory = try parent.open(network, creating: false),
            let text = try? directory.read("last_reserved_ip.\(set)")
        else { return nil }
        return text.split(whereSeparator: \.isWhitespace).first.flatMap { IPAddress(String($0)) }
    }

    /// The networks that a data directory has reservations of.
    package static func networks(in dataDirectory: String) throws(CNIError) -> [String] {
        guard let parent = try Directory.open(dataDirectory, creating: false) else { return [] }
        return try parent.names().filter { !$0.hasPrefix(".") }.sorted()
    }
}

extension Holder {
    /// Reads a reservation's text.
    fileprivate init(text: String) {
        let lines = text.split(whereSeparator: \.isNewline).map(String.init)
        self.init(
            containerID: lines.first ?? "", interface: lines.count > 1 ? lines[1] : "")
    }
}
