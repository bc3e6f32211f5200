internal import CLinux
internal import CMnl

/// A netlink message being built: header, fixed part, attributes.
///
/// libmnl computes every length; nesting is a closure, so that none can be left open.
public struct Message: Sendable {
    /// Flags of a request, as in netlink(7).
    public struct Flags: OptionSet, Sendable {
        /// The NLM_F_* bits.
        public let rawValue: UInt16
        /// Flags from the header's bits.
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        /// Create the object if it does not exist.
        public static let create = Flags(rawValue: UInt16(NLM_F_CREATE))
        /// Fail if the object exists.
        public static let exclusive = Flags(rawValue: UInt16(NLM_F_EXCL))
        /// Change the object if it exists.
        public static let replace = Flags(rawValue: UInt16(NLM_F_REPLACE))
        /// Add to the objects of the same key.
        public static let append = Flags(rawValue: UInt16(NLM_F_APPEND))
        /// Answer with the object; traffic control needs to be told even where it is asked for one.
        public static let echo = Flags(rawValue: UInt16(NLM_F_ECHO))
        /// Answer with every matching object.
        public static let dump = Flags(rawValue: UInt16(NLM_F_DUMP))
    }

    /// What the message asks for, in words, for errors: `add link cni0`.
    public let operation: String
    private var storage: [UInt8]
    private var length: Int

    /// Whether the answer is one object, and no acknowledgement is to follow it.
    let isQuery: Bool

    /// Whether the kernel answers with a dump.
    ///
    /// NLM_F_DUMP says so only where nothing is changed: elsewhere its bits are NLM_F_REPLACE and
    /// NLM_F_EXCL.
    let isDump: Bool

    /// What the kernel answers.
    public enum Answer: Sendable {
        /// An acknowledgement.
        case acknowledgement
        /// One object.
        case object
        /// Every matching object.
        case dump
    }

    /// A message of a type (RTM_NEWLINK, …) that starts with a fixed part (`ifinfomsg`, …).
    public init<Header: BitwiseCopyable>(
        _ operation: String, type: Int, flags: Flags = [], _ header: Header
    ) {
        // What does not change anything is answered by what it asks for.
        let isGet = type & 3 == 2
        let isDump = isGet && flags.contains(.dump)
        self.init(
            operation, type: type, flags: flags,
            answer: isDump ? .dump : isGet ? .object : .acknowledgement, header)
    }

    /// A message of a protocol other than rtnetlink, whose types do not tell what is answered.
    public init<Header: BitwiseCopyable>(
        _ operation: String, type: Int, flags: Flags = [], answer: Answer, _ header: Header
    ) {
        self.operation = operation
        isDump = answer == .dump
        isQuery = answer == .object
        let flags = isDump ? flags.union(.dump) : flags
        storage = [UInt8](repeating: 0, count: 256)
        length = 0
        let bits = UInt16(NLM_F_REQUEST) | (isQuery ? 0 : UInt16(NLM_F_ACK)) | flags.rawValue
        unsafe edit { message in
            unsafe message.pointee.nlmsg_type = UInt16(type)
            unsafe message.pointee.nlmsg_flags = bits
            let size = MemoryLayout<Header>.size
            let place = unsafe mnl_nlmsg_put_extra_header(message, size)
            unsafe place?.storeBytes(of: header, as: Header.self)
        }
    }

    /// Adds an attribute of fixed size: a number or a C structure, in the host's byte order.
    public mutating func put<Value: BitwiseCopyable>(
        _ type: Int, _ value: Value
    ) {
        unsafe withUnsafeBytes(of: value) { bytes in unsafe put(UInt16(type), bytes) }
    }

    /// Adds an attribute of bytes.
    public mutating func put(_ type: Int, bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes { bytes in unsafe put(UInt16(type), bytes) }
    }

    /// Adds an attribute that is a C string.
    public mutating func put(_ type: Int, _ text: String) {
        put(type, bytes: Array(text.utf8) + [0])
    }

    /// Adds an attribute without content, whose presence says it all.
    public mutating func put(_ type: Int) { put(type, bytes: []) }

    /// Adds an attribute that holds the attributes that `body` adds.
    public mutating func nest(_ type: Int, _ body: (inout Message) -> Void) {
        grow(by: MemoryLayout<nlattr>.size)
        let start = length
        unsafe edit { message in unsafe _ = mnl_attr_nest_start(message, UInt16(type)) }
        body(&self)
        unsafe edit { message in
            let attribute = unsafe UnsafeMutableRawPointer(message) + start
            unsafe mnl_attr_nest_end(message, attribute.assumingMemoryBound(to: nlattr.self))
        }
    }

    /// Adds a fixed part inside a nested attribute: the `ifinfomsg` of a veth's peer.
    public mutating func embed<Header: BitwiseCopyable>(_ header: Header) {
        let size = MemoryLayout<Header>.size
        grow(by: size)
        unsafe edit { message in
            let end = unsafe mnl_nlmsg_get_payload_tail(message)
            unsafe end?.storeBytes(of: header, as: Header.self)
            unsafe message.pointee.nlmsg_len += UInt32((size + 3) & ~3)
        }
    }

    /// Lets another library add attributes to the `nlmsghdr` that `body` is given, `size` bytes
    /// of them at most.
    ///
    /// The message then takes no more room than it needs: a transaction has dozens of them.
    public mutating func build(atMost size: Int, _ body: (UnsafeMutableRawPointer) -> Void) {
        storage = unsafe withUnsafeTemporaryAllocation(
            byteCount: length + size, alignment: MemoryLayout<nlmsghdr>.alignment
        ) { room in
            guard let start = room.baseAddress else { return storage }
            unsafe room.copyBytes(from: storage[..<length])
            unsafe body(start)
            let header = unsafe start.assumingMemoryBound(to: nlmsghdr.self)
            return unsafe [UInt8](room[..<Int(header.pointee.nlmsg_len)])
        }
        length = storage.count
    }

    /// The attributes that have been added after a fixed part of a type.
    public func attributes<Header>(after header: Header.Type) -> Attributes {
        let fixed = MemoryLayout<nlmsghdr>.size + (MemoryLayout<Header>.size + 3) & ~3
        return Attributes(storage[..<length].dropFirst(fixed))
    }

    /// How many bytes are sent, the next message's place included.
    var size: Int { (length + 3) & ~3 }

    /// The bytes to send, under a sequence number; answered only by an error if `isSilent`.
    func encoded(sequence: UInt32, isSilent: Bool = false) -> ArraySlice<UInt8> {
        var bytes = Array(storage[..<length])
        unsafe bytes.withUnsafeMutableBytes { bytes in
            let header = unsafe bytes.assumingMemoryBound(to: nlmsghdr.self)
            unsafe header[0].nlmsg_seq = sequence
            if isSilent { unsafe header[0].nlmsg_flags &= ~UInt16(NLM_F_ACK) }
        }
        return bytes[...]
    }

    private mutating func put(_ type: UInt16, _ bytes: UnsafeRawBufferPointer) {
        grow(by: MemoryLayout<nlattr>.size + bytes.count + 3)
        unsafe edit { message in unsafe mnl_attr_put(message, type, bytes.count, bytes.baseAddress)
        }
    }

    private mutating func grow(by count: Int) {
        let wanted = length + count
        guard wanted > storage.count else { return }
        storage += [UInt8](repeating: 0, count: max(wanted, storage.count * 2) - storage.count)
    }

    /// Lets libmnl work on the message, which begins at the start of the storage.
    private mutating func edit(_ body: (UnsafeMutablePointer<nlmsghdr>) -> Void) {
        length = unsafe storage.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return 0 }
            let message =
                length == 0
                ? unsafe mnl_nlmsg_put_header(start)
                : unsafe start.assumingMemoryBound(to: nlmsghdr.self)
            guard let message = unsafe message else { return 0 }
            unsafe body(message)
            return unsafe Int(message.pointee.nlmsg_len)
        }
    }
}
