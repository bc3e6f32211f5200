public import Netlink
internal import Nftables
public import Plan
public import Rtnetlink
internal import SystemPackage

/// Whose a class is: an element of a set in the group's table, the class its key, the name its
/// comment.
///
/// It is written before the class is made and goes after it, so that there is no class of ours
/// that nobody knows of; and as the kernel has a key once, no two owners have one number.
public struct ClassName: Resource {
    /// What kind of a class has the name, each kind in a set of its own.
    public enum Kind: String, Sendable, CaseIterable {
        /// A container's, or one inside a container's.
        case container = "classes"
        /// One that several containers share.
        case tenant = "tenants"
    }

    /// The class.
    public let id: ClassID
    /// A container's owner as its tag, and after a space the name of the class in it, if it is one;
    /// or the tenant's name.
    public private(set) var text: String
    /// What kind of a class it is.
    public let kind: Kind
    /// The table's name.
    public let table: String
    /// The namespace the table is in.
    public let side: Side
    /// Whose it is.
    public let sharing: Sharing
    /// Whether the number must be nobody's before.
    public var isExclusive = false

    /// The name of a class in a group's table.
    public init(
        _ text: String, of id: ClassID, _ kind: Kind, table: String, in side: Side = .host,
        _ sharing: Sharing
    ) {
        self.text = text
        self.id = id
        self.kind = kind
        self.table = table
        self.side = side
        self.sharing = sharing
    }

    /// DEL and GC find a class by its name, and leave alone what has none.
    public var leadsToOthers: Bool { true }

    /// `name of class 1:10 in shaper`.
    public var description: String { "name of class \(id) in \(table)" }

    /// The name that the class has, or nil.
    public func read(_ kernel: Kernel) throws(KernelError) -> ClassName? {
        try kernel.className(of: id, kind, table: table, in: side).map {
            ClassName($0, of: id, kind, table: table, in: side, sharing)
        }
    }

    /// Names the class; EEXIST if it has a name.
    public func write(_ kernel: Kernel, over found: ClassName?) throws(KernelError) {
        var batch = Batch()
        if found != nil { batch.remove([Element(id.bytes)], from: set) }
        batch.add([Element(id.bytes, comment: text)], to: set, exclusively: true)
        do throws(KernelError) {
            try kernel.withRules(side) { (rules) throws(KernelError) in try rules.commit(batch) }
        } catch  where error.errno == .fileExists {
            let owner = try read(kernel).map { "it belongs to \"\($0.text)\"" }
            throw KernelError("name class \(id)", .fileExists, detail: owner)
        }
    }

    /// Takes the name away, if it is still this one.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard try read(kernel)?.text == text else { return }
        var batch = Batch()
        batch.remove([Element(id.bytes)], from: set)
        try unlessAbsent { () throws(KernelError) in
            try kernel.withRules(side) { (rules) throws(KernelError) in try rules.commit(batch) }
        }
    }

    /// How `found` misses this.
    public func differences(from found: ClassName) -> [Difference] {
        [Difference(in: description, wanted: text, found: found.text)].compactMap { $0 }
    }

    private var set: NamedSet { Self.set(kind, table) }

    static func set(_ kind: Kind, _ table: String) -> NamedSet {
        NamedSet(kind.rawValue, in: Table(.netdev, table), of: [.classID])
    }
}

extension Kernel {
    /// The name of a class, or nil.
    public func className(
        of id: ClassID, _ kind: ClassName.Kind, table: String, in side: Side = .host
    ) throws(KernelError) -> String? {
        try withRules(side) { (rules) throws(KernelError) in
            try (rules.elements([id.bytes], of: ClassName.set(kind, table)).first ?? nil)?.comment
        }
    }

    /// The names of some classes, of those that have any.
    public func classNames(
        of ids: [ClassID], _ kind: ClassName.Kind, table: String
    ) throws(KernelError) -> [ClassName] {
        let found = try withRules(.host) { (rules) throws(KernelError) in
            try rules.elements(ids.map(\.bytes), of: ClassName.set(kind, table))
        }
        return zip(ids, found).compactMap { id, element in
            element.map { ClassName($0.comment ?? "", of: id, kind, table: table, .owned) }
        }
    }

    /// The classes of a group that have names.
    public func classNames(
        _ kind: ClassName.Kind, table: String, in side: Side = .host
    ) throws(KernelError) -> [ClassName] {
        let elements = try withRules(side) { (rules) throws(KernelError) in
            try rules.elements(of: ClassName.set(kind, table)) ?? []
        }
        return elements.compactMap { element in
            element.key[...].uint32(at: 0).map {
                ClassName(
                    element.comment ?? "", of: ClassID(handle: $0), kind, table: table, in: side,
                    .owned)
            }
        }
    }
}

extension UInt32 {
    /// The number's bytes in the host's order.
    var bytes: [UInt8] { unsafe withUnsafeBytes(of: self) { unsafe Array($0) } }
}

extension ClassID {
    var bytes: [UInt8] { handle.bytes }
}
