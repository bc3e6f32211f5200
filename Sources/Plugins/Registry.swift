public import PluginRuntime

/// The names of the plugins of this program.
public let pluginNames = [
    "bandwidth", "bridge", "dummy", "firewall", "host-device", "host-local", "ipvlan", "loopback",
    "macvlan",
    "portmap", "ptp", "sbr", "static", "tap", "tuning", "vlan", "vrf",
]

/// The plugin of a name, or nil if this program has none: one line each.
public func plugin(named name: String) -> (any Plugin.Type)? {
    switch name {
    case Bandwidth.name: Bandwidth.self
    case Bridge.name: Bridge.self
    case Dummy.name: Dummy.self
    case Firewall.name: Firewall.self
    case HostDevice.name: HostDevice.self
    case HostLocal.name: HostLocal.self
    case IPVLAN.name: IPVLAN.self
    case Loopback.name: Loopback.self
    case MACVLAN.name: MACVLAN.self
    case PTP.name: PTP.self
    case Portmap.name: Portmap.self
    case SourceRouting.name: SourceRouting.self
    case Static.name: Static.self
    case Tap.name: Tap.self
    case Tuning.name: Tuning.self
    case VLAN.name: VLAN.self
    case VRFPlugin.name: VRFPlugin.self
    default: nil
    }
}
