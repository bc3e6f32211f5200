public import CNI
public import FoundationEssentials
internal import Glibc
public import PluginRuntime

/// An attachment as a runtime's library has noted it: how it was made, and the result.
public struct CachedAttachment: Sendable {
    /// Whose it is.
    public var owner: Owner
    /// The path of the container's namespace; empty in entries of older libraries.
    public var netns: String
    /// The network's list at that time, as JSON text.
    public var configuration: [UInt8]
    /// The pairs of CNI_ARGS.
    public var arguments: [(key: String, value: String)]
    /// What the runtime gave for capabilities: an object.
    public var capabilities: JSON
    /// The result of ADD.
    public var result: JSON
    /// When it was noted.
    public var date: Date?

    /// The network's list at that time.
    public func list() throws(CNIError) -> ConfigurationList {
        try ConfigurationList(parsing: configuration, file: "cached configuration of \(owner.tag)")
    }
}

extension CachedAttachment {
    /// Whether a path leads to the namespace that was noted, or is the same where neither leads anywhere.
    public func isNoted(at path: String) -> Bool {
        let (noted, given) = (Files.status(netns)?.identity, Files.status(path)?.identity)
        return netns == path || Files.target(netns) == Files.target(path)
            || noted != nil && noted == given
    }

    /// What has become of the network's configuration since, if it is not the same: a sentence.
    public func change(in directory: String) -> String? {
        guard let now = try? ConfigurationList.find(owner.network, in: directory) else {
            return "the network is not configured in \(directory) any more"
        }
        guard let then = try? list(), then.plugins != now.plugins else { return nil }
        return "made by another configuration than is in \(now.file) now"
    }
}

/// The results that libcni keeps for DEL and CHECK: a file for each attachment.
public struct ResultCache: Sendable {
    /// Where libcni keeps its state unless said otherwise.
    public static let standardDirectory = "/var/lib/cni"

    /// The directory of the files.
    public let directory: String

    /// The cache below libcni's state directory.
    public init(_ stateDirectory: String = standardDirectory) {
        directory = stateDirectory + "/results"
    }

    /// The entry of an attachment, or nil if there is none or it cannot be read.
    ///
    /// A damaged entry must not keep a container from being removed.
    public func entry(of owner: Owner) -> CachedAttachment? { try? read(path(of: owner)) }

    /// Every entry, and the files that are none.
    public func entries() -> (entries: [CachedAttachment], damaged: [String]) {
        var entries: [CachedAttachment] = []
        var damaged: [String] = []
        for name in Files.names(in: directory) where !name.hasSuffix(".new") {
            let path = "\(directory)/\(name)"
            if let entry = try? read(path) { entries.append(entry) } else { damaged.append(path) }
        }
        return (entries, damaged)
    }

    /// Notes an attachment.
    public func store(_ entry: CachedAttachment) throws(CNIError) {
        try Files.makeDirectory(directory, mode: 0o700)
        var json: JSON = [
            "kind": .string(Self.kind), "containerId": .string(entry.owner.containerID),
            "config": .string(Data(entry.configuration).base64EncodedString()),
            "ifName": .string(entry.owner.interface), "networkName": .string(entry.owner.network),
            "netns": .string(entry.netns),
        ]
        if !entry.arguments.isEmpty {
            let pairs = entry.arguments.map { JSON.array([.string($0.key), .string($0.value)]) }
            json = json.setting("cniArgs", to: .array(pairs))
        }
        if entry.capabilities.members?.isEmpty == false {
            json = json.setting("capabilityArgs", to: entry.capabilities)
        }
        json = json.setting("result", to: entry.result)
        try Files.write(
            Array(json.text(indented: false).utf8), to: path(of: entry.owner), mode: 0o600)
    }

    /// Forgets an attachment.
    public func remove(_ owner: Owner) { unsafe _ = unlink(path(of: owner)) }

    private static let kind = "cniCacheV1"

    func path(of owner: Owner) -> String {
        "\(directory)/\(owner.network)-\(owner.containerID)-\(owner.interface)"
    }

    private func read(_ path: String) throws(CNIError) -> CachedAttachment {
        let json = try JSON(parsing: Files.read(path))
        guard json["kind"]?.text == Self.kind, let network = json["networkName"]?.text,
            let containerID = json["containerId"]?.text, let interface = json["ifName"]?.text,
            let configuration = json["config"]?.text.flatMap({ Data(base64Encoded: $0) })
        else { throw CNIError(.decode, "\(path): no entry of libcni's cache") }
        let arguments = (json["cniArgs"]?.elements ?? []).compactMap { pair in
            pair.elements.flatMap { words -> (key: String, value: String)? in
                guard words.count == 2, let key = words[0].text, let value = words[1].text else {
                    return nil
                }
                return (key, value)
            }
        }
        return CachedAttachment(
            owner: Owner(network: network, containerID: containerID, interface: interface),
            netns: json["netns"]?.text ?? "", configuration: Array(configuration),
            arguments: arguments, capabilities: json["capabilityArgs"] ?? [:],
            result: json["result"] ?? .null, date: Files.modified(path))
    }
}
