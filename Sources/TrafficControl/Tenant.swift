public import Netlink
public import Plan
public import Rtnetlink
internal import SystemPackage

/// Several containers that have a guarantee and a ceiling together: a class in each direction,
/// with the containers' classes in it, and a name for both.
///
/// It is there for as long as a container is in it.
public struct Tenant: Resource {
    /// The name of the classes.
    public let name: ClassName
    /// The class of each direction in which it has one.
    public let classes: [TrafficClass]
    /// Whose it is.
    public let sharing: Sharing

    /// A tenant of a name and its classes.
    public init(_ name: ClassName, _ classes: [TrafficClass], _ sharing: Sharing) {
        self.name = name
        self.classes = classes
        self.sharing = sharing
    }

    /// A new tenant's number must be nobody's.
    public var isExclusive: Bool { name.isExclusive }

    /// Its numbers are those that its other containers have asked for.
    public var isChangedBack: Bool { true }

    /// `tenant 1:f000`.
    public var description: String { "tenant \(name.id)" }

    /// The tenant as it is, with those of its classes that are there.
    public func read(_ kernel: Kernel) throws(KernelError) -> Tenant? {
        guard let name = try name.read(kernel) else { return nil }
        var found: [TrafficClass] = []
        for one in classes {
            if let there = try one.read(kernel) { found.append(there) }
        }
        return Tenant(name, found, sharing)
    }

    /// Names the tenant, and makes its classes or changes them.
    public func write(_ kernel: Kernel, over found: Tenant?) throws(KernelError) {
        if found == nil { try name.write(kernel, over: nil) }
        var made: [TrafficClass] = []
        do throws(KernelError) {
            for one in classes {
                let there = found?.classes.first { $0.link == one.link }
                if let there, one.differences(from: there).isEmpty { continue }
                try one.write(kernel, over: there)
                if there == nil { made.append(one) }
            }
        } catch  where found == nil && error.errno == .fileExists {
            // The number is the class of somebody who has given it no name, and stays his.
            for one in made { try one.erase(kernel) }
            try name.erase(kernel)
            throw error
        }
        // As found, it may have had no class in a direction.
        for one in found?.classes ?? [] where !classes.contains(where: { $0.link == one.link }) {
            try one.erase(kernel)
        }
    }

    /// Takes the tenant away if no container is in it.
    ///
    /// Where it looks so, it is looked at again while no ADD is under way, because one may be about to
    /// put its container there.
    public func erase(_ kernel: Kernel) throws(KernelError) {
        guard try isUnused(kernel) else { return }
        try kernel.whenAlone { () throws(KernelError) in
            guard try isUnused(kernel), try name.read(kernel)?.text == name.text else { return }
            for one in classes { try one.erase(kernel) }
            try name.erase(kernel)
        }
    }

    /// Whether no container is in it.
    public func isUnused(_ kernel: Kernel) throws(KernelError) -> Bool {
        for one in classes where try one.read(kernel)?.hasChildren ?? false { return false }
        return true
    }

    /// How `found` misses this.
    public func differences(from found: Tenant) -> [Difference] {
        var all = name.differences(from: found.name)
        for one in classes {
            if let there = found.classes.first(where: { $0.link == one.link }) {
                all += one.differences(from: there)
            } else {
                all.append(Difference(one.description, wanted: "present", found: "absent"))
            }
        }
        return all
    }
}
