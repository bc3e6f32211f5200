/// The operations of the specification.
public enum Verb: String, Sendable {
    /// Attach a container.
    case add = "ADD"
    /// Detach a container.
    case del = "DEL"
    /// Compare an attachment with what it should be.
    case check = "CHECK"
    /// Remove what belongs to no valid attachment.
    case gc = "GC"
    /// Tell whether ADD can be served.
    case status = "STATUS"
    /// List the supported versions.
    case version = "VERSION"
}

/// One call by a runtime: the environment and the bytes of standard input.
public struct Invocation: Sendable {
    /// What to do: CNI_COMMAND.
    public var verb: Verb
    /// The container: CNI_CONTAINERID.
    public var containerID: String
    /// The path of the container's network namespace: CNI_NETNS; empty if there is none.
    public var netns: String
    /// The interface in the container: CNI_IFNAME.
    public var interface: String
    /// Extra arguments, still as text: CNI_ARGS.
    public var arguments: String
    /// The directories with plugins: CNI_PATH.
    public var path: [String]
    /// Whether the namespace may be the host's own: CNI_NETNS_OVERRIDE.
    public var allowsHostNamespace: Bool
    /// The configuration as it came on standard input.
    public var input: [UInt8]

    /// A call with its parameters given one by one.
    public init(
        verb: Verb, containerID: String = "", netns: String = "", interface: String = "",
        arguments: String = "", path: [String] = [], input: [UInt8] = []
    ) {
        self.verb = verb
        self.containerID = containerID
        self.netns = netns
        self.interface = interface
        self.arguments = arguments
        self.path = path
        self.allowsHostNamespace = false
        self.input = input
    }

    /// Reads a call from the environment, in the reference's order and with its messages.
    ///
    /// - Parameters:
    ///   - environment: Looks a variable up; nil or empty counts as missing.
    ///   - input: Reads standard input; not called for VERSION.
    /// - Throws: Code 4 for missing or invalid variables, and what `input` throws.
    public init(
        environment: (String) -> String?, input: () throws(CNIError) -> [UInt8]
    ) throws(CNIError) {
        let command = environment("CNI_COMMAND") ?? ""
        let required: [String] =
            switch Verb(rawValue: command) {
            case .add, .check: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]
            case .del: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]
            case .gc, .status: ["CNI_PATH"]
            case .version: []
            case nil: command.isEmpty ? ["CNI_COMMAND"] : []
            }
        var missing: [String] = []
        for name in required {
            let value = environment(name) ?? ""
            switch name {
            case _ where value.isEmpty: missing.append(name)
            case "CNI_CONTAINERID": try validateContainerID(value)
            case "CNI_IFNAME":
                try validateInterfaceName(value)
                // There may be something to remove from a time when such a name was taken.
                if command == Verb.add.rawValue { try validateNewName(value) }
            default: break
            }
        }
        guard missing.isEmpty else {
            let names = missing.joined(separator: ",")
            throw CNIError(.environment, "required env variables [\(names)] missing")
        }
        containerID = environment("CNI_CONTAINERID") ?? ""
        netns = environment("CNI_NETNS") ?? ""
        interface = environment("CNI_IFNAME") ?? ""
        arguments = environment("CNI_ARGS") ?? ""
        path = (environment("CNI_PATH") ?? "").split(separator: ":").map { String($0) }
        let override = environment("CNI_NETNS_OVERRIDE") ?? ""
        allowsHostNamespace = override == "1" || sameIgnoringCase(override, "true")
        guard let verb = Verb(rawValue: command) else {
            throw CNIError(.environment, "unknown CNI_COMMAND: \(command)")
        }
        self.verb = verb
        self.input = []
        guard verb != .version else { return }
        self.input = try input()
    }
}

/// Whether a text is what the specification calls a valid name: a letter or digit, then letters,
/// digits, underscores, dots and hyphens.
func isValidIdentifier(_ text: String) -> Bool {
    func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
    guard let first = text.utf8.first, isAlphanumeric(first) else { return false }
    return text.utf8.allSatisfy { isAlphanumeric($0) || "_.-".utf8.contains($0) }
}

/// Refuses container IDs that the specification does not allow.
func validateContainerID(_ id: String) throws(CNIError) {
    guard isValidIdentifier(id) else {
        throw CNIError(.environment, "invalid characters in containerID", details: id)
    }
}

/// Refuses interface names that the kernel does not take.
func validateInterfaceName(_ name: String) throws(CNIError) {
    guard name.utf8.count <= 15 else {
        throw CNIError(
            .environment, "interface name is too long",
            details: "interface name should be less than 16 characters")
    }
    guard name != ".", name != ".." else {
        throw CNIError(.environment, "interface name is . or ..")
    }
    let isForbidden = { (byte: UInt8) in
        byte == UInt8(ascii: "/") || byte == UInt8(ascii: ":") || byte == 0x20
            || (0x09...0x0d).contains(byte)
    }
    guard !name.utf8.contains(where: isForbidden) else {
        throw CNIError(
            .environment, "interface name contains / or : or whitespace characters")
    }
}

/// Whether the kernel takes the name of a new link for a pattern, and names it otherwise: `eth%d`.
public func isLinkPattern(_ name: String) -> Bool { name.utf8.contains(UInt8(ascii: "%")) }

/// Refuses names under which a new link would not be found.
func validateNewName(_ name: String) throws(CNIError) {
    guard !isLinkPattern(name) else {
        throw CNIError(.environment, "interface name contains %", details: name)
    }
}
