import Glibc

/// What reads bytes that came from outside, each by the name that FUZZ_TARGET gives it.
nonisolated(unsafe) private let targets: [String: ([UInt8]) -> Void] = [
    "configuration": fuzzConfiguration, "environment": fuzzEnvironment, "kernel": fuzzKernel,
    "reservations": fuzzReservations, "index": fuzzIndex,
]

nonisolated(unsafe) private let target: ([UInt8]) -> Void = {
    let name = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
    guard let target = targets[name] else {
        fatalError("FUZZ_TARGET is none of \(targets.keys.sorted())")
    }
    return target
}()

/// libFuzzer's entry: one input.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    target(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
