import ArgumentParser
import CNI
import Glibc
import Operator
import PluginRuntime

/// Where networks, plugins and state are.
struct Places: ParsableArguments {
    @Option(help: "The directory with the networks' configurations.", completion: .directory)
    var confDir = environment("NETCONFPATH") ?? ConfigurationList.standardDirectory

    @Option(help: "A directory with plugins; may be given several times.", completion: .directory)
    var binDir: [String] =
        environment("CNI_PATH")?.split(separator: ":").map(String.init)
        ?? Runtime.standardDirectories

    @Option(
        help: "The directory in which the runtime's library keeps results.",
        completion: .directory)
    var cacheDir = environment("CNICTL_CACHE_DIR") ?? ResultCache.standardDirectory

    @Option(
        help: """
            A directory of host-local's reservations; may be given several times. Without it, the \
            usual one and those that the networks name.
            """, completion: .directory)
    var dataDir: [String] = []

    /// The runtime that these places make.
    var runtime: Runtime {
        Runtime(pluginDirectories: binDir, cache: ResultCache(cacheDir))
    }

    /// Where a look at the host goes besides the kernel.
    var sources: Inventory.Sources {
        let directories = dataDir.isEmpty ? Reservations.directories(of: confDir) : dataDir
        return Inventory.Sources(dataDirectories: directories, cache: ResultCache(cacheDir))
    }

    /// The network of a name, or that of a file if the name has a slash.
    func network(_ name: String) throws(CNIError) -> ConfigurationList {
        guard name.contains("/") else { return try ConfigurationList.find(name, in: confDir) }
        guard unsafe access(name, F_OK) == 0 || errno != ENOENT else {
            throw CNIError(.unknownContainer, "\(name): no such file or directory")
        }
        return try ConfigurationList(file: name)
    }

    /// The name of a network, of which a file may be given.
    func name(of network: String) throws(CNIError) -> String {
        network.contains("/") ? try self.network(network).name : network
    }

    /// The attachment that a target means, if it is there: that of its ID, or of the only one that begins so
    /// where it has so many characters.
    func attachment(
        _ target: Runtime.Target, on network: String, startingWith least: Int
    ) throws -> AttachmentState? {
        let all = try Inventory(sources).attachments.filter {
            $0.owner.network == network && $0.owner.interface == target.interface
        }
        let id = target.containerID
        let found = all.filter {
            $0.owner.containerID == id || id.utf8.count >= least && $0.isOf(container: id, in: all)
        }
        guard found.count < 2 else {
            let names = found.map(\.owner.containerID).joined(separator: ", ")
            throw CNIError(.environment, "\(id) may be several: \(names)")
        }
        return found.first
    }

    /// Makes sure that nothing is attached as this yet: ADD would be refused, and the DEL that follows
    /// would take away what is there.
    func requireNew(_ target: Runtime.Target, on network: ConfigurationList) throws {
        let owner = Owner(
            network: network.name, containerID: target.containerID, interface: target.interface)
        let there = try Inventory(sources).attachments.first { $0.owner == owner }
        guard let there, !there.isOrphan else { return }
        throw CNIError(
            .environment,
            "\(owner.tag) is attached already (\(there.stateCell.text)): del detaches it"
        )
    }

    /// Makes sure that an ID that was made from the namespace's name means the container there: another
    /// path may end in the same name.
    func requireSame(_ target: Runtime.Target, on network: ConfigurationList) throws(CNIError) {
        let owner = Owner(
            network: network.name, containerID: target.containerID, interface: target.interface)
        guard let cached = runtime.cache.entry(of: owner), !cached.netns.isEmpty,
            !cached.isNoted(at: target.netns)
        else { return }
        throw CNIError(
            .environment,
            "\(owner.tag) is the container of \(cached.netns): --container-id says which is meant")
    }

    /// The network of a name as an attachment was made by it, where that is kept, and else as it is
    /// configured now; of a file as it is there.
    func network(_ name: String, of target: Runtime.Target) throws(CNIError) -> ConfigurationList {
        let owner = Owner(
            network: name, containerID: target.containerID, interface: target.interface)
        if let list = try? runtime.cache.entry(of: owner)?.list() { return list }
        return try network(name)
    }
}

/// How a command prints.
struct OutputOptions: ParsableArguments {
    /// A form of output.
    enum Form: String, ExpressibleByArgument, CaseIterable {
        /// For people.
        case text
        /// For programs.
        case json
    }

    @Option(name: .shortAndLong, help: "The form of the output: text or json.")
    var output = Form.text

    /// Prints a value as JSON if that is asked for, else runs `text`.
    func print(_ json: @autoclosure () -> JSON, text: () -> Void) {
        switch output {
        case .json: Swift.print(json().text(indented: true))
        case .text: text()
        }
    }
}

/// Refuses empty words, as a shell makes them of a variable that nobody has set: an empty one is the start
/// of every ID.
func requireWords(_ words: [String]) throws {
    guard !words.contains("") else {
        throw ValidationError("an empty word means nobody: is a variable not set?")
    }
}

/// Refuses a namespace without a name.
func requireNamespace(_ name: String) throws {
    guard !name.isEmpty else {
        throw ValidationError("the namespace is empty: is a variable not set?")
    }
}

/// Refuses seconds between two looks that are none, or more than a day.
func requirePause(_ seconds: Double, atLeast least: Double) throws {
    guard (least...86_400).contains(seconds) else {
        throw ValidationError("--interval must be from \(least) to 86400 seconds")
    }
}

/// Waits for seconds.
func pause(_ seconds: Double) {
    let whole = seconds.rounded(.down)
    var (wanted, left) = (timespec(tv_sec: Int(whole), tv_nsec: 0), timespec())
    wanted.tv_nsec = Int((seconds - whole) * 1e9)
    while unsafe nanosleep(&wanted, &left) != 0, errno == EINTR { wanted = left }
}

/// Refuses a number of lines below nothing.
func requireLines(_ lines: Int?) throws {
    guard lines ?? 0 >= 0 else { throw ValidationError("--lines must not be negative") }
}

/// A variable of the environment, nil if it is absent or empty.
func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe String(cString: value)
    return text.isEmpty ? nil : text
}

/// Makes sure that the command may look into namespaces and change them.
func requireRoot() throws(CNIError) {
    guard geteuid() == 0 else {
        throw CNIError(.environment, "this needs root: namespaces and rules are the kernel's")
    }
}
