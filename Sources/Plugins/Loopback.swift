import Addressing
public import CNI
import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Brings the container's loopback interface up.
public enum Loopback: PlannedPlugin {
    /// The plugin's name.
    public static let name = "loopback"

    /// It takes no keys of its own.
    public static var keys: [KeyDescription] { [] }

    private static let link = "lo"

    private static let up = LinkUp(link, in: .container)

    /// Brings `lo` up and answers with it, or with what the plugins before answered.
    public static func add(_ call: Call) throws(CNIError) -> AddResult {
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        let wasUp = try wrapping { () throws(KernelError) in
            try kernel.link(link, in: .container)?.isUp ?? false
        }
        do throws(CNIError) {
            return try bringUp(kernel, call)
        } catch {
            var leftBehind: [String] = []
            do throws(KernelError) {
                if !wasUp { try up.reverse(kernel) }
            } catch {
                leftBehind.append("\(error)")
            }
            throw error.leaving(leftBehind)
        }
    }

    private static func bringUp(_ kernel: Kernel, _ call: Call) throws(CNIError) -> AddResult {
        let addresses = try wrapping { () throws(KernelError) in
            try up.write(kernel, over: nil)
            let index = try kernel.index(of: link, in: .container)
            return try kernel.addresses(of: index, link, in: .container).map(\.prefix)
        }
        if let foreign = addresses.first(where: { !$0.address.isLoopback }) {
            throw CNIError(
                .internalError,
                "loopback interface found with non-loopback address \"\(foreign.address)\"")
        }
        let result = call.configuration.previous ?? own(addresses, call)
        // A version that cannot express the result is found out while all can be undone.
        _ = try result.json(for: call.configuration.version)
        return result
    }

    /// The result of `lo` with the first of its addresses of each family.
    private static func own(_ addresses: [IPPrefix], _ call: Call) -> AddResult {
        var result = AddResult()
        result.interfaces = [
            .init(name: link, mac: "\(MACAddress.zero)", sandbox: call.invocation.netns)
        ]
        for family in Family.allCases {
            guard let prefix = addresses.first(where: { $0.family == family }) else {
                continue
            }
            result.addresses.append(.init(prefix, interface: 0))
        }
        return result
    }

    /// `lo`, up.
    public static func plan(_ call: Call, _ kernel: Kernel) -> Plan<Kernel> { Plan([up]) }

    /// Checks that `lo` is up.
    public static func check(_ call: Call) throws(CNIError) {
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        try plan(call, kernel).check(kernel)
    }

    /// Takes `lo` down, if the namespace is still there.
    public static func del(_ call: Call) throws(CNIError) {
        let kernel = try call.kernelForUntaggedRemoval()
        defer { try? kernel.returnHome() }
        guard kernel.hasContainer else { return }
        try wrapping { () throws(KernelError) in try up.reverse(kernel) }
    }

    /// Makes nothing on the host, so nothing can be left over.
    public static func gc(_ call: Call) {}

    /// Can always serve.
    public static func status(_ call: Call) {}
}
