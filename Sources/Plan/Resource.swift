/// A field that the system holds differently from what was asked for.
public struct Difference: Sendable, Equatable, CustomStringConvertible {
    /// The object and the field: `link eth0: mtu`.
    public let what: String
    /// The value asked for.
    public let wanted: String
    /// The value found.
    public let found: String

    /// A difference of one field.
    public init(_ what: String, wanted: String, found: String) {
        self.what = what
        self.wanted = wanted
        self.found = found
    }

    /// A difference of one field, or nil where nothing particular is wanted or both agree.
    public init?<Value: Equatable & CustomStringConvertible>(
        in what: @autoclosure () -> String, wanted: Value?, found: Value?
    ) {
        guard let wanted, wanted != found else { return nil }
        self.init(what(), wanted: wanted.description, found: found?.description ?? "none")
    }

    /// The difference as a sentence.
    public var description: String { "\(what): wanted \(wanted), found \(found)" }
}

/// Who else has a claim on an object.
public enum Sharing: Sendable {
    /// This attachment alone: removed by its DEL and by the roll-back of its ADD.
    case owned
    /// Other attachments too: DEL leaves it, roll-back takes it away only when nobody else uses it.
    case shared
    /// Part of an owned object that the same plan makes, and gone with it: ADD need not look at it
    /// first, neither DEL nor roll-back need name it.
    case part
}

/// How one request ended.
public enum Outcome<Failure> {
    /// The object is as the request says.
    case done
    /// There already was an object of that identity; nothing was changed.
    case exists
    /// Nothing was changed, for this cause, unless the system says that it may be done all the same.
    case failed(Failure)
}

/// What a plan is applied to: a kernel, or a test's model of one.
public protocol System: AnyObject {
    /// A message that creates one object.
    associatedtype Request
    /// The error every operation on the system throws.
    associatedtype Failure: Error

    /// Performs the requests in order, in as few system calls as it can: an outcome for each.
    ///
    /// A request that fails does not stop those after it.
    func perform(_ requests: [Request]) -> [Outcome<Failure>]

    /// Runs `body` if nobody else is in the middle of an ADD, so that shared objects that nobody
    /// uses can be taken away; returns whether it ran.
    func alone(_ body: () -> Void) -> Bool

    /// Whether what failed so may be done all the same.
    func mayBeDone(_ failure: Failure) -> Bool
}

/// One object of the system, described by the state it should be in.
///
/// The same value is written by ADD, compared by CHECK and erased by DEL. A field that is nil
/// means "as it comes".
public protocol Resource<Target>: Sendable, CustomStringConvertible {
    /// The system the object lives in.
    associatedtype Target: System

    /// Whether this attachment alone owns the object.
    var sharing: Sharing { get }

    /// Whether creating the object fails where one of its identity exists, which is then an error.
    var isExclusive: Bool { get }

    /// Whether DEL erases the object before the others: where the kernel goes on tidying up after it,
    /// it does so while the others go.
    var goesFirst: Bool { get }

    /// Whether others of its owner's objects are found by this one: it stays while one of them cannot be
    /// erased, so that the next DEL finds what is left.
    var leadsToOthers: Bool { get }

    /// Whether the roll-back of an ADD that has changed the object, which others share, changes it back: what
    /// others may rely on by then, such as a setting of the host, stays.
    var isChangedBack: Bool { get }

    /// Whether others may change the object once it is there, such as the plugins later in a chain: CHECK
    /// does not look at it.
    var mayBeChanged: Bool { get }

    /// The message that creates the object where it does not exist, so that neighbours in a plan
    /// travel in one system call; nil if it takes a look first, or more than a message.
    func creation(_ system: Target) throws(Target.Failure) -> Target.Request?

    /// The object with this identity as the system has it now, or nil if there is none.
    func read(_ system: Target) throws(Target.Failure) -> Self?

    /// Brings the object from `found` to this state.
    func write(_ system: Target, over found: Self?) throws(Target.Failure)

    /// Erases the object by its identity; succeeds if it is already gone.
    func erase(_ system: Target) throws(Target.Failure)

    /// Whether a shared object could be erased now without taking it from somebody.
    func isUnused(_ system: Target) throws(Target.Failure) -> Bool

    /// The fields in which `found` misses this state.
    func differences(from found: Self) -> [Difference]
}

extension Resource {
    /// Most objects may exist already.
    public var isExclusive: Bool { false }

    /// Most objects go in their turn.
    public var goesFirst: Bool { false }

    /// Most objects are found by themselves.
    public var leadsToOthers: Bool { false }

    /// Most stay changed.
    public var isChangedBack: Bool { false }

    /// Most are to stay as they are.
    public var mayBeChanged: Bool { false }

    /// Most resources take a look first.
    public func creation(_ system: Target) throws(Target.Failure) -> Target.Request? { nil }

    /// Shared objects stay unless they can tell that nobody uses them.
    public func isUnused(_ system: Target) throws(Target.Failure) -> Bool { false }
}
