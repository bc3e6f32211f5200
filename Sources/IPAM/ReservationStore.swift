public import Addressing
public import CNI
internal import Glibc
internal import SystemPackage

/// Who holds an address: an interface of a container.
public struct Holder: Sendable, Hashable {
    /// The container.
    public let containerID: String
    /// The interface in the container.
    public let interface: String

    /// A holder by its container and interface.
    public init(containerID: String, interface: String) {
        self.containerID = containerID
        self.interface = interface
    }

    /// What a reservation file holds, byte for byte as the reference writes it.
    var text: String { "\(containerID)\r\n\(interface)" }
}

/// The addresses of one network that are held, on disk in the reference plugin's form.
///
/// `<dataDir>/<network>/` has a file for each address, named by its canonical text, that holds
/// the container's ID, CR LF and the interface; `last_reserved_ip.<n>` with the address given out
/// last from range set n; and `lock`. The store is locked from opening to its end.
public struct ReservationStore: ~Copyable {
    private let parent: Directory
    private let directory: Directory
    private let indexes: Directory?
    private let network: String
    private let lock: StoreLock
    private var index: ReservationIndex
    private var cooldown: Cooldown
    private var isSealed = true

    /// Opens and locks a network's store.
    ///
    /// Makes its directories where they are missing if `creating`, else returns nil. An address that was
    /// freed is not given out again for the seconds of `cooldown`. What holders are seen to have, nil where
    /// nobody looks, is asked for where the index has to be built anew, or was by somebody who did not
    /// look, and reserved where it is not.
    public static func open(
        _ dataDirectory: String, network: String, cooldown: Int = 0, creating: Bool,
        live: () throws(CNIError) -> [(address: IPAddress, holder: Holder)]? = { nil }
    ) throws(CNIError) -> ReservationStore? {
        guard let parent = try Directory.open(dataDirectory, creating: creating),
            let directory = try parent.open(network, creating: creating)
        else { return nil }
        // Without a place for the index everything works, by looking at every reservation.
        let indexes = try? parent.open(".index", creating: true)
        let lock: StoreLock
        do throws(CNIError) {
            lock = try StoreLock(in: directory)
        } catch {
            // A full disk may have had room for the directory and for nothing in it.
            guard !creating, try directory.names().isEmpty else { throw error }
            return nil
        }
        let index = try index(of: directory, indexes, network, live)
        let cooldown = Cooldown(cooldown, in: parent, network: network, creating: true)
        return ReservationStore(
            parent: parent, directory: directory, indexes: indexes, network: network, lock: lock,
            index: index,
            cooldown: cooldown)
    }

    private init(
        parent: consuming Directory, directory: consuming Directory,
        indexes: consuming Directory?, network: String, lock: consuming StoreLock,
        index: consuming ReservationIndex, cooldown: consuming Cooldown
    ) {
        self.parent = parent
        self.directory = directory
        self.indexes = indexes
        self.network = network
        self.lock = lock
        self.index = index
        self.cooldown = cooldown
    }

    /// Ends the work: whatever was changed is now the index's state too.
    ///
    /// A store dropped without it, after an error, is looked at anew by the next to open it.
    public consuming func close() {
        if !isSealed { index.seal(directory.sign()) }
    }

    /// The addresses that a holder has.
    ///
    /// Entries written before interfaces were recorded hold a container's ID alone; they count
    /// where the holder has no other.
    public mutating func addresses(of holder: Holder) throws(CNIError) -> [IPAddress] {
        let addresses = try lookUp(holder)
        guard addresses.isEmpty, !index.isWhole else { return addresses }
        index = try Self.rebuiltIndex(of: directory, nil, network)
        return try lookUp(holder)
    }

    private mutating func lookUp(_ holder: Holder) throws(CNIError) -> [IPAddress] {
        for text in [holder.text, holder.containerID] {
            var addresses: [IPAddress] = []
            for address in index.addresses(of: text) where try contents(of: address) == text {
                addresses.append(address)
            }
            if !addresses.isEmpty { return addresses }
        }
        return []
    }

    /// Reserves an address if nobody holds it.
    ///
    /// - Returns: Whether the holder has it now.
    public mutating func reserve(
        _ address: IPAddress, for holder: Holder
    ) throws(CNIError) -> Bool {
        try unseal()
        guard try directory.create("\(address)", with: holder.text) else {
            // The index did not know: another writer in the same instant.
            index.mark(address)
            return false
        }
        index.insert(address, for: holder.text)
        return true
    }

    /// Frees every address that a holder has.
    ///
    /// - Returns: The addresses freed.
    @discardableResult
    public mutating func release(_ holder: Holder) throws(CNIError) -> [IPAddress] {
        let addresses = try addresses(of: holder)
        cooldown.begin(for: addresses)
        try release(addresses)
        return addresses
    }

    /// Frees one address if the holder has it, as one that was never used.
    public mutating func release(
        _ address: IPAddress, of holder: Holder
    ) throws(CNIError) {
        if try contents(of: address) == holder.text { try release(address) }
    }

    /// Frees what every holder but the valid ones has.
    public mutating func release(except valid: Set<Holder>) throws(CNIError) {
        let texts = Set(valid.flatMap { [$0.text, $0.containerID] })
        var stale: [IPAddress] = []
        for name in try directory.names() {
            guard let address = IPAddress(name), let text = try contents(of: address),
                !texts.contains(text)
            else { continue }
            stale.append(address)
        }
        cooldown.begin(for: stale)
        PodRecord.collect(in: parent, network, except: valid)
        try release(stale)
    }

    /// Notes that a pod's interface is this holder's from now on, and frees what earlier containers of
    /// the pod had for it, if there is no namespace behind any of their paths: perhaps no DEL will come.
    ///
    /// - Returns: Whether the holder was not noted with that path.
    public mutating func takeOver(
        _ pod: String, by holder: Holder, in netns: String, isGone: (String) -> Bool
    ) throws(CNIError) -> Bool {
        guard var record = PodRecord(of: pod, network, holder.interface, in: parent) else {
            return false
        }
        let own = (id: holder.containerID, netns: netns)
        let others = record.containers.filter { $0 != own }
        let left = others.filter { !isGone($0.netns) }
        for container in others
        where container.id != own.id && !left.contains(where: { $0.id == container.id }) {
            try release(Holder(containerID: container.id, interface: holder.interface))
        }
        let isNew = others.count == record.containers.count
        record.keep(left + [own])
        return isNew
    }

    /// Notes that a holder is none of the pod's containers any more; with a path, that it is not there.
    public func leave(_ pod: String, _ holder: Holder, in netns: String? = nil) {
        guard var record = PodRecord(of: pod, network, holder.interface, in: parent) else { return }
        record.keep(
            record.containers.filter {
                $0.id != holder.containerID || $0.netns != netns ?? $0.netns
            })
    }

    /// Takes back addresses that an ADD was given in vain, and what it noted of the pod; what the holder has
    /// of an earlier ADD stays.
    public mutating func takeBack(
        _ addresses: [IPAddress], of holder: Holder, _ pod: String?, in netns: String
    ) throws(CNIError) {
        // An interface may have had them for a moment.
        cooldown.begin(for: addresses)
        for address in addresses { try release(address, of: holder) }
        guard let pod else { return }
        guard var record = PodRecord(of: pod, network, holder.interface, in: parent) else { return }
        let holdsMore = try !self.addresses(of: holder).isEmpty
        let (own, others) = (
            record.containers.filter { $0.id == holder.containerID },
            record.containers.filter { $0.id != holder.containerID }
        )
        // By its only path a holder of an earlier ADD's addresses is known.
        guard !holdsMore || own.count > 1 else { return }
        record.keep(others + (holdsMore ? own.filter { $0.netns != netns } : []))
    }

    /// The first address of a run that nobody holds or had a short while ago, or nil.
    public mutating func firstFree(in run: ClosedRange<IPAddress>) -> IPAddress? {
        var start = run.lowerBound
        while let free = index.firstFree(in: start...run.upperBound) {
            guard cooldown.includes(free) else { return free }
            guard let next = free.advanced(by: 1), next <= run.upperBound else { return nil }
            start = next
        }
        return nil
    }

    /// Reserves an address of a run that its holder has left behind: it was reserved before the machine
    /// was started, and the holder's network namespace ended with that run.
    ///
    /// - Returns: The address, or nil if there is none.
    public mutating func reclaim(
        in run: ClosedRange<IPAddress>, except spared: IPAddress?, for holder: Holder
    ) throws(CNIError) -> IPAddress? {
        for address in index.former() where run.contains(address) && address != spared {
            try release(address)
            if try reserve(address, for: holder) { return address }
        }
        return nil
    }

    /// Whether `reclaim` would find an address.
    public mutating func canReclaim(
        in run: ClosedRange<IPAddress>, except spared: IPAddress?
    ) -> Bool {
        index.former().contains { run.contains($0) && $0 != spared }
    }

    /// The address given out last from a range set.
    public func lastReserved(in set: Int) -> IPAddress? {
        guard let text = try? directory.read("last_reserved_ip.\(set)") else { return nil }
        return IPAddress(trimmed(text))
    }

    /// Notes the address given out last from a range set, or that there is none.
    ///
    /// It is a hint where to go on: an address that is reserved is not given back for want of it.
    public mutating func setLastReserved(_ address: IPAddress?, in set: Int) {
        guard (try? unseal()) != nil else { return }
        let name = "last_reserved_ip.\(set)"
        if let address {
            try? directory.overwrite(name, with: "\(address)")
        } else {
            directory.discard(name)
        }
    }

    // MARK: -

    /// Which addresses were reserved in an earlier run of the machine.
    private enum Former {
        case all
        case some(Set<IPAddress>)

        func contains(_ address: IPAddress) -> Bool {
            switch self {
            case .all: true
            case .some(let addresses): addresses.contains(address)
            }
        }
    }

    /// Frees all that can be freed.
    ///
    /// - Throws: The first error.
    private mutating func release(_ addresses: [IPAddress]) throws(CNIError) {
        var failure: CNIError?
        for address in addresses {
            do throws(CNIError) {
                try release(address)
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    private mutating func release(_ address: IPAddress) throws(CNIError) {
        guard let text = try contents(of: address) else { return }
        try unseal()
        try directory.remove("\(address)")
        index.remove(address, of: text)
    }

    private func contents(of address: IPAddress) throws(CNIError) -> String? {
        try directory.read("\(address)").map { trimmed($0) }
    }

    private mutating func unseal() throws(CNIError) {
        if !index.hasRoom {
            let former = Former.some(Set(index.former()))
            let hasLooked = index.hasLooked
            index = try Self.rebuiltIndex(
                of: directory, indexes, network, former, hasLooked: hasLooked)
            isSealed = true
        }
        guard isSealed else { return }
        index.unseal()
        isSealed = false
    }

    /// The stored index if it is the directory's, or a new one.
    private static func index(
        of directory: borrowing Directory, _ indexes: borrowing Directory?, _ network: String,
        _ live: () throws(CNIError) -> [(address: IPAddress, holder: Holder)]?
    ) throws(CNIError) -> ReservationIndex {
        switch indexes {
        case .some(let place):
            let signature = directory.signature()
            guard let file = try? place.openFile(network, O_RDWR) else { break }
            let isOfEarlierRun = ReservationIndex.isOfEarlierRun(file, of: signature)
            guard var stored = ReservationIndex(file: file, of: signature) else {
                return try rebuiltIndex(
                    of: directory, indexes, network, isOfEarlierRun ? .all : .some([]),
                    live: live())
            }
            guard !stored.hasLooked, let live = try live() else { return stored }
            return try rebuiltIndex(
                of: directory, indexes, network, .some(Set(stored.former())), live: live)
        case nil: break
        }
        return try rebuiltIndex(of: directory, indexes, network, live: live())
    }

    /// An index of the directory as it is, stored if there is a place for it.
    ///
    /// Files without content are removed: their writer died before it could say whose they are,
    /// and it held the lock that is now ours.
    private static func rebuiltIndex(
        of directory: borrowing Directory, _ indexes: borrowing Directory?, _ network: String,
        _ former: Former = .some([]), hasLooked: Bool = false,
        live found: [(address: IPAddress, holder: Holder)]? = nil
    ) throws(CNIError) -> ReservationIndex {
        directory.discard(".draft")
        let names = try directory.names()
        let live = found ?? []
        var index = ReservationIndex(
            room: names.count + live.count, hasLooked: hasLooked || found != nil)
        for name in names {
            guard let address = IPAddress(name) else { continue }
            guard let text = try directory.read(name) else {
                // A directory or a link: nobody's, but in the way.
                index.mark(address)
                continue
            }
            let holder = trimmed(text)
            if holder.isEmpty {
                try directory.remove(name)
            } else {
                index.insert(address, for: holder, isFormer: former.contains(address))
            }
        }
        for (address, holder) in live where !names.contains("\(address)") {
            guard try directory.create("\(address)", with: holder.text) else { continue }
            index.insert(address, for: holder.text)
        }
        let signature = directory.sign()
        switch indexes {
        case .some(let place):
            guard let stored = place.storeIndex(index.image(signature), as: network, signature)
            else { return index }
            return stored
        case nil: return index
        }
    }
}

extension Directory {
    /// Stores an index's image under a name and opens it, or nil if there is no room for it.
    fileprivate func storeIndex(
        _ image: [UInt8], as name: String, _ signature: DirectorySignature?
    ) -> ReservationIndex? {
        let draft = "\(name).draft"
        discard(draft)
        guard let file = try? openFile(draft, O_RDWR | O_CREAT | O_EXCL) else { return nil }
        guard unsafe Glibc.write(file.rawValue, image, image.count) == image.count,
            (try? rename(draft, to: name)) != nil
        else {
            try? file.close()
            discard(draft)
            return nil
        }
        return ReservationIndex(file: file, of: signature)
    }
}

private func trimmed(_ text: String) -> String {
    let isSpace = { (byte: UInt8) in byte == 0x20 || (0x09...0x0d).contains(byte) }
    let bytes = text.utf8.drop(while: isSpace).reversed().drop(while: isSpace).reversed()
    return String(decoding: Array(bytes), as: UTF8.self)
}
