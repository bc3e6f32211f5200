internal import CSystemd
internal import Glibc
public import SystemPackage

/// The system's message bus: D-Bus, by libsystemd, which is loaded when a bus is first opened.
@safe public struct SystemBus: ~Copyable {
    private let library: UnsafePointer<systemd>
    private let bus: OpaquePointer

    /// How long the bus, and each answer, is waited for, in microseconds.
    private static let patience: UInt64 = 10_000_000

    /// Opens the bus that DBUS_SYSTEM_BUS_ADDRESS names, or else the one at its usual place.
    ///
    /// The corresponding C function is `sd_bus_open_system()`.
    /// - Throws: ELIBACC without the library, ENOENT or ECONNREFUSED without a bus, ETIMEDOUT where
    ///   whoever listens there does not greet.
    public init() throws(BusError) {
        var complaint: UnsafePointer<CChar>?
        guard let library = unsafe systemd_load(&complaint) else {
            throw unsafe BusError(
                Errno(rawValue: ELIBACC), message: complaint.map { unsafe String(cString: $0) })
        }
        var bus: OpaquePointer?
        let status = unsafe library.pointee.sd_bus_open_system(&bus)
        guard status >= 0, let bus = unsafe bus else { throw BusError(status) }
        do throws(BusError) {
            unsafe try Self.waitForGreeting(of: bus, library.pointee)
        } catch {
            _ = unsafe library.pointee.sd_bus_close_unref(bus)
            throw error
        }
        unsafe self.library = library
        unsafe self.bus = bus
    }

    // All calls have been waited for; to flush would be to wait for a bus that does not answer.
    deinit { _ = unsafe library.pointee.sd_bus_close_unref(bus) }

    /// Waits until the bus has let us in, for which the library would wait 90 seconds.
    private static func waitForGreeting(
        of bus: OpaquePointer, _ library: systemd
    ) throws(BusError) {
        let end = now() + patience
        while true {
            let isReady = unsafe library.sd_bus_is_ready(bus)
            try check(isReady)
            guard isReady == 0 else { return }
            let progress = unsafe library.sd_bus_process(bus, nil)
            try check(progress)
            guard progress == 0 else { continue }
            let now = now()
            guard now < end else { throw BusError(.timedOut) }
            unsafe try check(library.sd_bus_wait(bus, end - now))
        }
    }

    /// The clock that only goes forward, in microseconds.
    private static func now() -> UInt64 {
        var now = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        return UInt64(now.tv_sec) * 1_000_000 + UInt64(now.tv_nsec) / 1_000
    }

    /// An object of a program on the bus, and which of its interfaces is meant.
    public struct Object: Sendable {
        let owner: String
        let path: String
        let interface: String

        /// An object by the name of its program, its path and its interface.
        public init(of owner: String, _ path: String, _ interface: String) {
            self.owner = owner
            self.path = path
            self.interface = interface
        }

        /// The bus itself.
        public static let bus = Object(
            of: "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    }

    /// Calls a method that takes texts and waits for its answer; starts no program for that.
    ///
    /// The corresponding C function is `sd_bus_call()`.
    public borrowing func call(
        _ method: String, of object: Object, _ arguments: [String]
    ) throws(BusError) -> BusReply {
        var message: OpaquePointer?
        let status = unsafe library.pointee.sd_bus_message_new_method_call(
            bus, &message, object.owner, object.path, object.interface, method)
        guard status >= 0, let message = unsafe message else { throw BusError(status) }
        defer { _ = unsafe library.pointee.sd_bus_message_unref(message) }
        unsafe try Self.check(library.pointee.sd_bus_message_set_auto_start(message, 0))
        for argument in arguments {
            let text = CChar(bitPattern: UInt8(ascii: "s"))
            unsafe try Self.check(
                argument.withCString {
                    unsafe library.pointee.sd_bus_message_append_basic(message, text, $0)
                })
        }
        var (error, reply) = unsafe (sd_bus_error(), OpaquePointer?.none)
        let answer = unsafe library.pointee.sd_bus_call(bus, message, Self.patience, &error, &reply)
        defer { unsafe library.pointee.sd_bus_error_free(&error) }
        guard answer >= 0, let reply = unsafe reply else {
            throw unsafe BusError(answer, message: error.message.map { unsafe String(cString: $0) })
        }
        return unsafe BusReply(library: library, message: reply)
    }

    private static func check(_ status: Int32) throws(BusError) {
        guard status >= 0 else { throw BusError(status) }
    }
}

/// The answer to a call.
@safe public struct BusReply: ~Copyable {
    private let library: UnsafePointer<systemd>
    private let message: OpaquePointer

    init(library: UnsafePointer<systemd>, message: OpaquePointer) {
        unsafe self.library = library
        unsafe self.message = message
    }

    deinit { _ = unsafe library.pointee.sd_bus_message_unref(message) }

    /// The next value of the answer, a text.
    public borrowing func text() throws(BusError) -> String {
        var text: UnsafePointer<CChar>?
        let status = unsafe library.pointee.sd_bus_message_read_basic(
            message, CChar(bitPattern: UInt8(ascii: "s")), &text)
        guard status >= 0, let text = unsafe text else { throw BusError(status) }
        return unsafe String(cString: text)
    }

    /// The next value of the answer, a truth.
    public borrowing func truth() throws(BusError) -> Bool {
        var truth: Int32 = 0
        let status = unsafe library.pointee.sd_bus_message_read_basic(
            message, CChar(bitPattern: UInt8(ascii: "b")), &truth)
        guard status >= 0 else { throw BusError(status) }
        return truth != 0
    }
}

/// What the bus, or a program on it, said to a call.
public struct BusError: Error, Sendable, Equatable {
    /// The error number that the library has for it.
    public let errno: Errno
    /// The program's text.
    public let message: String?

    init(_ errno: Errno, message: String? = nil) {
        self.errno = errno
        self.message = message
    }

    /// The error of a function of the library: a number below nought.
    init(_ status: Int32, message: String? = nil) {
        self.init(Errno(rawValue: 0 &- min(status, -1)), message: message)
    }
}
