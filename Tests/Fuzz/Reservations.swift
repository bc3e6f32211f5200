import Addressing
import Glibc
@testable import IPAM
import SystemPackage

/// A directory in memory, made anew for each input.
private let scratch = "/dev/shm/swift-cni-fuzz-\(getpid())"

/// host-local's directory: files whose names and contents are the input's, and what the store makes
/// of them.
///
/// The input is entries of a name and a content, each with its length before it.
func fuzzReservations(_ input: [UInt8]) {
    let names = [
        "10.1.0.2", "10.1.0.3", "fd00::2", "last_reserved_ip.0", ".draft", "lock", "not-an-address",
        "../.freed/net", "../.pods/p:net:eth0",
    ]
    let directory = scratch + "/net"
    mkdir(scratch, 0o700)
    for path in [directory, scratch + "/.freed", scratch + "/.pods"] { mkdir(path, 0o700) }
    var paths: [String] = []
    var rest = input[...]
    while rest.count >= 2, paths.count < 16 {
        let (kind, length) = (rest.removeFirst(), Int(rest.removeFirst()))
        let content = Array(rest.prefix(length))
        rest = rest.dropFirst(length)
        let path = directory + "/" + names[Int(kind & 0x3f) % names.count]
        switch kind >> 6 {
        case 0: mkdir(path, 0o700)
        case 1: symlink("/etc/hostname", path)
        default:
            let file = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_NOFOLLOW, 0o600)
            write(file, content, content.count)
            close(file)
        }
        paths.append(path)
    }
    defer {
        for path in paths {
            unlink(path)
            rmdir(path)
        }
    }
    let holder = Holder(containerID: "c", interface: "eth0")
    let opened = try? ReservationStore.open(scratch, network: "net", cooldown: 60, creating: true)
    guard var store = opened, let first = IPAddress("10.1.0.2"), let last = IPAddress("10.1.0.5")
    else { return }
    _ = store.lastReserved(in: 0)
    _ = try? store.takeOver("p", by: holder, in: "/nowhere") { $0.utf8.count.isMultiple(of: 2) }
    let before = (try? store.addresses(of: holder)) ?? []
    if let free = store.firstFree(in: first...last) {
        if (try? store.reserve(free, for: holder)) == true {
            store.setLastReserved(free, in: 0)
            guard let held = try? store.addresses(of: holder), held.contains(free),
                !before.contains(free)
            else { fatalError("\(free) was reserved and is not held") }
        }
    }
    // Entries of a container's ID alone are the holder's where it has no other: freed by a second DEL.
    for _ in 0..<2 { _ = try? store.release(holder) }
    if let held = try? store.addresses(of: holder), !held.isEmpty {
        fatalError("\(held) were released and are held")
    }
    store.leave("p", holder)
    store.close()
    paths += [directory + "/10.1.0.4", directory + "/10.1.0.5", scratch + "/.freed/net"]
}

/// The index: a file that carries the right signature and is damaged all the same.
///
/// It may tell nonsense; it must neither crash nor run for ever.
func fuzzIndex(_ input: [UInt8]) {
    let signature = DirectorySignature(device: 1, inode: 2, modified: 3, boot: 4)
    var index = ReservationIndex(room: 0)
    var image = index.image(signature)
    // Bytes of the table, wherever the input says: a place of two bytes and eight bytes to put there.
    var rest = input[...]
    while rest.count >= 10 {
        let place = Int(rest.removeFirst()) << 8 | Int(rest.removeFirst())
        let start = place % (image.count - 8)
        if !(24..<56).contains(start) {
            image.replaceSubrange(start..<start + 8, with: rest.prefix(8))
        }
        rest = rest.dropFirst(8)
    }
    let path = FilePath("\(scratch).index")
    guard
        let file = try? FileDescriptor.open(
            path, .readWrite, options: [.create, .truncate], permissions: [.ownerReadWrite])
    else { fatalError("no file in memory") }
    unlink("\(scratch).index")
    _ = try? file.writeAll(image)
    guard let stored = ReservationIndex(file: file, of: signature) else { return }
    index = stored
    guard let first = IPAddress("10.1.0.0"), let last = IPAddress("10.1.63.255") else { return }
    _ = index.addresses(of: "c\r\neth0")
    if let free = index.firstFree(in: first...last) {
        index.insert(free, for: "c\r\neth0")
        index.remove(free, of: "c\r\neth0")
    }
    index.mark(last)
    index.unseal()
    index.seal(signature)
}
