internal import Addressing
internal import CLinux
internal import Glibc
internal import SystemPackage

/// A table beside a network's directory that answers in a few reads what a holder has and which
/// addresses are free, however many are held.
///
/// It is derived: the directory is the truth. The table is good only while it carries the
/// directory's signature (identity, time of change, the machine's run), so a change by anybody
/// else, a crash between a change and `seal`, a loss of power, or damage to the file make it void,
/// and it is built anew.
///
/// A holder's address is former if it was reserved in an earlier run of the machine, which its
/// network namespace did not survive.
///
/// The table is open addressing with linear probing over slots of 32 bytes. A slot is either a
/// holder's address, under the hash of the holder, or a leaf: 128 bits that say which of 128
/// neighbouring addresses are held. Leaves of neighbouring addresses hash to neighbouring slots.
struct ReservationIndex: ~Copyable {
    private struct Slot {
        enum Kind: UInt64 { case empty, holderV4, holderV6, leaf }
        var kind = Kind.empty
        var isFormer = false
        var key: UInt64 = 0
        var payload: UInt128 = 0
        static let former: UInt64 = 4
        static let size = 32
    }

    private static let magic: UInt64 = 0x7377_6966_742d_6970  // "swift-ip"
    /// In its place where `hasLooked` is false.
    private static let unlookedMagic: UInt64 = 0x7377_6966_742d_756e  // "swift-un"
    private static let headerSize = 4096
    private static let headerWords = 7
    /// Where the machine's number follows the header, written once.
    private static let machinePosition = headerWords * 8
    private static let blockSize = 4096
    private static let leastCapacity = 1024
    /// More than any file system can hold reservations; a greater one is damage.
    private static let greatestCapacity = 1 << 40

    private let file: FileDescriptor?
    private var memory: [UInt8]
    private var block: (number: Int, bytes: [UInt8])?
    private var capacity: Int
    private var count: Int
    /// Whether everything could be read from the file and written to it.
    private(set) var isWhole = true
    /// Whether it was built by somebody who looked what containers have: where not, a reservation of theirs
    /// may have been lost, and the address look free.
    let hasLooked: Bool

    /// An empty table in memory with room for so many entries.
    init(room: Int, hasLooked: Bool = false) {
        file = nil
        self.hasLooked = hasLooked
        var capacity = Self.leastCapacity
        while capacity < room * 2 { capacity *= 2 }
        self.capacity = capacity
        memory = [UInt8](repeating: 0, count: capacity * Slot.size)
        count = 0
    }

    /// The table in a file, or nil if it does not belong to the directory's state or is damaged.
    init?(file: FileDescriptor, of signature: DirectorySignature?) {
        let known = Self.words(of: file)
        guard let signature, Self.isOfState(known, signature), known[6] == signature.boot,
            let capacity = Int(exactly: known[1]),
            (Self.leastCapacity...Self.greatestCapacity).contains(capacity),
            capacity & (capacity - 1) == 0, let count = Int(exactly: known[2]), count < capacity,
            Self.size(of: file) == Self.headerSize + capacity * Slot.size
        else {
            try? file.close()
            return nil
        }
        self.file = file
        hasLooked = known[0] == Self.magic
        self.capacity = capacity
        self.count = count
        memory = []
    }

    deinit { try? file?.close() }

    /// Whether the table in a file is of the directory's present state, but of an earlier run of this
    /// machine: nobody has reserved anything since.
    static func isOfEarlierRun(
        _ file: FileDescriptor, of signature: DirectorySignature?
    ) -> Bool {
        let known = words(of: file)
        guard let signature, isOfState(known, signature), known[6] != signature.boot, known[6] != 0,
            let machine = Directory.machine
        else { return false }
        return read(file, at: machinePosition, count: 8)[...].load(at: 0) == machine
    }

    /// The words of a file's header, fewer if it has none.
    private static func words(of file: FileDescriptor) -> [UInt64] {
        let header = read(file, at: 0, count: headerWords * 8)
        return (0..<header.count / 8).compactMap { header[...].load(at: $0 * 8) }
    }

    private static func isOfState(_ words: [UInt64], _ signature: DirectorySignature) -> Bool {
        words.count == headerWords && [magic, unlookedMagic].contains(words[0])
            && words[3] == signature.device
            && words[4] == signature.inode && words[5] == UInt64(bitPattern: signature.modified)
    }

    /// Whether another entry fits without making the table slow.
    var hasRoom: Bool { (count + 2) * 4 < capacity * 3 }

    /// Makes the table void until `seal`; to be called before the directory changes.
    mutating func unseal() { writeHeader(nil) }

    /// Binds the table to the directory's state.
    ///
    /// A table that could not be read or written in full stays void.
    mutating func seal(_ signature: DirectorySignature?) {
        if isWhole { writeHeader(signature) }
    }

    /// The table with its header, to be stored in a file.
    func image(_ signature: DirectorySignature?) -> [UInt8] {
        let head = header(signature) + littleEndian(Directory.machine ?? 0)
        return head + [UInt8](repeating: 0, count: Self.headerSize - head.count) + memory
    }

    /// The addresses stored under the holder's text.
    mutating func addresses(of holder: String) -> [IPAddress] {
        var addresses: [IPAddress] = []
        let key = hash(holder)
        probe(from: key) { slot, _ in
            guard slot.key == key, slot.kind != .leaf else { return true }
            addresses.append(IPAddress(slot.kind == .holderV4 ? .v4 : .v6, bits: slot.payload))
            return true
        }
        return addresses
    }

    /// The former addresses, in no order.
    mutating func former() -> [IPAddress] {
        var addresses: [IPAddress] = []
        for position in 0..<capacity {
            let slot = load(position)
            guard slot.isFormer, slot.kind == .holderV4 || slot.kind == .holderV6 else { continue }
            addresses.append(IPAddress(slot.kind == .holderV4 ? .v4 : .v6, bits: slot.payload))
        }
        return addresses
    }

    /// Notes that a holder has an address, or that it had it in an earlier run of the machine.
    mutating func insert(_ address: IPAddress, for holder: String, isFormer: Bool = false) {
        let kind = address.family == .v4 ? Slot.Kind.holderV4 : .holderV6
        add(Slot(kind: kind, isFormer: isFormer, key: hash(holder), payload: address.bits))
        mark(address)
    }

    /// Notes that an address is held, whoever holds it.
    mutating func mark(_ address: IPAddress) {
        let key = leafKey(address)
        let bit = UInt128(1) << (address.bits & 127)
        if let (position, slot) = leaf(key) {
            store(Slot(kind: .leaf, key: key, payload: slot.payload | bit), at: position)
        } else {
            add(Slot(kind: .leaf, key: key, payload: bit))
        }
    }

    /// Notes that a holder has an address no more.
    mutating func remove(_ address: IPAddress, of holder: String) {
        let key = hash(holder)
        var place: Int?
        probe(from: key) { slot, position in
            guard slot.key == key, slot.kind != .leaf, slot.payload == address.bits else {
                return true
            }
            place = position
            return false
        }
        if let place { delete(at: place) }
        let leafKey = leafKey(address)
        guard let (position, slot) = leaf(leafKey) else { return }
        let rest = slot.payload & ~(UInt128(1) << (address.bits & 127))
        if rest == 0 {
            delete(at: position)
        } else {
            store(Slot(kind: .leaf, key: leafKey, payload: rest), at: position)
        }
    }

    /// The first address of a run that is not held, or nil.
    mutating func firstFree(in run: ClosedRange<IPAddress>) -> IPAddress? {
        let family = run.lowerBound.family
        var start = run.lowerBound.bits
        while start <= run.upperBound.bits {
            let held = leaf(leafKey(IPAddress(family, bits: start)))?.slot.payload ?? 0
            let offset = start & 127
            let free = ~held >> offset
            let step = UInt128(free.trailingZeroBitCount)
            if free != 0, step < 128 - offset {
                let found = start + step
                return found <= run.upperBound.bits ? IPAddress(family, bits: found) : nil
            }
            let (next, overflow) = start.addingReportingOverflow(128 - offset)
            if overflow { return nil }
            start = next
        }
        return nil
    }

    // MARK: - Slots

    private func leafKey(_ address: IPAddress) -> UInt64 {
        let leaf = address.bits >> 7
        let cluster = leaf >> 5
        let mixed = mix(
            UInt64(truncatingIfNeeded: cluster) ^ mix(UInt64(truncatingIfNeeded: cluster >> 64))
                ^ UInt64(address.family.rawValue) << 56)
        return mixed & ~31 | UInt64(truncatingIfNeeded: leaf & 31)
    }

    private mutating func leaf(_ key: UInt64) -> (position: Int, slot: Slot)? {
        var match: (Int, Slot)?
        probe(from: key) { slot, position in
            guard slot.key == key, slot.kind == .leaf else { return true }
            match = (position, slot)
            return false
        }
        return match
    }

    /// Visits the slots from a key's home to the next empty one, or until `visit` says false.
    private mutating func probe(from key: UInt64, _ visit: (Slot, Int) -> Bool) {
        var position = home(key)
        for _ in 0..<capacity {
            let slot = load(position)
            guard slot.kind != .empty, visit(slot, position) else { return }
            position = (position + 1) & (capacity - 1)
        }
    }

    private mutating func add(_ slot: Slot) {
        var position = home(slot.key)
        // A good table always has an empty slot; a damaged one may not.
        for _ in 0..<capacity {
            if load(position).kind == .empty {
                store(slot, at: position)
                count += 1
                return
            }
            position = (position + 1) & (capacity - 1)
        }
    }

    /// Empties a slot and moves those after it up, so that no probe stops short.
    private mutating func delete(at position: Int) {
        var hole = position
        var next = position
        while true {
            next = (next + 1) & (capacity - 1)
            let slot = load(next)
            guard slot.kind != .empty, next != position else { break }
            let distance = (next - home(slot.key)) & (capacity - 1)
            if distance >= (next - hole) & (capacity - 1) {
                store(slot, at: hole)
                hole = next
            }
        }
        store(Slot(), at: hole)
        count -= 1
    }

    private func home(_ key: UInt64) -> Int { Int(truncatingIfNeeded: key) & (capacity - 1) }

    private mutating func load(_ position: Int) -> Slot {
        let offset = position * Slot.size
        let bytes: ArraySlice<UInt8>
        if let file {
            let number = offset / Self.blockSize
            if block?.number != number {
                let start = Self.headerSize + number * Self.blockSize
                let bytes = Self.read(file, at: start, count: Self.blockSize)
                if bytes.count < Self.blockSize { isWhole = false }
                block = (number, bytes)
            }
            bytes = (block?.bytes ?? []).dropFirst(offset % Self.blockSize).prefix(Slot.size)
        } else {
            bytes = memory[offset..<offset + Slot.size]
        }
        guard let word: UInt64 = bytes.load(at: 0), let kind = Slot.Kind(rawValue: word & 3),
            let key: UInt64 = bytes.load(at: 8), let payload: UInt128 = bytes.load(at: 16)
        else { return Slot() }
        return Slot(
            kind: kind, isFormer: word & Slot.former != 0, key: key, payload: payload)
    }

    private mutating func store(_ slot: Slot, at position: Int) {
        let offset = position * Slot.size
        let word = slot.kind.rawValue | (slot.isFormer ? Slot.former : 0)
        let bytes = littleEndian(word) + littleEndian(slot.key) + littleEndian(slot.payload)
        guard let file else {
            memory.replaceSubrange(offset..<offset + Slot.size, with: bytes)
            return
        }
        if !Self.write(file, bytes, at: Self.headerSize + offset) { isWhole = false }
        block = nil
    }

    // MARK: - File

    private func header(_ signature: DirectorySignature?) -> [UInt8] {
        let identity = [
            signature?.device ?? 0, signature?.inode ?? 0,
            UInt64(bitPattern: signature?.modified ?? 0), signature?.boot ?? 0,
        ]
        let magic = hasLooked ? Self.magic : Self.unlookedMagic
        return ([magic, UInt64(capacity), UInt64(count)] + identity)
            .flatMap { littleEndian($0) }
    }

    private mutating func writeHeader(_ signature: DirectorySignature?) {
        guard let file else { return }
        if !Self.write(file, header(signature), at: 0) { isWhole = false }
    }

    private static func read(_ file: FileDescriptor, at offset: Int, count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let got = unsafe pread(file.rawValue, &bytes, count, offset)
        return Array(bytes.prefix(max(got, 0)))
    }

    private static func write(
        _ file: FileDescriptor, _ bytes: [UInt8], at offset: Int
    ) -> Bool {
        unsafe pwrite(file.rawValue, bytes, bytes.count, offset) == bytes.count
    }

    private static func size(of file: FileDescriptor) -> Int {
        var status = stat()
        return unsafe fstat(file.rawValue, &status) == 0 ? Int(status.st_size) : -1
    }
}

/// FNV-1a with a finish that spreads it over all bits.
private func hash(_ text: String) -> UInt64 {
    mix(text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 })
}

/// The finish of MurmurHash3.
private func mix(_ number: UInt64) -> UInt64 {
    var mixed = number
    mixed ^= mixed >> 33
    mixed &*= 0xff51_afd7_ed55_8ccd
    mixed ^= mixed >> 33
    mixed &*= 0xc4ce_b9fe_1a85_ec53
    return mixed ^ mixed >> 33
}

private func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
}

extension ArraySlice<UInt8> {
    /// The little-endian integer at an offset, or nil if it does not fit.
    fileprivate func load<Value: FixedWidthInteger>(at offset: Int) -> Value? {
        let bytes = dropFirst(offset).prefix(Value.bitWidth / 8)
        guard bytes.count == Value.bitWidth / 8 else { return nil }
        return bytes.reversed().reduce(0) { $0 << 8 | Value($1) }
    }
}
