public import PluginRuntime

/// The names of the plugins of this program.
public let pluginNames = ["bandwidth", "bridge", "host-local", "loopback", "portmap", "static"]

/// The plugin of a name, or nil if this program has none: one line each.
public func plugin(named name: String) -> (any Plugin.Type)? {
    switch name {
    case Bandwidth.name: Bandwidth.self
    case Bridge.name: Bridge.self
    case HostLocal.name: HostLocal.self
    case Loopback.name: Loopback.self
    case Portmap.name: Portmap.self
    case Static.name: Static.self
    default: nil
    }
}
