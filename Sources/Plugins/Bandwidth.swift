public import CNI
public import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink
import SystemPackage
import TrafficControl

/// Limits what a container may send and receive, and shares out what there is.
public enum Bandwidth: ChainedPlugin {
    /// The plugin's name.
    public static let name = "bandwidth"

    /// The versions since there have been chains.
    public static var versions: [SpecVersion] { SpecVersion.all.filter { $0 >= .v0_3_0 } }

    /// The reference's words for a call without a chain.
    public static func wordsWithoutResult(_ verb: Verb) -> String {
        "must be called as \(verb == .add ? "" : "a ")chained plugin"
    }

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// Reads the configuration.
    public static func options(_ call: Call) throws(CNIError) -> Options { try Options(call) }

    /// Whether neither direction is limited.
    public static func isIdle(_ options: Options) -> Bool {
        options.egress == nil && options.ingress == nil
    }

    /// The trees, the container's classes in them, and what sends its packets there.
    public static func plan(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Plan<Kernel> {
        try Plan(site(attachment, options, kernel, attempt: attempt).steps())
    }

    /// The same, if the guarantees can be kept beside the others'.
    public static func planToAdd(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Plan<Kernel> {
        let site = try site(attachment, options, kernel, attempt: attempt)
        try site.requireUplink(kernel)
        try site.requireRoom(kernel)
        return try Plan(site.steps())
    }

    private static func site(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Site {
        let place = try Place(attachment, kernel)
        let longest =
            ([Numbers.restName] + options.parts.map(\.keys.name))
            .map { attachment.owner.tag($0).utf8.count }.max() ?? 0
        guard options.parts.isEmpty || longest <= Owner.longestTag else {
            throw CNIError(
                .environment, "CNI_CONTAINERID: too long for the names in shaping.classes")
        }
        let ways = try Ways(options, hasHostEnd: place.hostEnd != nil)
        let numbers = try wrapping { () throws(KernelError) in
            try Numbers(attachment.owner, on: place, ways, options, kernel, attempt: attempt)
        }
        return Site(
            owner: attachment.owner, place: place, ways: ways, options: options,
            numbers: numbers)
    }

    /// After an error that may mean that the kernel lacks something, finds out what that is.
    public static func lesser(
        _ options: Options, after error: KernelError, _ kernel: Kernel
    ) throws(CNIError) -> Options? {
        guard options.known == nil, error.isLack else { return nil }
        let lacking = try wrapping { () throws(KernelError) in try kernel.lackingMeans() }
        guard !lacking.isEmpty else { return nil }
        var other = options
        other.known = lacking
        return other
    }

    /// Finds out what the kernel lacks, unless the best way is what the container has.
    public static func asAdded(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> Options {
        let place = try Place(attachment, kernel)
        let ways = try Ways(options, hasHostEnd: place.hostEnd != nil)
        return try wrapping { () throws(KernelError) in
            for direction in Direction.allCases {
                guard let way = ways[direction] else { continue }
                guard try !kernel.has(way, direction, attachment.owner, place, options.group)
                else { continue }
                var other = options
                other.known = try kernel.lackingMeans()
                return other
            }
            return options
        }
    }

    /// What is not as the configuration asks for, and why.
    public static func remark(
        _ attachment: Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) -> String {
        try Ways(options, hasHostEnd: Place(attachment, kernel).hostEnd != nil).remark
    }

    /// The owners that the maps and the classes name.
    public static func owners(
        _ options: Options, _ kernel: Kernel
    ) throws(KernelError) -> [Owner] {
        var tags: [String] = []
        for group in try kernel.groups(options.group) {
            tags += try kernel.classNames(.container, table: group.table).map(\.text)
            for direction in Direction.allCases {
                tags += try kernel.steering(
                    of: nil, direction, on: group.link(direction), table: group.table
                ).map(\.owner)
            }
        }
        var seen: Set<Owner> = []
        return tags.compactMap { Owner(className: $0) }.filter { seen.insert($0).inserted }
    }

    /// Tenants that no container is in: what an ADD that was killed has left; the classes of the host's
    /// processes, when the network has no container in the group; and what the group shares, when nobody
    /// is in it.
    public static func sweep(_ options: Options, _ kernel: Kernel) throws(KernelError) {
        for group in try kernel.groups(options.group) { try sweep(group, options, kernel) }
    }

    private static func sweep(
        _ group: Group, _ options: Options, _ kernel: Kernel
    ) throws(KernelError) {
        let names = try kernel.classNames(.container, table: group.table)
        let isUsed = names.contains { Owner(className: $0.text)?.network == options.network }
        let processes = names.filter { $0.text.hasPrefix(options.network + " ") && !$0.text.isTag }
        if !isUsed, !processes.isEmpty {
            try ProcessSteering.erase(
                processes.map { ($0.id, $0.text) }, table: group.table, kernel)
            for name in processes {
                try TrafficClass.remains(name.id, on: group.link(.egress)).erase(kernel)
                try name.erase(kernel)
            }
        }
        for name in try kernel.classNames(.tenant, table: group.table) {
            try Tenant.remains(name, group).erase(kernel)
            for spare in group.spareClasses(of: name) { try spare.erase(kernel) }
        }
        try group.tree.erase(kernel)
    }
}

extension String {
    /// Whether it is the name of a container's class, or of one inside it.
    fileprivate var isTag: Bool { Owner(className: self) != nil }
}

extension KernelError {
    /// Whether the kernel may have said that there is no such thing, here or at all.
    fileprivate var isLack: Bool {
        let lacks: [Errno] = [
            .notSupported, .noSuchFileOrDirectory, .invalidArgument, .protocolNotSupported,
            .addressFamilyNotSupported, .noFunction,
        ]
        return lacks.contains(errno)
    }
}

extension Kernel {
    /// Whether a direction looks as if this were its way.
    fileprivate func has(
        _ way: Bandwidth.Way, _ direction: Direction, _ owner: Owner, _ place: Bandwidth.Place,
        _ group: Bandwidth.Group
    ) throws(KernelError) -> Bool {
        switch (way, place.hostEnd) {
        case (.shared, let port?):
            try steeringElements(of: owner, on: port, group)
                .first { $0.direction == direction }
                .map { (steering) throws(KernelError) in try hasChain(steering) } ?? false
        case (.hostEnd, let port?): try link(port, in: .host)?.qdisc == "htb"
        case (.inside, _) where direction == .egress:
            try link(place.interface, in: .container)?.qdisc == "htb"
        default: true
        }
    }
}
