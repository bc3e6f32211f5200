import CNI
import Foundation
import Testing

@testable import IPAM

/// The lock on a network's store.
@Suite struct LockTests {
    let data = DataDirectory()

    @Test("held for too long, it is an error of code 11 that names the holder")
    func held() throws {
        try data.store { _ in
            let patience: Int64 = 60
            let start = ContinuousClock.now
            let error = failure {
                let opened = try Directory.open(data.network, creating: false)
                guard let directory = opened else { return }
                _ = try StoreLock(in: directory, patience: patience)
            }
            #expect(ContinuousClock.now - start >= .milliseconds(patience))
            #expect(error?.code == 11)
            let message = error?.message ?? ""
            #expect(
                message.hasPrefix("lock \(data.network)/lock: held by process \(getpid()) ("),
                "\(message)")
            #expect(message.hasSuffix("for more than 60 ms"), "\(message)")
        }
    }

    @Test("given back in time, it is taken")
    func givenBack() throws {
        let opened = try ReservationStore.open(data.path, network: "net", creating: true)
        guard let store = opened else { throw CNIError(.io, "no store") }
        let path = data.path
        let waiting = DispatchGroup()
        waiting.enter()
        // A thread of its own: a queue's may all be other tests'.
        Thread.detachNewThread {
            defer { waiting.leave() }
            guard let next = try? ReservationStore.open(path, network: "net", creating: true)
            else { return }
            next.close()
        }
        #expect(waiting.wait(timeout: .now() + .milliseconds(100)) == .timedOut)
        store.close()
        #expect(waiting.wait(timeout: .now() + .seconds(60)) == .success)
    }

    @Test("the reference's lock is the same one")
    func reference() throws {
        try data.store { _ in
            let fd = open(data.network + "/lock", O_RDONLY)
            defer { close(fd) }
            #expect(flock(fd, LOCK_EX | LOCK_NB) == -1)
        }
        let fd = open(data.network + "/lock", O_RDONLY)
        defer { close(fd) }
        #expect(flock(fd, LOCK_EX | LOCK_NB) == 0)
    }
}
