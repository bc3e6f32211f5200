import Glibc

/// What reads bytes that came from outside, each by its name.
nonisolated(unsafe) private let targets: [String: ([UInt8]) -> Void] = [
    "configuration": fuzzConfiguration, "environment": fuzzEnvironment, "kernel": fuzzKernel,
    "reservations": fuzzReservations, "index": fuzzIndex,
]

/// Gives one input to the target of a name.
public func fuzz(_ name: String, _ input: [UInt8]) {
    guard let target = targets[name] else {
        fatalError("no target \(name): there are \(targets.keys.sorted())")
    }
    target(input)
}

/// The target that FUZZ_TARGET names.
private let chosen = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""

/// libFuzzer's entry: one input.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    fuzz(chosen, Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
