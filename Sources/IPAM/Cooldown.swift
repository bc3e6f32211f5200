internal import Addressing
internal import CNI
internal import Glibc

/// The addresses of a network that were freed a short while ago and are not to be given out yet.
///
/// `<dataDir>/.freed/<network>` has a line for each: the address, and the second of its release.
/// Without the file, or a place for it, addresses are given out at once.
struct Cooldown: ~Copyable {
    private let place: Directory?
    private let network: String
    private let seconds: Int
    private var releases: [IPAddress: Int] = [:]

    /// What was freed in the last seconds; nothing is looked up for none.
    init(
        _ seconds: Int, in parent: borrowing Directory, network: String, creating: Bool
    ) {
        self.network = network
        self.seconds = seconds
        guard seconds > 0 else {
            place = nil
            return
        }
        place = try? parent.open(".freed", creating: creating)
        let now = Self.now
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            guard words.count == 2, let address = IPAddress(words[0]), let time = Int(words[1]),
                // One of the future was written by a clock that was wrong.
                now &- seconds < time, time <= now
            else { continue }
            releases[address] = time
        }
    }

    /// What the file says.
    private var text: String {
        switch place {
        case .some(let directory): (try? directory.read(network)) ?? ""
        case nil: ""
        }
    }

    /// The addresses that are not to be given out yet.
    var addresses: Set<IPAddress> { Set(releases.keys) }

    /// Whether an address is not to be given out yet.
    func includes(_ address: IPAddress) -> Bool { releases[address] != nil }

    /// Notes that addresses are freed now.
    mutating func begin(for addresses: [IPAddress]) {
        guard seconds > 0, !addresses.isEmpty else { return }
        for address in addresses { releases[address] = Self.now }
        // Of too long a file the end is not read: the latest come first.
        let lines = releases.sorted { $0.value > $1.value }.map { "\($0.key) \($0.value)\n" }
        switch place {
        case .some(let directory): try? directory.replace(network, with: lines.joined())
        case nil: return
        }
    }

    private static var now: Int { time(nil) }
}
