import Fuzz
import Glibc

// Every input of the fuzzers' corpus once, and for some seconds variants of them, without the fuzzers'
// instruments: `replay CORPUS SECONDS`. An input that crashes or takes longer than ten seconds is written
// to CORPUS.failed.

let arguments = CommandLine.arguments
guard arguments.count == 3, let seconds = Int(arguments[2]) else {
    fatalError("replay CORPUS SECONDS")
}
let corpus = arguments[1]

/// The input that is tried, for the handler of signals.
nonisolated(unsafe) var current: UnsafeMutableBufferPointer<UInt8> = .allocate(capacity: 1 << 16)
nonisolated(unsafe) var length = 0
let failed = (corpus + ".failed").utf8CString

for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGALRM] {
    signal(number) { number in
        let file = failed.withUnsafeBufferPointer { path in
            path.baseAddress.map { open($0, O_CREAT | O_TRUNC | O_WRONLY, 0o600) } ?? -1
        }
        write(file, current.baseAddress, length)
        signal(number, SIG_DFL)
        raise(number)
    }
}

func names(in directory: String) -> [String] {
    guard let stream = opendir(directory) else { fatalError("no directory \(directory)") }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
}

func bytes(of path: String) -> [UInt8] {
    let file = open(path, O_RDONLY)
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: current.count)
    let count = read(file, &bytes, bytes.count)
    guard count >= 0 else { fatalError("no file \(path)") }
    return Array(bytes[..<count])
}

func attempt(_ target: String, _ input: [UInt8]) {
    length = min(input.count, current.count)
    for index in 0..<length { current[index] = input[index] }
    alarm(10)
    fuzz(target, Array(input[..<length]))
}

/// An input with a few bytes changed, cut out, or from another one.
func variant(of input: [UInt8], and other: [UInt8]) -> [UInt8] {
    var changed = input
    for _ in 0..<Int.random(in: 1...4) where !changed.isEmpty {
        let place = Int.random(in: 0..<changed.count)
        switch Int.random(in: 0..<5) {
        case 0: changed[place] ^= 1 << UInt8.random(in: 0..<8)
        case 1: changed[place] = [0, 1, 0x7f, 0x80, 0xff].randomElement() ?? 0
        case 2: changed.removeSubrange(place..<min(changed.count, place + Int.random(in: 1...16)))
        case 3: changed.insert(contentsOf: other.suffix(Int.random(in: 0...32)), at: place)
        default: changed = Array(changed[..<place] + other.dropFirst(place))
        }
    }
    return changed
}

var inputs = 0
let targets = names(in: corpus)
for target in targets {
    let seeds = names(in: "\(corpus)/\(target)").map { bytes(of: "\(corpus)/\(target)/\($0)") }
    for seed in seeds { attempt(target, seed) }
    inputs += seeds.count
    let end = time(nil) + seconds / targets.count
    while time(nil) < end, let seed = seeds.randomElement(), let other = seeds.randomElement() {
        attempt(target, variant(of: seed, and: other))
        inputs += 1
    }
}
alarm(0)
print("\(inputs) inputs of \(targets.joined(separator: ", ")), none of which crashed or hung")
