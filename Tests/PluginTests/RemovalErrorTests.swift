import CNI
import Netlink
import Plan
import PluginRuntime
import Rtnetlink
import SystemPackage
import Testing

/// What a plugin of a chain answers where something does not go away.
@Suite struct RemovalErrorTests {
    @Test("DEL passes on that it may be tried again later")
    func passing() throws {
        let call = try call(#""staying": ["busy"]"#)
        let error = failure { try Stubborn.del(call) }
        #expect(error == CNIError(.tryAgainLater, "remove busy: \(Errno.resourceBusy) (16)"))
    }

    @Test("GC passes it on too, and names all that has not gone")
    func several() throws {
        let call = try call(#""staying": ["denied", "busy"], "cni.dev/valid-attachments": []"#)
        let error = failure { try Stubborn.gc(call) }
        #expect(error?.code == CNIError.Code.tryAgainLater.rawValue)
        #expect(
            error?.message == "remove busy: \(Errno.resourceBusy) (16); "
                + "remove denied: \(Errno.notPermitted) (1)")
    }
}

/// A plugin of a chain whose objects do not go away.
private enum Stubborn: ChainedPlugin {
    /// An object, and why it stays.
    struct Object: Resource {
        let name: String

        var sharing: Sharing { .owned }
        var description: String { name }

        func read(_ kernel: Kernel) throws(KernelError) -> Object? { self }
        func write(_ kernel: Kernel, over found: Object?) throws(KernelError) {}
        func erase(_ kernel: Kernel) throws(KernelError) {
            throw KernelError("remove \(name)", name == "busy" ? .resourceBusy : .notPermitted)
        }
        func differences(from found: Object) -> [Difference] { [] }
    }

    static let name = "stubborn"
    static var keys: [KeyDescription] { [] }

    static func options(_ call: Call) throws(CNIError) -> [Object] {
        (call.configuration.json["staying"]?.elements ?? []).compactMap(\.text)
            .map { Object(name: $0) }
    }
    static func isIdle(_ options: [Object]) -> Bool { options.isEmpty }
    static func plan(
        _ attachment: PluginRuntime.Attachment, _ options: [Object], _ kernel: Kernel, attempt: Int
    ) throws(CNIError) -> Plan<Kernel> { Plan(options) }
    static func remains(
        of owner: Owner, _ options: [Object], _ kernel: Kernel, isAdding: Bool
    ) throws(KernelError) -> Plan<Kernel> { Plan(options) }
    static func owners(_ options: [Object], _ kernel: Kernel) throws(KernelError) -> [Owner] {
        [Owner(network: "net", containerID: "c1", interface: "eth0")]
    }
    static func sweep(_ options: [Object], _ kernel: Kernel) throws(KernelError) {}
    static func requireKernel(_ options: [Object], _ kernel: Kernel) throws(CNIError) {}
}
