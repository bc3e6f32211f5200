internal import Addressing
import CNI
import Glibc
import Rtnetlink

/// How a configuration names a device of the host.
enum DeviceSelector: Sendable, Equatable {
    /// By something of the link itself.
    case link(MovedLink.Device)
    /// By a path below /sys/devices.
    case kernelPath(String)
    /// By its address on the PCI bus, or its name on the auxiliary bus.
    case bus(String)

    /// The device's links, as the kernel shows them in sysfs.
    func device() throws(CNIError) -> MovedLink.Device {
        switch self {
        case .link(let device): return device
        case .kernelPath(let path):
            let names = entries(of: path + "/net")
            guard !names.isEmpty else {
                throw CNIError(
                    .internalError, "failed to find network devices at \"\(path)/net\"")
            }
            return .oneOf(names)
        case .bus(let id):
            let device = "/sys/bus/pci/devices/\(id)"
            var names = entries(of: device + "/net")
            // Between a virtio device on PCI and its link there is one step more.
            if names.isEmpty,
                let virtio = entries(of: device).first(where: { $0.hasPrefix("virtio") })
            {
                names = entries(of: "\(device)/\(virtio)/net")
            }
            if names.isEmpty { names = entries(of: "/sys/bus/auxiliary/devices/\(id)/net") }
            guard !names.isEmpty else {
                throw CNIError(
                    .internalError, "no net directory under pci or auxiliary device \(id)")
            }
            return .oneOf(names)
        }
    }
}

/// Whether a PCI device is driven from user space, and so is no link to the kernel.
func hasUserSpaceDriver(_ id: String) -> Bool {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let path = "/sys/bus/pci/devices/\(id)/driver"
    let count = unsafe readlink(path, &buffer, buffer.count)
    guard count > 0 else { return false }
    let target = String(
        decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let driver = target.split(separator: "/").last ?? ""
    return ["vfio-pci", "uio_pci_generic", "igb_uio"].contains(driver)
}

/// The names in a directory, in order; none if it is not there.
private func entries(of path: String) -> [String] {
    guard let stream = unsafe opendir(path) else { return [] }
    defer { unsafe _ = closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
        let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
            unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) { name in
                unsafe String(cString: name)
            }
        }
        if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
}
