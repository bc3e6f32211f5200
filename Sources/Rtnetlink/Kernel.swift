internal import CLinux
public import Netlink
public import Plan
public import SystemPackage

/// Which of the two network namespaces of an attachment an object is in.
public enum Side: Sendable, Hashable, CustomStringConvertible {
    /// The namespace the plugin was started in.
    case host
    /// The container's.
    case container

    /// `host` or `container`.
    public var description: String { self == .host ? "host" : "container" }
}

/// A message for one of the two namespaces.
public struct Request {
    let side: Side
    let message: Message
}

/// The kernel as an attachment sees it: rtnetlink and sysctls of the host and of the container.
///
/// The calling thread enters the container's namespace only to open a socket there and to reach
/// its sysctls. `returnHome()` ends that, or the end of this object; one of them must be before another program is
/// started.
public final class Kernel: System {
    /// What an operation throws.
    public typealias Failure = KernelError

    private final class Connection {
        var socket: NetlinkSocket
        /// The few links the attachment is about, as last seen.
        var links: [LinkState] = []
        init() throws(KernelError) { socket = try NetlinkSocket(protocol: NETLINK_ROUTE) }
    }

    private let home: NetworkNamespace
    private let away: NetworkNamespace?
    private let host: Connection
    private var container: Connection?
    /// Links of which only the index is known, from their peers.
    private var peers: [(side: Side, name: String, index: UInt32)] = []
    private var position = Side.host
    private var isAlone = false
    var listed: (side: Side, index: UInt32, addresses: [Address])?
    var sysctlRoot: FileDescriptor?
    /// The socket whose name is this process's turn.
    var turn: FileDescriptor?
    /// What another subsystem of the kernel keeps open as long as this is.
    public var companion: AnyObject?
    /// What the link that this process has lent to the container had on the host.
    var lent: HostSettings?
    /// Whether a link was there to be removed.
    public internal(set) var hasRemovedLinks = false

    /// Opens the host's rtnetlink, and the container's when it is first needed.
    public init(container: consuming NetworkNamespace?) throws(KernelError) {
        home = try NetworkNamespace.current()
        away = container
        host = try Connection()
    }

    deinit {
        try? sysctlRoot?.close()
        try? turn?.close()
        try? returnHome()
    }

    /// Whether there is a container namespace to work in.
    public var hasContainer: Bool {
        switch away {
        case nil: false
        case .some: true
        }
    }

    /// The container's namespace, for an attribute that takes one.
    public func containerDescriptor() throws(KernelError) -> FileDescriptor {
        switch away {
        case .some(let namespace): return namespace.descriptor
        case nil: throw KernelError("enter container", .noSuchFileOrDirectory)
        }
    }

    /// The host's namespace, for an attribute that takes one.
    var homeDescriptor: FileDescriptor { home.descriptor }

    /// Takes part in the lock under which shared objects are used; see `alone(_:)`.
    public func lockShared() throws(KernelError) { try home.lockShared() }

    /// Keeps others who use this lock from choosing tables in the container meanwhile.
    ///
    /// It is flock(2) on the namespace, bounded in time, and nothing on disk.
    public func lockContainer() throws(KernelError) {
        switch away {
        case .some(let namespace): try namespace.lockExclusive()
        case nil: return
        }
    }

    /// Runs `body` if no other ADD is under way in this host namespace.
    public func alone(_ body: () -> Void) -> Bool {
        guard home.lockAlone() else { return false }
        isAlone = true
        defer { isAlone = false }
        body()
        return true
    }

    /// Whether only the kernel's answer was lost.
    public func mayBeDone(_ failure: KernelError) -> Bool { failure.mayBeDone }

    /// Runs `body` when no other ADD is under way in this host namespace, waiting for that about as
    /// long as `lockShared()` does; without it, if there always is one.
    public func whenAlone(_ body: () throws(KernelError) -> Void) throws(KernelError) {
        guard !isAlone else { return try body() }
        guard home.lockAlonePatiently() else { return }
        // The end of this program can take longer than others should wait.
        defer { home.unlock() }
        try body()
    }

    /// Runs `body` with the kernel of a new network namespace, which goes when `body` ends.
    public func inNewNamespace(
        _ body: (Kernel) throws(KernelError) -> Void
    ) throws(KernelError) {
        try returnHome()
        try NetworkNamespace.enterNew()
        var failure: KernelError?
        do throws(KernelError) {
            try body(Kernel(container: nil))
        } catch {
            failure = error
        }
        try home.enter()
        if let failure { throw failure }
    }

    /// Moves the thread to a side; `returnHome()` ends that.
    public func enter(_ side: Side) throws(KernelError) {
        guard side != position else { return }
        switch side {
        case .host: try home.enter()
        case .container:
            switch away {
            case .some(let namespace): try namespace.enter()
            case nil: throw KernelError("enter container", .noSuchFileOrDirectory)
            }
        }
        position = side
    }

    /// Moves the thread back to the host's namespace.
    public func returnHome() throws(KernelError) { try enter(.host) }

    /// Sends one message and returns its replies.
    @discardableResult
    public func request(_ side: Side, _ message: Message) throws(KernelError) -> [Reply] {
        try connection(side).socket.request(message)
    }

    /// The first replies to a dump, for questions that these answer.
    public func beginning(_ side: Side, of message: Message) throws(KernelError) -> [Reply] {
        try enter(side)
        let socket = try NetlinkSocket(protocol: NETLINK_ROUTE)
        try returnHome()
        return try socket.beginning(of: message)
    }

    /// Sends messages in one system call; a result for each.
    public func exchange(
        _ side: Side, _ messages: [Message]
    ) throws(KernelError) -> [Answer] {
        try connection(side).socket.exchange(messages)
    }

    /// Sends messages in one system call and throws the first error among them.
    public func perform(_ side: Side, _ messages: [Message]) throws(KernelError) {
        for result in try exchange(side, messages) { _ = try result.get() }
    }

    /// Performs requests in order, neighbours of one side in one system call.
    public func perform(_ requests: [Request]) -> [Outcome<KernelError>] {
        var outcomes: [Outcome<KernelError>] = []
        var rest = requests[...]
        while let side = rest.first?.side {
            let run = rest.prefix { $0.side == side }
            rest = rest.dropFirst(run.count)
            do throws(KernelError) {
                outcomes += try exchange(side, run.map(\.message)).map(Self.outcome)
            } catch {
                outcomes += run.map { _ in .failed(error) }
            }
        }
        return outcomes
    }

    private static func outcome(_ answer: Answer) -> Outcome<KernelError> {
        switch answer {
        case .replies: .done
        case .refused(let error) where error.errno == .fileExists: .exists
        case .refused(let error): .failed(error)
        }
    }

    /// The index of a link, asked of the kernel once.
    ///
    /// - Throws: ENODEV if there is no such link.
    public func index(of name: String, in side: Side) throws(KernelError) -> UInt32 {
        if let peer = peers.last(where: { $0.side == side && $0.name == name }) {
            return peer.index
        }
        if let known = try known(name, in: side) { return known.index }
        guard let link = try link(name, in: side) else {
            throw KernelError("find link \(name)", .noSuchDevice)
        }
        return link.index
    }

    /// A link as the kernel last showed it: its index and hardware address are as good as new.
    public func known(_ name: String, in side: Side) throws(KernelError) -> LinkState? {
        try connection(side).links.first { $0.isFound(by: name) }
    }

    /// A link as the kernel last showed it, or asked for now: for what stays as it is as long as there is
    /// the link.
    public func seen(_ name: String, in side: Side) throws(KernelError) -> LinkState? {
        if let known = try known(name, in: side) { return known }
        return try link(name, in: side)
    }

    /// The same of an index.
    public func seen(index: UInt32, in side: Side) throws(KernelError) -> LinkState? {
        if let known = try connection(side).links.first(where: { $0.index == index }) {
            return known
        }
        return try link(index: index, in: side)
    }

    /// Remembers a link.
    func remember(_ link: LinkState, in side: Side) throws(KernelError) {
        try forget(link.name, in: side)
        try connection(side).links.append(link)
    }

    /// Remembers the index of a link that only its peer has told of.
    func remember(_ index: UInt32, of peer: String, in side: Side) {
        peers.append((side, peer, index))
    }

    /// Forgets a link that has been removed.
    func forget(_ name: String, in side: Side) throws(KernelError) {
        try connection(side).links.removeAll { $0.name == name }
        peers.removeAll { $0.side == side && $0.name == name }
    }

    private func connection(_ side: Side) throws(KernelError) -> Connection {
        guard side == .container else { return host }
        if let container { return container }
        try enter(.container)
        let opened = try Connection()
        container = opened
        return opened
    }
}
