import Addressing
import CNI
import IPAM
import Netlink
import PluginRuntime
import Rtnetlink
import SystemPackage

/// What a network's containers have by their links: should the reservations be lost, nobody else
/// gets those addresses.
struct LiveAddresses {
    private let network: String
    private var found: [(address: IPAddress, holder: Holder)] = []

    /// The addresses of the containers of a call's network.
    static func of(_ call: Call) throws(CNIError) -> [(address: IPAddress, holder: Holder)] {
        var addresses = LiveAddresses(network: call.configuration.name)
        let kernel = try call.hostKernel()
        try wrapping { () throws(KernelError) in try addresses.look(fromHost: kernel) }
        let plugin = call.siblings(call.configuration.type) as? any InterfacePlugin.Type
        if let plugin, !plugin.hasHostEnd {
            try addresses.look(beside: call.invocation.netns)
        }
        return addresses.found
    }

    private init(network: String) { self.network = network }

    /// By the pairs whose other ends are on the host.
    private mutating func look(fromHost kernel: Kernel) throws(KernelError) {
        for link in try kernel.links(kind: "veth", in: .host) {
            guard let holder = holder(of: link) else { continue }
            found += try kernel.addressesAcross(link).map { ($0, holder) }
        }
    }

    /// By links in the containers that lead to a link of this host, which knows nothing of them: runtimes keep
    /// their namespaces in one directory, where the one that an ADD is for is.
    private mutating func look(beside namespace: String) throws(CNIError) {
        let folder = FilePath(namespace).removingLastComponent()
        guard let directory = try Directory.open(folder.string, creating: false) else { return }
        for name in try directory.names() {
            let path = folder.appending(name).string
            try wrapping { () throws(KernelError) in
                let namespace: NetworkNamespace
                do throws(KernelError) {
                    namespace = try NetworkNamespace(path: path)
                } catch {
                    // It has ended meanwhile, or is something else.
                    guard NetworkNamespace.isGone(error) else { throw error }
                    return
                }
                try look(into: namespace)
            }
        }
    }

    private mutating func look(
        into namespace: consuming NetworkNamespace
    ) throws(KernelError) {
        let kernel = try Kernel(container: namespace)
        defer { try? kernel.returnHome() }
        guard let host = try kernel.namespaceNumber(of: .host, in: .container) else { return }
        for link in try kernel.allLinks(in: .container) where link.peerNamespace == host {
            guard let holder = holder(of: link) else { continue }
            found += try kernel.addresses(of: link.index, link.name, in: .container)
                .map { ($0.prefix.address, holder) }
        }
    }

    private func holder(of link: LinkState) -> Holder? {
        guard let owner = link.alias.flatMap({ Owner(tag: $0) }), owner.network == network else {
            return nil
        }
        return Holder(containerID: owner.containerID, interface: owner.interface)
    }
}
