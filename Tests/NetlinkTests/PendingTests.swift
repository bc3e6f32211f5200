import CLinux
import Testing

@testable import Netlink

/// Sorting what the kernel sends to the requests it answers.
@Suite struct PendingTests {
    private let change = Message("add link", type: Int(RTM_NEWLINK), ifinfomsg())
    private let query = Message("read link", type: Int(RTM_GETLINK), ifinfomsg())
    private let dump = Message("list links", type: Int(RTM_GETLINK), flags: .dump, ifinfomsg())

    private func message(
        _ type: Int32, _ sequence: UInt32, flags: UInt16 = 0, _ payload: [UInt8] = []
    ) -> [UInt8] {
        let header = [UInt32(16 + payload.count), UInt32(type) | UInt32(flags) << 16, sequence, 0]
        let bytes = header.flatMap { word in
            (0..<4).map { UInt8(truncatingIfNeeded: word >> (UInt32($0) * 8)) }
        }
        return bytes + payload + [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
    }

    private func number(_ value: Int32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }

    private func error(_ code: Int32, _ sequence: UInt32, detail: String? = nil) -> [UInt8] {
        let request = [UInt8](repeating: 0, count: 16)
        guard let detail else { return message(NLMSG_ERROR, sequence, number(code) + request) }
        let text = Array(detail.utf8) + [0]
        let attribute = [UInt8(text.count + 4), 0, 1, 0] + text
        return message(
            NLMSG_ERROR, sequence, flags: UInt16(NLM_F_ACK_TLVS | NLM_F_CAPPED),
            number(code) + request + attribute)
    }

    @Test("each answer goes to its request, in whatever datagrams they come")
    func answers() throws {
        let bytes =
            error(0, 7) + error(-17, 8, detail: "exists")
            + message(Int32(RTM_NEWLINK), 9, [1, 2, 3])
        var pending = Pending([change, change, query], base: 7)
        pending.take(bytes[...])
        #expect(pending.isDone)
        let results = pending.results
        #expect(try results[0].get().isEmpty)
        #expect(throws: KernelError("add link", .fileExists, detail: "exists")) {
            try results[1].get()
        }
        #expect(try results[2].get().map { Array($0.payload) } == [[1, 2, 3]])
        #expect(try results[2].get().map(\.type) == [Int(RTM_NEWLINK)])
    }

    @Test("where the first of several is forbidden, those without an answer are, too")
    func forbidden() {
        var pending = Pending([query, query], base: 1)
        pending.take(error(-1, 1)[...])
        #expect(!pending.isDone)
        #expect(pending.isForbidden)
        pending.forbid()
        for result in pending.results {
            #expect(throws: KernelError("read link", .notPermitted)) { try result.get() }
        }
        var other = Pending([query, query], base: 1)
        other.take(error(-2, 1)[...])
        #expect(!other.isForbidden)
    }

    @Test("the end of a dump that failed has the kernel's text")
    func explainedEnd() {
        let text = Array("no such table".utf8) + [0]
        let attribute = [UInt8(text.count + 4), 0, UInt8(NLMSGERR_ATTR_MSG.rawValue), 0] + text
        var pending = Pending([dump], base: 1)
        pending.take(
            message(
                NLMSG_DONE, 1, flags: UInt16(NLM_F_MULTI | NLM_F_ACK_TLVS),
                number(-2) + attribute)[...])
        #expect(throws: KernelError("list links", .noSuchFileOrDirectory, detail: "no such table"))
        {
            try pending.results[0].get()
        }
    }

    @Test("an error without an explanation has none")
    func unexplained() {
        var pending = Pending([change], base: 1)
        pending.take(error(-1, 1)[...])
        #expect(throws: KernelError("add link", .notPermitted)) { try pending.results[0].get() }
    }

    @Test("a dump ends with its end, not before")
    func dumped() throws {
        var pending = Pending([dump], base: 1)
        pending.take(
            (message(Int32(RTM_NEWLINK), 1, [1]) + message(Int32(RTM_NEWLINK), 1, [2]))[...])
        #expect(!pending.isDone)
        pending.take(message(NLMSG_DONE, 1, flags: UInt16(NLM_F_MULTI), number(0))[...])
        #expect(pending.isDone)
        #expect(try pending.results[0].get().map { Array($0.payload) } == [[1], [2]])
        #expect(!pending.interrupted)
    }

    @Test("a dump can fail at its end, and be interrupted")
    func badDumps() {
        var failed = Pending([dump], base: 1)
        failed.take(message(NLMSG_DONE, 1, number(-22))[...])
        #expect(throws: KernelError("list links", .invalidArgument)) {
            try failed.results[0].get()
        }
        var interrupted = Pending([dump], base: 1)
        interrupted.take(message(NLMSG_DONE, 1, flags: UInt16(NLM_F_DUMP_INTR), number(0))[...])
        #expect(interrupted.interrupted)
    }

    @Test("answers to others, and what comes after the last answer, are passed over")
    func others() throws {
        var pending = Pending([change, query], base: 5)
        pending.take(
            (error(-1, 4) + error(-1, 7) + message(Int32(RTM_NEWLINK), 0, [9])
                + message(Int32(RTM_NEWLINK), 6, [1]) + message(Int32(RTM_NEWLINK), 6, [2])
                + error(-1, 5))[...])
        #expect(pending.isDone)
        #expect(try pending.results[0].get().isEmpty)
        #expect(try pending.results[1].get().map { Array($0.payload) } == [[1]])
    }

    @Test("the last answer tells that those before it without one are done")
    func silent() throws {
        var pending = Pending([change, change, change], base: 1)
        pending.take(error(-17, 2)[...])
        #expect(!pending.isDone)
        pending.take(error(0, 3)[...])
        #expect(pending.isDone)
        #expect(try pending.results[0].get().isEmpty)
        #expect(throws: KernelError.self) { try pending.results[1].get() }
    }

    @Test("where an answer may be lost, only those that came are believed")
    func lost() throws {
        var pending = Pending([change, change, change], base: 1)
        pending.take((error(-17, 2) + error(0, 3))[...])
        pending.distrust(.noBufferSpace)
        let first = #expect(throws: KernelError.self) { try pending.results[0].get() }
        #expect(first?.mayBeDone == true)
        let second = #expect(throws: KernelError.self) { try pending.results[1].get() }
        #expect(second?.errno == .fileExists)
        #expect(second?.mayBeDone == false)
        #expect(try pending.results[2].get().isEmpty)
    }

    @Test("numbers go on past the largest")
    func wrapped() throws {
        var pending = Pending([change, change], base: .max)
        pending.take((error(0, .max) + error(-17, 0))[...])
        #expect(pending.isDone)
        #expect(try pending.results[0].get().isEmpty)
        #expect(throws: KernelError.self) { try pending.results[1].get() }
    }

    @Test("cut off or garbled, a datagram does no harm")
    func garbled() {
        let bytes =
            error(-17, 1, detail: "exists") + message(Int32(RTM_NEWLINK), 2, [1, 2, 3, 4])
            + message(NLMSG_DONE, 3, number(0))
        for length in 0..<bytes.count {
            var pending = Pending([change, query, dump], base: 1)
            pending.take(bytes.prefix(length))
            #expect(!pending.isDone)
            _ = pending.results
        }
        for _ in 0..<3000 {
            var garbled = bytes
            for _ in 0..<4 {
                garbled[Int.random(in: 0..<garbled.count)] = UInt8.random(in: 0...255)
            }
            var pending = Pending([change, query, dump], base: 1)
            pending.take(garbled[...])
            _ = pending.results.map { try? $0.get() }
        }
    }

    @Test("an error says what was asked, the cause, its number and the kernel's text")
    func description() {
        #expect(
            "\(KernelError("add link cni0", .fileExists))" == "add link cni0: File exists (17)")
        #expect(
            "\(KernelError("add link cni0", .invalidArgument, detail: "bad MTU"))"
                == "add link cni0: Invalid argument (22): bad MTU")
    }
}
