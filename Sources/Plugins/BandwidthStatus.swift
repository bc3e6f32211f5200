public import CNI
import Netlink
public import Rtnetlink
import TrafficControl

extension Bandwidth {
    /// Throws code 50, naming what the kernel lacks.
    public static func requireKernel(_ options: Options, _ kernel: Kernel) throws(CNIError) {
        do throws(KernelError) {
            try kernel.probeShaping()
        } catch {
            throw CNIError(.notAvailable, "this kernel cannot shape: \(error)")
        }
    }
}
