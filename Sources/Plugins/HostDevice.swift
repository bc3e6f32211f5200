import Addressing
public import CNI
public import Plan
public import PluginRuntime
public import Rtnetlink

/// Lends the container a link of the host.
public enum HostDevice: ContainerLinkPlugin {
    /// The plugin's name.
    public static let name = "host-device"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// The keys of the host-device plugin.
    public struct Options: ContainerLinkOptions {
        fileprivate let selector: DeviceSelector?
        /// Which link it is; nil for a device with a driver in user space, which is no link, and
        /// where nobody needs to know.
        fileprivate(set) var device: MovedLink.Device?
        fileprivate(set) var isInUserSpace = false
        /// The name resolution that comes before IPAM's.
        public let dns: AddResult.DNS?

        init(_ keys: inout Keys) throws(CNIError) {
            let device = try keys("device", default: "", "The name of the host's link.")
            let address = try keys("hwaddr", default: "", "Its hardware address.")
            let path = try keys(
                "kernelpath", default: "", "The path of its device, below /sys/devices/.")
            let pci = try keys("pciBusID", default: "", "The PCI address of its device.")
            let id = try keys(
                "runtimeConfig.deviceID", default: "",
                "The device that a device plugin gave, PCI or auxiliary; comes before pciBusID.")
            _ = try keys.ipamType()
            dns = try keys.dns()
            let bus = id.isEmpty ? pci : id
            if !device.isEmpty {
                selector = .link(.named(device))
            } else if !address.isEmpty {
                guard let mac = MACAddress(address) else {
                    throw keys.invalid("hwaddr", "not a hardware address: \"\(address)\"")
                }
                selector = .link(.withMAC(mac))
            } else if !path.isEmpty {
                guard path.hasPrefix("/sys/devices/"), !path.split(separator: "/").contains("..")
                else {
                    throw keys.invalid(
                        "kernelpath",
                        "kernel device path \"\(path)\" must be absolute and begin with "
                            + "/sys/devices/")
                }
                selector = .kernelPath(path)
            } else if !bus.isEmpty {
                guard !bus.contains("/"), bus != ".", bus != ".." else {
                    throw keys.invalid(
                        id.isEmpty ? "pciBusID" : "runtimeConfig.deviceID",
                        "not a device: \"\(bus)\"")
                }
                selector = .bus(bus)
            } else {
                selector = nil
            }
            if case .link(let link) = selector { self.device = link }
        }
    }

    /// Reads the configuration; ADD and CHECK look at the device, too.
    public static func options(_ call: Call) throws(CNIError) -> Options {
        var keys = Keys(call.configuration.json)
        var options = try Options(&keys)
        guard [.add, .check].contains(call.invocation.verb) else { return options }
        guard let selector = options.selector else {
            throw CNIError(
                .invalidConfiguration,
                "specify either \"device\", \"hwaddr\", \"kernelpath\" or \"pciBusID\"")
        }
        if case .bus(let id) = selector { options.isInUserSpace = hasUserSpaceDriver(id) }
        if call.invocation.verb == .add, !options.isInUserSpace {
            options.device = try selector.device()
        }
        return options
    }

    /// Whether the device has a driver in user space.
    public static func hasNoInterface(_ options: Options) -> Bool { options.isInUserSpace }

    /// The link.
    public static func interfaces(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        guard !options.isInUserSpace else { return Plan([]) }
        var link = MovedLink(
            attachment.interface, from: options.device ?? .oneOf([]),
            mark: attachment.owner.lentName)
        link.mac = attachment.mac
        link.former = attachment.former
        return Plan { link }
    }

    /// The link up, its addresses and routes; nothing where there is no link.
    public static func network(_ attachment: Attachment, _ options: Options) -> Plan<Kernel> {
        options.isInUserSpace ? Plan([]) : settings(attachment)
    }

    /// Lists the link if there is one.
    public static func finish(
        _ attachment: inout Attachment, _ options: Options, _ kernel: Kernel
    ) throws(CNIError) {
        if !options.isInUserSpace { try finish(&attachment, kernel) }
    }
}
