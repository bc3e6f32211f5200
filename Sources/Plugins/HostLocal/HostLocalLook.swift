internal import Addressing
package import CNI
internal import IPAM
package import PluginRuntime

extension HostLocal {
    /// What `check` checks, by reading alone: no lock is taken, and no index is made or written.
    package static func look(_ call: Call) throws(CNIError) {
        let options = try Options(call)
        let network = call.configuration.name
        // Old entries do not name the interface.
        let isHeld = { (holder: Holder) in
            holder.containerID == call.invocation.containerID
                && ["", call.invocation.interface].contains(holder.interface)
        }
        let expected = expected(call, options)
        for address in expected {
            let holder = try ReservationStore.holder(
                of: address, options.dataDirectory, network: network)
            guard let holder, isHeld(holder) else { throw notFound(call) }
        }
        guard expected.isEmpty else { return }
        let held = try ReservationStore.reservations(options.dataDirectory, network: network)
        guard held.contains(where: { isHeld($0.holder) }) else { throw notFound(call) }
    }
}
