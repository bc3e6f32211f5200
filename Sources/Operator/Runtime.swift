public import CNI
internal import FoundationEssentials
internal import Glibc
internal import Netlink
public import PluginRuntime
internal import SystemPackage

/// Runs chains of plugins as a container runtime's library does, and keeps what they answer.
public struct Runtime: Sendable {
    /// The directories with plugins: CNI_PATH.
    public var pluginDirectories: [String]
    /// Where results are kept.
    public var cache: ResultCache

    /// Where plugins are unless said otherwise.
    public static let standardDirectories = ["/opt/cni/bin"]

    /// A runtime that takes plugins from some directories.
    public init(pluginDirectories: [String], cache: ResultCache) {
        self.pluginDirectories = pluginDirectories
        self.cache = cache
    }

    /// What is attached, and what the runtime says of it.
    public struct Target: Sendable {
        /// The container's ID.
        public var containerID: String
        /// The path of its namespace; empty if it has gone.
        public var netns: String
        /// The interface in it.
        public var interface: String
        /// The pairs of CNI_ARGS.
        public var arguments: [(key: String, value: String)]
        /// An object with a member for each capability.
        public var capabilities: JSON

        /// A container's interface.
        public init(
            containerID: String, netns: String, interface: String,
            arguments: [(key: String, value: String)] = [], capabilities: JSON = [:]
        ) {
            self.containerID = containerID
            self.netns = netns
            self.interface = interface
            self.arguments = arguments
            self.capabilities = capabilities
        }

        /// The target of an attachment that was made before.
        public init(_ cached: CachedAttachment) {
            self.init(
                containerID: cached.owner.containerID, netns: cached.netns,
                interface: cached.owner.interface, arguments: cached.arguments,
                capabilities: cached.capabilities)
        }

        /// Refuses an ID, or a name of an interface, that every plugin refuses.
        public func validate() throws(CNIError) {
            let variables = [
                "CNI_COMMAND": Verb.del.rawValue, "CNI_CONTAINERID": containerID,
                "CNI_IFNAME": interface, "CNI_PATH": "/",
            ]
            _ = try Invocation(
                environment: { variables[$0] }, input: { () throws(CNIError) in [] })
        }

        /// This target, with what ADD was told where nothing else is said now.
        func completed(by cached: CachedAttachment) -> Target {
            var target = self
            if arguments.isEmpty { target.arguments = cached.arguments }
            if capabilities.members?.isEmpty ?? true { target.capabilities = cached.capabilities }
            return target
        }

        func owner(on network: ConfigurationList) -> Owner {
            Owner(network: network.name, containerID: containerID, interface: interface)
        }
    }

    /// ADD of the chain: each plugin gets the result of the one before.
    ///
    /// When a plugin refuses, DEL takes back what those before it have made.
    public func add(
        _ network: ConfigurationList, _ target: Target
    ) throws(CNIError) -> JSON {
        var previous: JSON?
        do throws(CNIError) {
            for plugin in network.plugins {
                let configuration = network.configuration(
                    of: plugin, previous: previous, capabilities: target.capabilities)
                let output = try run(plugin, .add, configuration, target)
                previous = try JSON(parsing: output)
            }
            let result = previous ?? .null
            try cache.store(
                CachedAttachment(
                    owner: target.owner(on: network), netns: target.netns,
                    configuration: network.bytes, arguments: target.arguments,
                    capabilities: target.capabilities, result: result))
            return result
        } catch {
            // The first plugin's refusal comes before it has made anything, or after it has taken it back.
            let isRefusal = previous == nil && error.code != CNIError.Code.internalError.rawValue
            do throws(CNIError) {
                try del(network, target)
            } catch let further {
                guard !isRefusal else { throw error }
                throw error.leaving(["\(further)"])
            }
            throw error
        }
    }

    /// CHECK of the chain against the result that was kept: of every plugin, where a runtime's library
    /// stops at the first that finds something.
    public func check(_ network: ConfigurationList, _ target: Target) throws(CNIError) {
        guard network.version >= .v0_4_0 else {
            throw CNIError(
                .incompatibleVersion,
                "configuration version \(network.version) does not support CHECK command")
        }
        guard !network.disablesCheck else { return }
        guard let cached = cache.entry(of: target.owner(on: network)) else {
            let owner = target.owner(on: network)
            let path = cache.path(of: owner)
            throw CNIError(
                .unknownContainer,
                try Files.exists(path)
                    ? "the result that is kept in \(path) is damaged"
                    : "no result of \(owner.tag) is kept in \(cache.directory)")
        }
        let target = target.completed(by: cached)
        var failures: [CNIError] = []
        for plugin in network.plugins {
            let configuration = network.configuration(
                of: plugin, previous: cached.result, capabilities: target.capabilities)
            do throws(CNIError) {
                _ = try run(plugin, .check, configuration, target)
            } catch {
                failures.append(error)
            }
        }
        try throwTogether(failures)
    }

    /// DEL of the chain, the last plugin first, and of what was kept.
    ///
    /// All plugins are called, also when one of them fails; then the first failure is thrown, and
    /// what was kept stays for the next try.
    public func del(_ network: ConfigurationList, _ target: Target) throws(CNIError) {
        let owner = target.owner(on: network)
        let cached = network.version >= .v0_4_0 ? cache.entry(of: owner) : nil
        let target = cached.map { target.completed(by: $0) } ?? target
        var failure: CNIError?
        for plugin in network.plugins.reversed() {
            let configuration = network.configuration(
                of: plugin, previous: cached?.result, capabilities: target.capabilities)
            do throws(CNIError) {
                _ = try run(plugin, .del, configuration, target)
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        cache.remove(owner)
    }

    /// GC: DEL of what was kept and is not valid, then GC of each plugin.
    ///
    /// All is done that can be; then the failures are thrown as one. `netns` says where a container is now,
    /// if that is known: the path that was noted at ADD may be another's, from whom some plugins' DEL
    /// would take the interface.
    public func gc(
        _ network: ConfigurationList, valid: Set<NetworkConfiguration.ValidAttachment>,
        netns: [Owner: String] = [:]
    ) throws(CNIError) {
        guard !network.disablesGC else { return }
        var failures: [CNIError] = []
        for cached in cache.entries().entries
        where cached.owner.network == network.name && !valid.contains(cached.owner.attachment) {
            var target = Target(cached)
            target.netns = netns[cached.owner] ?? cached.netns
            do throws(CNIError) {
                try del(network, target)
            } catch {
                failures.append(error)
            }
        }
        if network.version >= .v1_1_0 {
            let list = JSON.array(
                valid.sorted { ($0.containerID, $0.interface) < ($1.containerID, $1.interface) }
                    .map {
                        [
                            "containerID": .string($0.containerID),
                            "ifname": .string($0.interface),
                        ]
                    })
            for plugin in network.plugins {
                // The specification's text and its table spell the key differently.
                let configuration = network.configuration(
                    of: plugin,
                    adding: ["cni.dev/valid-attachments": list, "cni.dev/attachments": list])
                do throws(CNIError) {
                    _ = try run(plugin, .gc, configuration, nil)
                } catch {
                    failures.append(error)
                }
            }
        }
        try throwTogether(failures)
    }

    /// STATUS of each plugin; nothing for versions that have none.
    public func status(_ network: ConfigurationList) throws(CNIError) {
        guard network.version >= .v1_1_0 else { return }
        for plugin in network.plugins {
            _ = try run(plugin, .status, network.configuration(of: plugin), nil)
        }
    }

    /// The path of a plugin in the first of the directories that has it.
    func path(of type: String) -> String? { program(type)?.string }

    private func program(_ type: String) -> FilePath? {
        type.contains("/") ? nil : Delegate.find(type, in: pluginDirectories)
    }

    private func run(
        _ plugin: JSON, _ verb: Verb, _ configuration: JSON, _ target: Target?
    ) throws(CNIError) -> [UInt8] {
        let type = plugin["type"]?.text ?? ""
        guard let path = program(type) else {
            for directory in pluginDirectories where !type.contains("/") {
                _ = try Files.exists("\(directory)/\(type)")
            }
            throw CNIError(
                .invalidConfiguration,
                "failed to find plugin \"\(type)\" in path [\(pluginDirectories.joined(separator: " "))]"
            )
        }
        var variables = [
            "CNI_COMMAND=\(verb.rawValue)", "CNI_PATH=\(pluginDirectories.joined(separator: ":"))",
        ]
        if let target {
            let arguments = target.arguments.map { "\($0.key)=\($0.value)" }
            variables += [
                "CNI_CONTAINERID=\(target.containerID)", "CNI_NETNS=\(target.netns)",
                "CNI_IFNAME=\(target.interface)", "CNI_ARGS=\(arguments.joined(separator: ";"))",
            ]
        }
        for (name, value) in ProcessInfo.processInfo.environment where !name.hasPrefix("CNI_") {
            variables.append("\(name)=\(value)")
        }
        do throws(CNIError) {
            return try Subprocess.run(
                path, environment: variables,
                input: Array(configuration.text(indented: false).utf8))
        } catch {
            throw error.prefixed("plugin \(type): \(verb.rawValue)")
        }
    }
}

extension CNIError {
    /// What an error of the kernel's is to a runtime; nil for another kind of error.
    public init?(ofKernel error: any Error) {
        guard let error = error as? KernelError else { return nil }
        self.init(error)
    }
}
