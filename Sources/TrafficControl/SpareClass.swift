public import Netlink
public import Plan
public import Rtnetlink

/// A class that others share, of which nobody says any more what it should be: it goes as soon as no class
/// is in it.
public struct SpareClass: Resource {
    private let id: ClassID
    private let link: String
    /// The class as found, to be put back if need be.
    private var found: TrafficClass?
    /// An attachment's, as far as no other one is in it.
    public var sharing: Sharing { .owned }

    /// A class of a link of the host's.
    public init(_ id: ClassID, on link: String) {
        self.id = id
        self.link = link
    }

    /// `spare class 1:f000 on shp-i`.
    public var description: String { "spare \(shared.description)" }

    private var shared: TrafficClass {
        TrafficClass(id, of: Tree.link, on: link, rate: .none, ceil: .none, .shared)
    }

    /// Itself, if it is there and no class is in it.
    public func read(_ kernel: Kernel) throws(KernelError) -> SpareClass? {
        guard let there = try shared.read(kernel), !there.hasChildren else { return nil }
        var found = self
        found.found = there
        return found
    }

    /// Puts it back as it was found.
    public func write(_ kernel: Kernel, over found: SpareClass?) throws(KernelError) {
        if found == nil { try self.found?.write(kernel, over: nil) }
    }

    /// Takes it away if it is there and no class is in it.
    ///
    /// It is looked at again while no ADD is under way, because one may be about to put its container there.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard try read(kernel) != nil else { return }
        try kernel.whenAlone { () throws(KernelError) in
            if try read(kernel) != nil { try shared.erase(kernel) }
        }
    }

    /// There is nothing about it that could differ.
    public func differences(from found: SpareClass) -> [Difference] { [] }
}
