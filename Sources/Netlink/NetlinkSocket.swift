internal import CLinux
internal import CMnl
internal import Glibc
public import SystemPackage

/// A message of a reply: its type, and what follows the netlink header.
public struct Reply: Sendable {
    /// The type, such as RTM_NEWLINK.
    public let type: Int
    /// The fixed part and the attributes.
    public let payload: ArraySlice<UInt8>

    /// The attributes after a fixed part of a type.
    public func attributes<Header>(after header: Header.Type) -> Attributes {
        Attributes(payload.dropFirst((MemoryLayout<Header>.size + 3) & ~3))
    }
}

/// How the kernel has answered one message.
public enum Answer: Sendable {
    /// It is done, with these replies.
    case replies([Reply])
    /// It is not done, for this reason.
    case refused(KernelError)

    /// The replies, or the reason thrown.
    public func get() throws(KernelError) -> [Reply] {
        switch self {
        case .replies(let replies): return replies
        case .refused(let error): throw error
        }
    }
}

/// A netlink socket in one network namespace, by libmnl.
@safe public struct NetlinkSocket: ~Copyable {
    private let socket: OpaquePointer
    private var sequence: UInt32 = 0
    private let buffer: UnsafeMutableRawBufferPointer
    /// Whether closing it may wait: nftables first finishes what anybody has removed, which takes a
    /// grace period of RCU, 15 ms.
    private let closesSlowly: Bool

    /// The kernel builds dumps in datagrams of at most this size.
    private static let largestDatagram = 32 << 10

    /// What a socket can send at once without being told to.
    private static let ordinaryTransaction = 64 << 10

    /// How often a dump that the kernel found inconsistent is asked for again.
    private static let dumpAttempts = 10

    /// Opens a socket of a protocol (NETLINK_ROUTE, …) in the thread's network namespace.
    ///
    /// The kernel is told to check requests strictly, to explain errors, and not to echo requests
    /// in acknowledgements.
    public init(protocol number: Int32) throws(KernelError) {
        unsafe socket = try Self.open(protocol: Int32(number))
        unsafe buffer = .allocate(byteCount: Self.largestDatagram, alignment: 8)
        closesSlowly = number == NETLINK_NETFILTER
    }

    deinit {
        let trigger = closesSlowly ? linux_close_later(descriptor.rawValue) : -1
        unsafe _ = mnl_socket_close(socket)
        if trigger >= 0 { try? FileDescriptor(rawValue: trigger).close() }
        unsafe buffer.deallocate()
    }

    private static func open(protocol number: Int32) throws(KernelError) -> OpaquePointer {
        let flags = Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        guard let socket = unsafe mnl_socket_open2(number, flags) else {
            throw KernelError(lastOf: "open netlink socket")
        }
        var done = unsafe mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0
        for option in [NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK] where done {
            var on: Int32 = 1
            done = unsafe mnl_socket_setsockopt(socket, Int32(option), &on, 4) == 0
        }
        guard done else {
            let error = KernelError(lastOf: "set up netlink socket")
            unsafe _ = mnl_socket_close(socket)
            throw error
        }
        return unsafe socket
    }

    /// The socket's descriptor, for poll(2).
    public var descriptor: FileDescriptor {
        FileDescriptor(rawValue: unsafe mnl_socket_get_fd(socket))
    }

    /// Joins a multicast group of notifications, such as RTNLGRP_LINK.
    public func join(group: UInt32) throws(KernelError) {
        var number = group
        let result = unsafe mnl_socket_setsockopt(
            socket, Int32(NETLINK_ADD_MEMBERSHIP), &number, 4)
        guard result == 0 else { throw KernelError(lastOf: "join netlink group \(number)") }
    }

    /// Throws away what has been received so far, without waiting.
    public mutating func discardReceived() {
        let fd = descriptor.rawValue
        while unsafe recv(fd, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT)) > 0 {}
    }

    /// Sends one message and returns its replies.
    @discardableResult
    public mutating func request(_ message: Message) throws(KernelError) -> [Reply] {
        guard let result = try exchange([message]).first else { return [] }
        return try result.get()
    }

    /// Sends messages in one system call and returns each one's replies or error.
    ///
    /// The kernel goes on after a message that fails. Dumps are sent alone, and again if the
    /// kernel says that what they list changed meanwhile.
    ///
    /// - Throws: What prevents sending and receiving as such.
    public mutating func exchange(
        _ messages: [Message]
    ) throws(KernelError) -> [Answer] {
        guard let first = messages.first else { return [] }
        guard first.isDump else {
            var answers: [Answer] = []
            for piece in Self.pieces(of: messages) {
                answers += try exchangeOnce(Array(piece)).results
            }
            return answers
        }
        for _ in 1..<Self.dumpAttempts {
            let attempt = try exchangeOnce(messages)
            if !attempt.interrupted { return attempt.results }
        }
        return try exchangeOnce(messages).results
    }

    /// The first replies to a dump, as many as fit a datagram that the kernel chooses the size of; the rest is
    /// not asked for, and the socket is closed.
    public consuming func beginning(of message: Message) throws(KernelError) -> [Reply] {
        try send(Array(message.encoded(sequence: 1, isSilent: false)), for: message.operation)
        var pending = Pending([message], base: 1)
        repeat {
            let count = unsafe mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
            if count >= 0 {
                pending.take(unsafe [UInt8](buffer[..<count])[...])
                return try pending.results.first?.get() ?? []
            }
        } while Errno.current == .interrupted
        throw .answerLost(message.operation, Errno.current)
    }

    /// Sends messages as one transaction of a netfilter subsystem: all take effect, or none.
    ///
    /// - Returns: The replies to each message, which are what is made for those that ask for an echo.
    /// - Throws: The error of the first message that the kernel refuses; ERESTART if a generation
    ///   is given and the subsystem's is another.
    @discardableResult
    public mutating func commit(
        _ messages: [Message], to subsystem: Int32, generation: UInt32? = nil
    ) throws(KernelError) -> [[Reply]] {
        guard let last = messages.last else { return [] }
        let header = nfgenmsg(
            nfgen_family: 0, version: UInt8(NFNETLINK_V0), res_id: UInt16(subsystem).bigEndian)
        var begin = Message(
            messages.count == 1 ? last.operation : "change the ruleset",
            type: Int(NLMSG_MIN_TYPE), answer: .acknowledgement, header)
        if let generation { begin.put(Int(NFNL_BATCH_GENID.rawValue), generation.bigEndian) }
        let end = Message(
            begin.operation, type: Int(NLMSG_MIN_TYPE) + 1, answer: .acknowledgement, header)
        let batch = [begin] + messages
        let base = sequence &+ 1
        sequence = sequence &+ UInt32(batch.count + 1)
        var bytes: [UInt8] = []
        for index in batch.indices {
            bytes += batch[index].encoded(
                sequence: base &+ UInt32(index), isSilent: index < batch.count - 1)
        }
        bytes += end.encoded(sequence: base &+ UInt32(batch.count), isSilent: true)
        makeRoom(for: bytes.count)
        try send(bytes, for: begin.operation)
        var pending = Pending(batch, base: base, isTransaction: true)
        try receive(&pending, for: begin.operation)
        var replies: [[Reply]] = []
        for result in pending.results { replies.append(try result.get()) }
        return Array(replies.dropFirst())
    }

    /// Lets the socket send a transaction of a size, which cannot be cut in pieces.
    private func makeRoom(for count: Int) {
        guard count > Self.ordinaryTransaction else { return }
        var size = Int32(clamping: count)
        guard unsafe setsockopt(descriptor.rawValue, SOL_SOCKET, SO_SNDBUFFORCE, &size, 4) < 0
        else { return }
        // Who is root in a user namespace alone has what the host lets everybody have.
        unsafe _ = setsockopt(descriptor.rawValue, SOL_SOCKET, SO_SNDBUF, &size, 4)
    }

    /// Messages that go together, in pieces that a socket can send at once.
    private static func pieces(of messages: [Message]) -> [ArraySlice<Message>] {
        var pieces: [ArraySlice<Message>] = []
        var (start, size) = (0, 0)
        for index in messages.indices {
            if index > start, size + messages[index].size > ordinaryTransaction {
                pieces.append(messages[start..<index])
                (start, size) = (index, 0)
            }
            size += messages[index].size
        }
        return pieces + [messages[start...]]
    }

    private mutating func exchangeOnce(
        _ messages: [Message]
    ) throws(KernelError) -> (results: [Answer], interrupted: Bool) {
        let base = sequence &+ 1
        sequence = sequence &+ UInt32(messages.count)
        var bytes: [UInt8] = []
        for index in messages.indices {
            // The kernel works in order: the last answer tells of all before that have none.
            bytes += messages[index].encoded(
                sequence: base &+ UInt32(index), isSilent: index < messages.count - 1)
        }
        try send(bytes, for: messages[0].operation)
        var pending = Pending(messages, base: base)
        try receive(&pending, for: messages[0].operation)
        return (pending.results, pending.interrupted)
    }

    private func send(_ bytes: [UInt8], for operation: String) throws(KernelError) {
        while unsafe mnl_socket_sendto(socket, bytes, bytes.count) < 0 {
            guard Errno.current == .interrupted else { throw KernelError(lastOf: operation) }
        }
    }

    /// How often receiving is tried in a row.
    private static let receiveAttempts = 4

    /// Receives until all answers are there.
    ///
    /// What the kernel has to say it has queued before sending returns, so nothing is waited for. After
    /// an error the answer is there still, or there is none.
    private mutating func receive(
        _ pending: inout Pending, for operation: String
    ) throws(KernelError) {
        var lost: Errno?
        var attempt = 0
        while !pending.isDone {
            let count = unsafe mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
            if count >= 0 {
                pending.take(unsafe [UInt8](buffer[..<count])[...])
                attempt = 0
                continue
            }
            let error = Errno.current
            attempt += 1
            switch error {
            case .interrupted where attempt < Self.receiveAttempts: continue
            case .noBufferSpace where attempt < Self.receiveAttempts,
                .noMemory where attempt < Self.receiveAttempts:
                lost = lost ?? error
            case .resourceTemporarilyUnavailable where lost == nil && pending.isForbidden:
                return pending.forbid()
            default: throw .answerLost(operation, lost ?? error)
            }
        }
        if lost == .noBufferSpace { pending.distrust(.noBufferSpace) }
    }
}

/// The answers still outstanding for messages that were sent.
struct Pending {
    private let messages: [Message]
    private let base: UInt32
    private(set) var results: [Answer]
    private(set) var isDone: Bool
    private(set) var interrupted = false
    /// Whether each request has had an answer of its own.
    private var isAnswered: [Bool]
    /// Whether the first message opens a transaction, about which the kernel says nothing more
    /// when it refuses that.
    private let isTransaction: Bool

    init(_ messages: [Message], base: UInt32, isTransaction: Bool = false) {
        self.messages = messages
        self.isTransaction = isTransaction
        self.base = base
        results = Array(repeating: .replies([]), count: messages.count)
        isAnswered = Array(repeating: false, count: messages.count)
        isDone = messages.isEmpty
    }

    /// Sorts received messages to the requests they answer; answers to others are passed over.
    mutating func take(_ received: ArraySlice<UInt8>) {
        var rest = received
        while !isDone, let length = rest.uint32(at: 0), let type = rest.uint16(at: 4),
            let flags = rest.uint16(at: 6), let sequence = rest.uint32(at: 8),
            length >= 16, length <= rest.count
        {
            let payload = rest.dropFirst(16).prefix(Int(length) - 16)
            rest = rest.dropFirst((Int(length) + 3) & ~3)
            let index = Int(sequence &- base)
            guard messages.indices.contains(index) else { continue }
            if flags & UInt16(NLM_F_DUMP_INTR) != 0 { interrupted = true }
            switch Int32(type) {
            case NLMSG_ERROR, NLMSG_DONE:
                end(index, with: payload, flags: flags, isDumpEnd: Int32(type) == NLMSG_DONE)
            default:
                guard case .replies(var replies) = results[index] else { continue }
                results[index] = .replies([])
                replies.append(Reply(type: Int(type), payload: payload))
                results[index] = .replies(replies)
                if messages[index].isQuery { end(index) }
            }
        }
    }

    private mutating func end(
        _ index: Int, with payload: ArraySlice<UInt8>, flags: UInt16, isDumpEnd: Bool
    ) {
        let code = Int32(bitPattern: payload.uint32(at: 0) ?? 0)
        if code != 0 {
            // With NETLINK_CAP_ACK only the header of the request comes back, and of a dump nothing; then
            // attributes.
            let explained = flags & UInt16(NLM_F_ACK_TLVS) != 0
            let fixed = isDumpEnd ? 4 : 20
            let detail =
                explained
                ? Attributes(payload.dropFirst(fixed))[Int(NLMSGERR_ATTR_MSG.rawValue)] : nil
            results[index] = .refused(
                KernelError(
                    messages[index].operation, Errno(rawValue: 0 &- code), detail: detail?.text))
        }
        end(index)
    }

    /// Takes the requests without an answer for lost, not done: the kernel had no room for one.
    mutating func distrust(_ error: Errno) {
        for index in messages.indices where !isAnswered[index] {
            results[index] = .refused(.answerLost(messages[index].operation, error))
        }
    }

    /// Why a request was refused of which the caller may send none.
    private var prohibition: KernelError? {
        for result in results {
            if case .refused(let error) = result, error.errno == .notPermitted { return error }
        }
        return nil
    }

    /// Whether a request was refused because the caller may send none.
    var isForbidden: Bool { prohibition != nil }

    /// Takes the requests without an answer for refused: netfilter looks at the caller's rights once, answers
    /// the first message, and reads no other.
    mutating func forbid() {
        guard let prohibition else { return }
        for index in messages.indices where !isAnswered[index] {
            results[index] = .refused(
                KernelError(
                    messages[index].operation, .notPermitted, detail: prohibition.detail))
        }
    }

    private mutating func end(_ index: Int) {
        isAnswered[index] = true
        if index == messages.count - 1 || (isTransaction && index == 0) { isDone = true }
    }
}
