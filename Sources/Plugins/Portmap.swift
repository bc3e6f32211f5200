import Addressing
public import CNI
import Netlink
import Nftables
package import Plan
public import PluginRuntime
package import Rtnetlink

/// Leads ports of the host to the container.
public enum Portmap: Plugin {
    /// The plugin's name.
    public static let name = "portmap"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// Maps the ports and answers with what the plugins before answered.
    public static func add(_ call: Call) throws(CNIError) -> AddResult {
        let options = try Options(call)
        let previous = try call.previousResult()
        guard !options.mappings.isEmpty else { return previous }
        try call.owner.checkTag()
        let kernel = try call.hostKernel()
        var journal = Journal(kernel)
        do throws(StepError<KernelError>) {
            try journal.apply(try plan(call, options, previous, kernel))
            try forget(options.mappings, kernel)
            return previous
        } catch {
            throw CNIError(error.cause).leaving(journal.rollBack().map { "\($0)" })
        }
    }

    /// Compares the mappings with what they should be.
    public static func check(_ call: Call) throws(CNIError) {
        let kernel = try call.hostKernel()
        try wanted(call, kernel).check(kernel)
    }

    /// What there should be of an attachment; nothing where no port is mapped.
    package static func wanted(_ call: Call, _ kernel: Kernel) throws(CNIError) -> Plan<Kernel> {
        let options = try Options(call)
        let previous = try call.previousResult()
        guard !options.mappings.isEmpty else { return Plan([]) }
        do throws(StepError<KernelError>) {
            return try plan(call, options, previous, kernel)
        } catch {
            throw CNIError(error.cause)
        }
    }

    /// Removes the mappings of the owner, whatever the configuration says of them now.
    public static func del(_ call: Call) throws(CNIError) {
        let options = try Options(call)
        let kernel = try call.hostKernel()
        let tag = call.owner.tag
        do throws(StepError<KernelError>) {
            try wrapped { () throws(KernelError) in
                if try !PortMappings.remove(from: kernel, { $0 == tag }) {
                    try ReferenceRules.portMappings.remove(of: call.owner, from: kernel)
                }
            }
            try forget(options.mappings, kernel)
        } catch {
            throw CNIError(error.cause)
        }
    }

    /// Removes the mappings of what belongs to no valid attachment of the network.
    public static func gc(_ call: Call) throws(CNIError) {
        guard let valid = call.configuration.validAttachments.map({ Set($0) }) else {
            throw CNIError(.invalidConfiguration, "cni.dev/valid-attachments: missing")
        }
        let kernel = try call.hostKernel()
        try wrapping { () throws(KernelError) in
            _ = try PortMappings.remove(from: kernel) { tag in
                guard let owner = Owner(tag: tag) else { return false }
                return owner.network == call.configuration.name
                    && !valid.contains(owner.attachment)
            }
        }
    }

    /// Can always serve what the configuration asks for.
    public static func status(_ call: Call) throws(CNIError) { _ = try Options(call) }

    /// The mappings, and for the host's own connections to 127.0.0.1 the way to the container.
    private static func plan(
        _ call: Call, _ options: Options, _ previous: AddResult, _ kernel: Kernel
    ) throws(StepError<KernelError>) -> Plan<Kernel> {
        var attachment = Attachment(call)
        attachment.result = previous
        var addresses: [IPPrefix] = []
        for family in Family.allCases {
            let first = attachment.addresses.first { $0.address.family == family }
            if let first { addresses.append(first.address) }
        }
        var link: String?
        if options.masquerades, let address = addresses.first(where: { $0.family == .v4 }) {
            link = try wrapped { () throws(KernelError) in
                try kernel.outputLink(to: address.address, in: .host)
            }
        }
        let mappings = PortMappings(
            owner: call.owner, mappings: options.mappings, addresses: addresses,
            masquerades: options.masquerades, masqueradesAll: options.masqueradesAll)
        return Plan {
            if let link {
                Sysctl("net/ipv4/conf/\(link)/route_localnet", "1", in: .host, .shared)
            }
            mappings
        }
    }

    private static func wrapped<Result>(
        _ body: () throws(KernelError) -> Result
    ) throws(StepError<KernelError>) -> Result {
        do throws(KernelError) {
            return try body()
        } catch {
            throw StepError(step: name, cause: error)
        }
    }

    /// Makes connections without an end of their own, those of UDP, look for their way anew.
    private static func forget(
        _ mappings: [Mapping], _ kernel: Kernel
    ) throws(StepError<KernelError>) {
        let ports = mappings.filter { $0.name == "udp" }.map(\.hostPort)
        guard !ports.isEmpty else { return }
        try wrapped { () throws(KernelError) in
            try kernel.returnHome()
            var connections = try Connections()
            try connections.forget(udpPorts: ports)
        }
    }
}
