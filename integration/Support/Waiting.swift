import Foundation

/// Waits until something is so, looking again after pauses of some milliseconds; what that is is told in words
/// that go on from "no".
///
/// - Throws: A failure if it is not so after that many seconds, by which something is wrong: a slow machine
///   is waited for as well.
func waitFor(
    _ what: String, seconds: Double = 60, pause milliseconds: UInt32 = 20,
    until isSo: () throws -> Bool
) throws {
    let end = Date(timeIntervalSinceNow: seconds)
    while try !isSo() {
        guard Date() < end else { throw Failure("no \(what) within \(Int(seconds)) s") }
        usleep(milliseconds * 1_000)
    }
}

extension World {
    /// Waits until no address of the host is tentative any more.
    func waitForAddresses() throws {
        try waitFor("end of duplicate address detection", pause: 100) {
            try onHost("ip -6 addr show tentative").isEmpty
        }
    }
}
