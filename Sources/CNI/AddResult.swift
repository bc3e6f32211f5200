public import Addressing

/// What ADD answers: the interfaces, addresses, routes and name servers of an attachment.
///
/// One model for every version of the specification: reading accepts all of them, and
/// `json(for:)` writes the shape that a version has.
public struct AddResult: Sendable, Equatable {
    /// A network interface, in the container or on the host.
    public struct Interface: Sendable, Equatable {
        /// Its name.
        public var name: String
        /// Its hardware address, empty if unknown.
        public var mac: String
        /// Its MTU in bytes (1.1.0).
        public var mtu: Int?
        /// The namespace it is in: CNI_NETNS, or empty for the host.
        public var sandbox: String
        /// The socket of a vhost-user interface (1.1.0).
        public var socketPath: String?
        /// The PCI address of the device behind it (1.1.0).
        public var pciID: String?

        /// An interface of a name, with or without the rest.
        public init(name: String, mac: String = "", sandbox: String = "") {
            self.name = name
            self.mac = mac
            self.sandbox = sandbox
        }
    }

    /// An address of the container.
    public struct Address: Sendable, Equatable {
        /// The index of its interface in the result's list, if one is given.
        public var interface: Int?
        /// The address and the length of its prefix.
        public var address: IPPrefix
        /// The gateway of its network.
        public var gateway: IPAddress?

        /// An address, with or without the rest.
        public init(_ address: IPPrefix, gateway: IPAddress? = nil, interface: Int? = nil) {
            self.address = address
            self.gateway = gateway
            self.interface = interface
        }
    }

    /// Name resolution for the container.
    public struct DNS: Sendable, Equatable {
        /// The servers, first to ask first; nil if the key is absent.
        public var nameservers: [String]?
        /// The local domain.
        public var domain: String?
        /// The domains to search.
        public var search: [String]?
        /// Options of the resolver.
        public var options: [String]?

        /// No name resolution.
        public init() {}

        /// Reads the keys of a `dns` object.
        public init(_ keys: inout Keys) throws(CNIError) {
            nameservers = try keys("nameservers", "Name servers, first to ask first.")
            domain = try keys("domain", "The local domain for short names.")
            search = try keys("search", "Domains to search, first to try first.")
            options = try keys("options", "Options for the resolver.")
        }

        /// Whether no key is given or every one is empty.
        public var isEmpty: Bool {
            (nameservers ?? []).isEmpty && (domain ?? "").isEmpty && (search ?? []).isEmpty
                && (options ?? []).isEmpty
        }
    }

    /// The interfaces.
    public var interfaces: [Interface] = []
    /// The container's addresses.
    public var addresses: [Address] = []
    /// The container's routes.
    public var routes: [RouteEntry] = []
    /// The container's name resolution.
    public var dns = DNS()

    /// An empty result.
    public init() {}
}

/// A route of a result or a configuration.
public struct RouteEntry: Sendable, Equatable {
    /// The destination network.
    public var destination: IPPrefix
    /// The next hop; nil means the gateway of the address's network.
    public var gateway: IPAddress?
    /// The path's MTU in bytes (1.1.0).
    public var mtu: Int?
    /// The maximum segment size to advertise, in bytes (1.1.0).
    public var advmss: Int?
    /// The metric: lower is preferred (1.1.0).
    public var priority: Int?
    /// The routing table's number (1.1.0).
    public var table: Int?
    /// The scope: 0 global, 253 link, 254 host (1.1.0).
    public var scope: Int?

    /// A route to a network, by a gateway if one is given.
    public init(_ destination: IPPrefix, gateway: IPAddress? = nil) {
        self.destination = destination
        self.gateway = gateway
    }

    /// Reads the keys of a route object.
    public init(_ keys: inout Keys) throws(CNIError) {
        let destination: IPPrefix? = try keys("dst", "The destination network.")
        gateway = try keys("gw", "The next hop; without it, the gateway of the address.")
        mtu = try keys("mtu", "MTU along the path, in bytes.")
        advmss = try keys("advmss", "Maximum segment size to advertise, in bytes.")
        priority = try keys("priority", "The metric; lower is preferred.")
        table = try keys("table", "The number of the routing table.")
        scope = try keys("scope", "The scope: 0 global, 253 link, 254 host.")
        guard let destination else { throw keys.invalid("dst", "missing") }
        self.destination = destination
        let numbers = [
            ("mtu", mtu), ("advmss", advmss), ("priority", priority), ("table", table),
        ]
        for (key, number) in numbers where UInt32(exactly: number ?? 0) == nil {
            throw keys.invalid(key, "out of range: \(number ?? 0)")
        }
        if let scope, UInt8(exactly: scope) == nil {
            throw keys.invalid("scope", "out of range: \(scope)")
        }
    }
}
