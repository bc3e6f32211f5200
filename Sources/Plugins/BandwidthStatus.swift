public import CNI
import Netlink
public import Rtnetlink
import TrafficControl

extension Bandwidth {
    /// Tries everything in a namespace of its own; code 50 names what the kernel lacks.
    public static func requireKernel(_ options: Options, _ kernel: Kernel) throws(CNIError) {
        do throws(KernelError) {
            try kernel.returnHome()
            try NetworkNamespace.enterNew()
            try Kernel(container: nil).probeShaping()
        } catch {
            throw CNIError(.notAvailable, "this kernel cannot shape: \(error)")
        }
    }
}
