public import CNI
import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Puts the container's interface into a VRF, which gives it a routing table of its own.
public enum VRFPlugin: PlannedPlugin {
    /// The plugin's name.
    public static let name = "vrf"

    /// The versions since chains have been as they are.
    public static var versions: [SpecVersion] { SpecVersion.all.filter { $0 >= .v0_3_1 } }

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// Makes the VRF where it is missing and the interface a member of it.
    public static func add(_ call: Call) throws(CNIError) -> AddResult {
        let options = try Options(call)
        guard let previous = call.configuration.previous else {
            throw CNIError(.invalidConfiguration, "missing prevResult from earlier plugin")
        }
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        // A VRF that is found must be there until the interface is a member.
        try wrapping { () throws(KernelError) in try kernel.lockContainer() }
        try options.plan(for: call).add(to: kernel)
        return previous
    }

    /// The VRF, and the interface as a member of it.
    public static func plan(_ call: Call, _ kernel: Kernel) throws(CNIError) -> Plan<Kernel> {
        try Options(call).plan(for: call)
    }

    /// Checks that the interface is a member of the VRF.
    public static func check(_ call: Call) throws(CNIError) {
        let options = try Options(call)
        _ = try call.previousResult()
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        try options.plan(for: call).check(
            kernel,
            prefix: "Failed to find \(call.invocation.interface) associated to vrf "
                + options.vrf + ": ")
    }

    /// Takes the interface out of the VRF, and the VRF away with its last member.
    public static func del(_ call: Call) throws(CNIError) {
        let options = try call.leniently(Options.init)
        guard !options.vrf.isEmpty else { return }
        let kernel = try call.kernelForUntaggedRemoval()
        defer { try? kernel.returnHome() }
        guard kernel.hasContainer else { return }
        try wrapping { () throws(KernelError) in try kernel.lockContainer() }
        let failures = options.plan(for: call).remove(from: kernel)
        let vrf = VRF(options.vrf, table: nil)
        try wrapping { () throws(KernelError) in
            if try vrf.isUnused(kernel) { try vrf.erase(kernel) }
        }
        try throwTogether(failures.map { CNIError($0.cause) })
    }

    /// Makes nothing on the host, so nothing can be left over.
    public static func gc(_ call: Call) {}

    /// Checks the configuration.
    public static func status(_ call: Call) throws(CNIError) { _ = try Options(call) }

    /// The keys of the vrf plugin.
    struct Options: Sendable {
        let vrf: String
        let table: UInt32?

        init(_ keys: inout Keys) throws(CNIError) {
            vrf = try keys(
                "vrfname", default: "", "The VRF's name; it is made when missing. Required.")
            try keys.requireLinkName(vrf, "vrfname")
            let table = try keys(
                "table", default: 0, "The number of its routing table; 0 for the lowest free one.")
            guard let number = UInt32(exactly: table) else {
                throw keys.invalid("table", "not a routing table: \(table)")
            }
            self.table = number == 0 ? nil : number
        }

        init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys)
            if vrf.isEmpty, call.invocation.verb != .del {
                throw keys.invalid(
                    "vrfname", "configuration is expected to have a valid vrf name")
            }
        }

        func plan(for call: Call) -> Plan<Kernel> {
            Plan {
                VRF(vrf, table: table)
                VRFMember(call.invocation.interface, of: vrf)
            }
        }
    }
}
