internal import Addressing
internal import CNI
internal import Netlink
internal import Plan
internal import PluginRuntime
internal import Plugins
internal import Rtnetlink
internal import SystemPackage

/// Two new network namespaces in place of the host's and the container's.
///
/// In the host's place stand links of the names and addresses that a network's configuration speaks
/// of, and a default route like the host's.
struct Stage: ~Copyable {
    private let container: Sandbox
    private let home: NetworkNamespace
    private let links: [LinkState]
    private let uplink: String?
    private let network: ConfigurationList
    private let target: Runtime.Target
    private let plugins: [String]

    /// Looks at the host; nothing is made yet but the container's namespace.
    init(
        _ network: ConfigurationList, _ target: Runtime.Target, plugins: [String]
    ) throws(CNIError) {
        var found: (links: [LinkState], uplink: String?) = ([], nil)
        try wrapping { () throws(KernelError) in
            let kernel = try Kernel(container: nil)
            found.links = try kernel.allLinks(in: .host)
            let uplink = try kernel.defaultRouteLink(in: .host)
            found.uplink = found.links.first { $0.index == uplink }?.name
        }
        let home = try Self.current()
        container = try Sandbox.make()
        self.home = home
        (links, uplink) = found
        self.network = network
        self.target = target
        self.plugins = plugins
    }

    private static func current() throws(CNIError) -> NetworkNamespace {
        do throws(KernelError) {
            return try NetworkNamespace.current()
        } catch {
            throw CNIError(error)
        }
    }

    /// Runs `body` with a new namespace as the host's.
    func run(_ body: () throws(CNIError) -> Void) throws(CNIError) {
        try wrapping { () throws(KernelError) in try NetworkNamespace.enterNew() }
        var failure: CNIError?
        do throws(CNIError) {
            try wrapping { () throws(KernelError) in try furnish() }
            try body()
        } catch {
            failure = error
        }
        do throws(KernelError) {
            try home.enter()
        } catch {
            throw CNIError(error)
        }
        if let failure { throw failure }
    }

    /// ADD's call of a plugin.
    func call(_ configuration: JSON) throws(CNIError) -> Call {
        let invocation = Invocation(
            verb: .add, containerID: target.containerID, netns: container.path,
            interface: target.interface,
            arguments: target.arguments.map { "\($0.key)=\($0.value)" }.joined(separator: ";"),
            path: plugins, input: Array(configuration.text(indented: false).utf8))
        return Call(
            invocation, try NetworkConfiguration(json: configuration),
            siblings: { plugin(named: $0) })
    }

    private func furnish() throws(KernelError) {
        let kernel = try Kernel(container: nil)
        try LinkUp("lo", in: .host).write(kernel, over: nil)
        var words: Set<String> = []
        for plugin in network.plugins {
            // The bridge is the plugin's to make.
            let own = plugin["type"]?.text == Bridge.name ? plugin["bridge"]?.text : nil
            words.formUnion(plugin.texts.filter { $0 != own })
        }
        for (number, link) in links.enumerated()
        where words.contains(link.name.lowercased()) || words.contains(link.name)
            || link.name == uplink || link.mac.map({ words.contains("\($0)") }) ?? false
        {
            guard link.name != "lo" else { continue }
            var stand = Link(
                link.name, .veth(peer: Link.Peer("stand-in\(number)", in: .host)), in: .host,
                .owned)
            stand.mtu = link.mtu
            stand.mac = link.mac
            stand.isUp = true
            try stand.write(kernel, over: nil)
            try LinkUp("stand-in\(number)", in: .host).write(kernel, over: nil)
            guard link.name == uplink else { continue }
            try Route(to: IPPrefix(everythingIn: .v4), by: nil, on: link.name, in: .host)
                .write(kernel, over: nil)
        }
    }
}

extension JSON {
    /// Every text in it.
    fileprivate var texts: [String] {
        if let text { return [text] }
        return (elements ?? []).flatMap(\.texts) + (members ?? []).flatMap { $0.value.texts }
    }
}
