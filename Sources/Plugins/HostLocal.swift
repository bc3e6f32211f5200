import Addressing
public import CNI
package import IPAM
import Netlink
public import PluginRuntime
import Rtnetlink

/// Gives out addresses of configured ranges and keeps the reservations on this host.
public enum HostLocal: Plugin {
    /// The plugin's name.
    public static let name = "host-local"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// It does.
    public static var isIPAM: Bool { true }

    /// Reserves one address of every range set.
    public static func add(_ call: Call) throws(CNIError) -> AddResult {
        let options = try Options(call)
        var result = AddResult()
        if let path = options.resolverConfiguration {
            result.dns = try AddResult.DNS(resolverConfiguration: path)
        }
        result.routes = options.routes
        var store = try options.madeStore(of: call)
        var reserved: [IPAddress] = []
        var isNew = false
        do throws(CNIError) {
            if let pod = options.pod {
                isNew = try store.takeOver(
                    pod, by: call.holder, in: call.invocation.netns, isGone: Self.isGone)
            }
            var requested = options.requested
            for (number, set) in options.rangeSets.enumerated() {
                let position = requested.firstIndex { set.range(of: $0) != nil }
                let wanted = position.map { requested.remove(at: $0) }
                let address: AddResult.Address
                do throws(CNIError) {
                    address = try Allocator(set, number: number)
                        .reserve(wanted, for: call.holder, in: &store)
                } catch {
                    throw error.prefixed("failed to allocate for range \(number)")
                }
                result.addresses.append(address)
                reserved.append(address.address.address)
            }
            try requireNone(requested)
        } catch {
            // Only what this call reserved: an earlier ADD's addresses are not ours to free.
            for address in reserved { try? store.release(address, of: call.holder) }
            if isNew, let pod = options.pod {
                store.leave(pod, call.holder, in: call.invocation.netns)
            }
            store.close()
            throw error
        }
        store.close()
        return result
    }

    /// Whether there is no network namespace behind a path.
    private static func isGone(_ path: String) -> Bool {
        do throws(KernelError) {
            _ = try NetworkNamespace(path: path)
            return false
        } catch {
            return NetworkNamespace.isGone(error)
        }
    }

    /// What ADD would answer now, with nothing reserved and no lock taken.
    package static func preview(_ call: Call) throws(CNIError) -> AddResult {
        let options = try Options(call)
        var result = AddResult()
        if let path = options.resolverConfiguration {
            result.dns = try AddResult.DNS(resolverConfiguration: path)
        }
        result.routes = options.routes
        let network = call.configuration.name
        let taken = try ReservationStore.cooling(
            options.dataDirectory, network: network, seconds: options.cooldown
        ).union(
            ReservationStore.reservations(options.dataDirectory, network: network).map(\.address))
        var requested = options.requested
        for (number, set) in options.rangeSets.enumerated() {
            let position = requested.firstIndex { set.range(of: $0) != nil }
            result.addresses.append(
                try Allocator(set, number: number).preview(
                    position.map { requested.remove(at: $0) }, except: taken,
                    after: ReservationStore.lastReserved(
                        options.dataDirectory, network: network, set: number)))
        }
        try requireNone(requested)
        return result
    }

    /// Throws code 999 if addresses that are asked for are left, which are of no range.
    private static func requireNone(_ requested: [IPAddress]) throws(CNIError) {
        guard !requested.isEmpty else { return }
        let list = requested.map { "\($0)" }.joined(separator: " ")
        throw CNIError(.internalError, "failed to allocate all requested IPs: \(list)")
    }

    /// Checks that the container still holds an address.
    public static func check(_ call: Call) throws(CNIError) {
        let options = try Options(call)
        guard
            var store = try options.store(of: call, creating: false)
        else { throw notFound(call) }
        let held = try store.addresses(of: call.holder)
        store.close()
        guard !held.isEmpty, Set(expected(call, options)).isSubset(of: held) else {
            throw notFound(call)
        }
    }

    /// The addresses of the previous result that are of the ranges.
    static func expected(_ call: Call, _ options: Options) -> [IPAddress] {
        (call.configuration.previous?.addresses ?? []).map(\.address.address)
            .filter { address in options.rangeSets.contains { $0.range(of: address) != nil } }
    }

    /// Reserves the addresses of the previous result again, where their reservations have been lost.
    ///
    /// - Throws: Code 999 if somebody else has one of them now.
    package static func restore(_ call: Call) throws(CNIError) {
        let options = try Options(call)
        var store = try options.madeStore(of: call)
        let held = try store.addresses(of: call.holder)
        var lost: [IPAddress] = []
        for address in expected(call, options) where !held.contains(address) {
            if try !store.reserve(address, for: call.holder) { lost.append(address) }
        }
        store.close()
        guard lost.isEmpty else {
            let list = lost.map { "\($0)" }.joined(separator: ", ")
            throw CNIError(.internalError, "\(list): reserved for another container by now")
        }
    }

    /// Frees what the container holds.
    public static func del(_ call: Call) throws(CNIError) {
        let options = try Options(call)
        guard
            var store = try options.store(of: call, creating: false)
        else { return }
        try store.release(call.holder)
        if let pod = options.pod { store.leave(pod, call.holder) }
        store.close()
    }

    /// Frees the addresses of an answer, and none that the container had before.
    public static func takeBack(_ result: AddResult, of call: Call) throws(CNIError) {
        let options = try Options(call)
        guard var store = try options.store(of: call, creating: false) else { return }
        try store.takeBack(
            result.addresses.map(\.address.address), of: call.holder, options.pod,
            in: call.invocation.netns)
        store.close()
    }

    /// Frees what no valid attachment holds.
    public static func gc(_ call: Call) throws(CNIError) {
        let options = try Options(call)
        let valid = try call.validAttachments
        guard
            var store = try options.store(of: call, creating: false)
        else { return }
        try store.release(
            except: Set(
                valid.map { Holder(containerID: $0.containerID, interface: $0.interface) }))
        store.close()
    }

    /// Checks that every range set has an address left, and that it can be reserved.
    public static func status(_ call: Call) throws(CNIError) {
        let options = try Options(call)
        do throws(CNIError) {
            try Directory.requireWritable("\(options.dataDirectory)/\(call.configuration.name)")
        } catch {
            throw CNIError(.notAvailable, error.message)
        }
        guard
            var store = try options.store(of: call, creating: false)
        else { return }
        for (number, set) in options.rangeSets.enumerated()
        where !Allocator(set, number: number).hasFree(in: &store) {
            throw CNIError(
                .notAvailable, "no IP addresses available in range set: \(set)")
        }
        store.close()
    }

    static func notFound(_ call: Call) -> CNIError {
        CNIError(
            .internalError,
            "host-local: Failed to find address added by container \(call.owner.containerID)")
    }
}

extension Call {
    fileprivate var holder: Holder {
        Holder(containerID: invocation.containerID, interface: invocation.interface)
    }

    /// Whether there may be no ranges: they are a capability's, which libcni gives neither STATUS nor GC.
    fileprivate var mayLackRanges: Bool {
        guard case .bool(true) = configuration.json["capabilities"]?["ipRanges"] else {
            return false
        }
        return invocation.verb != .add && invocation.verb != .check
    }
}

extension HostLocal {
    /// The keys of the host-local plugin.
    package struct Options: Sendable {
        package let rangeSets: [RangeSet]
        let routes: [RouteEntry]
        package let dataDirectory: String
        let cooldown: Int
        let resolverConfiguration: String?
        private(set) var requested: [IPAddress]
        /// The ID of the pod, if the container is one's.
        private(set) var pod: String?

        /// Where the reference keeps reservations, also for an empty `dataDir`.
        package static let standardDataDirectory = "/var/lib/cni/networks"

        private struct IPAMKeys: Sendable {
            let single: AddressRange.Options
            let ranges: [[AddressRange.Options]]
            let routes: [RouteEntry]
            let dataDirectory: String
            let cooldown: Int
            let resolverConfiguration: String

            init(_ keys: inout Keys) throws(CNIError) {
                single = try AddressRange.Options(&keys)
                ranges =
                    try keys.lists(
                        "ranges", "A container gets an address of each set of ranges.",
                        AddressRange.Options.init) ?? []
                routes =
                    try keys.list("routes", "Routes for the container.", RouteEntry.init) ?? []
                dataDirectory = try keys(
                    "dataDir", default: Options.standardDataDirectory,
                    "Where reservations are kept.")
                cooldown = try keys(
                    "cooldown", default: 0,
                    "How many seconds an address that was freed is not given out again.")
                guard cooldown >= 0 else {
                    throw keys.invalid("cooldown", "invalid cooldown \(cooldown): it is negative")
                }
                resolverConfiguration = try keys(
                    "resolvConf", default: "", "A resolv.conf(5) whose content is passed on.")
            }
        }

        init(_ keys: inout Keys) throws(CNIError) { try self.init(&keys, needsRanges: true) }

        private init(_ keys: inout Keys, needsRanges: Bool) throws(CNIError) {
            let ipam = try keys.object("ipam", "Address management.", IPAMKeys.init)
            let arguments: [String] = try keys(
                "args.cni.ips", default: [], "Addresses that are asked for.")
            let dynamic: [String] = try keys(
                "runtimeConfig.ips", default: [], "Addresses that are asked for.")
            let dynamicRanges =
                try keys.object(
                    "runtimeConfig", "Capabilities."
                ) { (keys) throws(CNIError) in
                    try keys.lists(
                        "ipRanges", "Range sets that come before those of ipam.",
                        AddressRange.Options.init) ?? []
                } ?? []
            guard let ipam else {
                throw CNIError(.invalidConfiguration, "IPAM config missing 'ipam' key")
            }
            let single = ipam.single.subnet == nil ? [] : [[ipam.single]]
            let named =
                Self.named(dynamicRanges, "runtimeConfig.ipRanges")
                + Self.named(single, "ipam") + Self.named(ipam.ranges, "ipam.ranges")
            guard !named.isEmpty || !needsRanges else {
                throw CNIError(
                    .invalidConfiguration, "ipam.ranges: no IP ranges specified")
            }
            var sets: [RangeSet] = []
            for (number, (place, options)) in named.enumerated() {
                do throws(CNIError) {
                    sets.append(try RangeSet(options))
                } catch {
                    throw error.prefixed("\(place): invalid range set \(number)")
                }
            }
            for (number, set) in sets.enumerated() {
                let rest = sets.enumerated().dropFirst(number + 1)
                guard let other = rest.first(where: { set.overlaps($0.element) }) else { continue }
                throw CNIError(
                    .invalidConfiguration,
                    "\(named[number].place): range set \(number) overlaps with \(other.offset)")
            }
            rangeSets = sets
            routes = ipam.routes
            dataDirectory =
                ipam.dataDirectory.isEmpty ? Self.standardDataDirectory : ipam.dataDirectory
            cooldown = ipam.cooldown
            let path = ipam.resolverConfiguration
            resolverConfiguration = path.isEmpty ? nil : path
            requested = try Self.addresses(arguments, "args.cni.ips")
            requested += try Self.addresses(dynamic, "runtimeConfig.ips")
        }

        /// The options of a call, CNI_ARGS included.
        package init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys, needsRanges: !call.mayLackRanges)
            let pairs = try call.arguments()
            pod = pairs["K8S_POD_UID"]
            if let address = pairs["IP"] {
                requested =
                    try Self.addresses([address], "CNI_ARGS: IP", .environment)
                    + requested
            }
            requested = requested.reduce(into: []) { unique, address in
                if !unique.contains(address) { unique.append(address) }
            }
            let version = call.configuration.version
            let families = rangeSets.map(\.family)
            if version <= .v0_2_0, Set(families).count < families.count {
                throw CNIError(
                    .invalidConfiguration,
                    "CNI version \(version) does not support more than 1 address per family")
            }
        }

        /// The store, made if there is none.
        func madeStore(of call: Call) throws(CNIError) -> ReservationStore {
            guard let store = try store(of: call, creating: true) else {
                throw CNIError(.io, "open \(dataDirectory)/\(call.configuration.name): it vanished")
            }
            return store
        }

        /// The network's reservations; nil where there are none and they are not to be made.
        func store(of call: Call, creating: Bool) throws(CNIError) -> ReservationStore? {
            try ReservationStore.open(
                dataDirectory, network: call.configuration.name, cooldown: cooldown,
                creating: creating
            ) { () throws(CNIError) in creating ? try liveAddresses(of: call) : nil }
        }

        /// What the network's containers have that is of its ranges; nil for who may not look.
        private func liveAddresses(
            of call: Call
        ) throws(CNIError) -> [(address: IPAddress, holder: Holder)]? {
            try LiveAddresses.of(call)?.filter { live in
                rangeSets.contains { $0.range(of: live.address) != nil }
            }
        }

        private static func named(
            _ sets: [[AddressRange.Options]], _ place: String
        ) -> [(place: String, options: [AddressRange.Options])] {
            sets.enumerated().map { index, options in
                (place == "ipam" ? place : "\(place)[\(index)]", options)
            }
        }

        /// Reads addresses whose prefix length, if given, does not matter.
        private static func addresses(
            _ texts: [String], _ place: String, _ code: CNIError.Code = .invalidConfiguration
        ) throws(CNIError) -> [IPAddress] {
            var addresses: [IPAddress] = []
            for text in texts {
                guard let address = IPAddress(text) ?? IPPrefix(text)?.address else {
                    throw CNIError(code, "\(place): not an IP address: \"\(text)\"")
                }
                addresses.append(address)
            }
            return addresses
        }
    }
}
