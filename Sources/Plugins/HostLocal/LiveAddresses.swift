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

    /// The addresses of the containers of a call's network; nil where looking takes rights that we have not.
    static func of(_ call: Call) throws(CNIError) -> [(address: IPAddress, holder: Holder)]? {
        var addresses = LiveAddresses(network: call.configuration.name)
        let kernel = try call.hostKernel()
        let plugin = call.siblings(call.configuration.type) as? any InterfacePlugin.Type
        var paths: [String] = []
        if let plugin, !plugin.hasHostEnd { paths = try neighbours(of: call.invocation.netns) }
        do throws(KernelError) {
            try addresses.look(fromHost: kernel)
            for path in paths { try addresses.look(at: path) }
        } catch {
            guard [.permissionDenied, .notPermitted].contains(error.errno) else {
                throw CNIError(error)
            }
            return nil
        }
        return addresses.found
    }

    /// What is in one directory with a container's namespace, as runtimes keep theirs.
    private static func neighbours(of namespace: String) throws(CNIError) -> [String] {
        let folder = FilePath(namespace).removingLastComponent()
        guard let directory = try Directory.open(folder.string, creating: false) else { return [] }
        return try directory.names().map { folder.appending($0).string }
    }

    private init(network: String) { self.network = network }

    /// By the pairs whose other ends are on the host.
    private mutating func look(fromHost kernel: Kernel) throws(KernelError) {
        for link in try kernel.links(kind: "veth", in: .host) {
            guard let holder = holder(of: link) else { continue }
            found += try kernel.addressesAcross(link).map { ($0, holder) }
        }
    }

    /// By links in a container that lead to a link of this host, which knows nothing of them.
    private mutating func look(at path: String) throws(KernelError) {
        let namespace: NetworkNamespace
        do throws(KernelError) {
            namespace = try NetworkNamespace(path: path)
        } catch {
            // It has ended meanwhile, or is something else, unless it is we who lack something.
            let wants: [Errno] = [.tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory]
            guard !wants.contains(error.errno) else { throw error }
            return
        }
        try look(into: namespace)
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
