public import CNI
import Netlink
import PluginRuntime
public import Rtnetlink
import TrafficControl

extension Bandwidth {
    /// Tries everything in a namespace of its own; code 50 names what the kernel lacks of what the
    /// configuration needs.
    public static func requireKernel(_ options: Options, _ kernel: Kernel) throws(CNIError) {
        var options = options
        options.known = try wrapping { () throws(KernelError) in try kernel.lackingMeans() }
        _ = try Ways(options, hasHostEnd: true)
    }
}
