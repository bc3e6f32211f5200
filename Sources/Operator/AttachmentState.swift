public import Addressing
internal import CNI
public import FoundationEssentials
public import PluginRuntime
package import Plugins
public import Rtnetlink
public import TrafficControl

/// An attachment as it is found on the host: everything that carries its owner.
public struct AttachmentState: Sendable {
    /// Whether its container is still there.
    public enum Presence: Sendable, Equatable {
        /// Its interface is there, in a namespace to which a path may be known.
        case alive(String?)
        /// Its namespace is there by a path, and its interface is not in it.
        case cutOff(String)
        /// Its namespace has gone.
        case gone
    }

    /// A thing on the host that carries an owner.
    public enum Trace: String, Sendable, CaseIterable {
        /// The host's end of its veth pair.
        case link
        /// A reservation of host-local's.
        case lease
        /// A result that a runtime keeps.
        case result
        /// A source address in the masquerade's maps.
        case masquerade
        /// A port in the hardware address check.
        case spoofCheck = "spoof check"
        /// A mapped port of the host.
        case portMapping = "port mapping"
        /// A class in a tree.
        case trafficClass = "class"
    }

    /// What it may take in a direction, or some of its packets.
    public struct Share: Sendable {
        /// Which way.
        public let direction: Direction
        /// Where packets are held back.
        public let port: Port
        /// The class; nil for a ceiling without classes.
        public let id: ClassID?
        /// The name of a class inside the container; nil for the container's own.
        public let part: String?
        /// The tenant whose class the container's is in.
        public let tenant: String?
        /// Its numbers, or nil if the class has gone.
        public let limiter: Limiter?

        /// A class of a direction, or a ceiling without classes; without a limiter, one that has gone.
        init(
            _ direction: Direction, at port: Port, _ id: ClassID?, part: String? = nil,
            tenant: String? = nil, _ limiter: Limiter?
        ) {
            self.direction = direction
            self.port = port
            self.id = id
            self.part = part
            self.tenant = tenant
            self.limiter = limiter
        }
    }

    /// Whose it is.
    public let owner: Owner
    /// Whether its container is still there.
    public internal(set) var presence = Presence.gone
    /// The host's end of its veth pair.
    public internal(set) var hostEnd: LinkState?
    /// The bridge that this end is a port of.
    public internal(set) var master: String?
    /// The interface in the container.
    public internal(set) var inner: LinkState?
    /// Its addresses: those of the interface or, where that is gone, those kept for it.
    public internal(set) var addresses: [IPPrefix] = []
    /// The ports of the host that lead to it.
    package internal(set) var mappings: [RuleListing.Mapping] = []
    /// The ports of the host that it has claimed, whether they lead to it or not.
    var claims: [RuleListing.Mapping] = []
    /// The ports of the host that lead to another container, which had them first, until that goes.
    public internal(set) var awaitedPorts: [(port: String, holder: Owner)] = []
    /// Its classes: of each direction the container's own, then those inside it.
    public internal(set) var shares: [Share] = []
    /// When it was made, as far as a file tells.
    public internal(set) var since: Date?
    /// What there is of it.
    public internal(set) var traces: Set<Trace> = []
    /// What a runtime keeps of it.
    public internal(set) var cached: CachedAttachment?
    /// The file of a result that cannot be read.
    public internal(set) var damagedResult: String?
    /// The addresses that files and rules keep for it, whatever its interface has.
    public internal(set) var kept: [IPAddress] = []

    init(_ owner: Owner) { self.owner = owner }

    /// Whether its interface is in its container.
    public var isAlive: Bool {
        if case .alive = presence { true } else { false }
    }

    /// Whether something is left of a container that is not there any more.
    public var isOrphan: Bool { presence == .gone }

    /// A path that leads to its namespace, where one is known.
    public var netns: String? {
        switch presence {
        case .alive(let path): path
        case .cutOff(let path): path
        case .gone: nil
        }
    }

    /// What its interface is called in the container: as was asked for, or as a plugin that makes none
    /// says, such as loopback.
    var interfaces: [String] {
        [owner.interface] + givenInterfaces.compactMap { $0["name"]?.text }
    }

    /// What the result says of interfaces in the container.
    var givenInterfaces: [JSON] {
        (cached?.result["interfaces"]?.elements ?? []).filter {
            $0["sandbox"]?.text?.isEmpty == false
        }
    }

    /// The addresses of the result; results before version 0.3.0 have one of each family.
    var givenAddresses: [IPAddress] {
        let texts =
            (cached?.result["ips"]?.elements ?? []).map { $0["address"] }
            + ["ip4", "ip6"].map { cached?.result[$0]?["ip"] }
        return texts.compactMap { $0?.text.flatMap { IPPrefix($0) }?.address }
    }

    /// Whether somebody has given its interface another name.
    public var isRenamed: Bool { inner.map { !interfaces.contains($0.name) } ?? false }

    /// Whether an address is its own, or should be.
    public func has(_ address: IPAddress) -> Bool {
        addresses.contains { $0.address == address } || kept.contains(address)
            || givenAddresses.contains(address)
    }

    /// Whether a word is its container's ID or, where it is none of these others' either, the start of it.
    public func isOf(container word: String, in all: [AttachmentState]) -> Bool {
        owner.containerID == word
            || owner.containerID.hasPrefix(word)
                && !all.contains { $0.owner.containerID == word }
    }

    /// The ports of the host that a runtime has asked for of a network that maps ports: `8080/tcp`.
    public var wantedPorts: [String] {
        let plugins = (try? cached?.list())?.plugins
        let maps = plugins?.contains { $0["capabilities"]?["portMappings"] == .bool(true) }
        guard maps ?? true else { return [] }
        return (cached?.capabilities["portMappings"]?.elements ?? []).compactMap { mapping in
            guard case .integer(let port)? = mapping["hostPort"] else { return nil }
            return "\(port)/\(mapping["protocol"]?.text?.lowercased() ?? "tcp")"
        }
    }

    /// The ports that a runtime has asked for, and that neither lead to it nor are waited for.
    var missingPorts: [String] {
        wantedPorts.filter { port in
            !awaitedPorts.contains { $0.port == port }
                // One that is mapped at an address of the host alone is named with that.
                && !(mappings + claims).contains {
                    $0.hostSide == port || $0.hostSide.hasSuffix(" " + port)
                }
        }
    }

    /// Whether nothing is there of what a plugin of its network makes.
    var seemsBare: Bool {
        guard isAlive, let plugins = (try? cached?.list())?.plugins else { return false }
        return !missingPorts.isEmpty
            || plugins.contains { plugin in
                plugin["type"]?.text == Bandwidth.name && shares.isEmpty
                    || plugin["ipMasq"] == .bool(true) && !traces.contains(.masquerade)
            }
    }

    /// Why it cannot be said what it should be; nil if it can.
    public var uncertainty: String? {
        if let damagedResult { return "the result that is kept in \(damagedResult) is damaged" }
        return cached == nil ? "no result of it is kept" : nil
    }

    /// Why its objects cannot be compared with what they should be; nil if they can.
    public var obstacle: String? {
        if isOrphan { return "its container has gone" }
        return uncertainty ?? (netns == nil ? "no path leads to its namespace" : nil)
    }

    /// The MTU of its interface, in bytes.
    public var mtu: Int? { inner?.mtu ?? hostEnd?.mtu }

    /// The ports of the host that lead to it, each once: `8080/tcp to 80`.
    public var ports: [String] {
        var texts: [String] = []
        for mapping in mappings {
            let text = "\(mapping.hostSide) to \(mapping.port)"
            if !texts.contains(text) { texts.append(text) }
        }
        return texts.sorted()
    }

    /// The share of a direction: that of the container's own class.
    public func share(_ direction: Direction) -> Share? {
        let own = shares.filter { $0.direction == direction }
        return own.first { $0.part == nil } ?? own.first
    }

    /// The tenant that it belongs to.
    public var tenant: String? { shares.lazy.compactMap(\.tenant).first }

    /// The names of the classes inside it, without that of the rest.
    public var parts: [String] {
        Set(shares.compactMap(\.part)).filter { $0 != ClassRole.rest }.sorted()
    }
}
