public import PluginRuntime

/// The plugins of this program, one line each, by their names.
///
/// The Makefile has the names once more: it makes the links by which each is run.
private let plugins: [any Plugin.Type] = [
    Bandwidth.self,
    Bridge.self,
    Dummy.self,
    Firewall.self,
    HostDevice.self,
    HostLocal.self,
    IPVLAN.self,
    Loopback.self,
    MACVLAN.self,
    Portmap.self,
    PTP.self,
    SourceRouting.self,
    Static.self,
    Tap.self,
    Tuning.self,
    VLAN.self,
    VRFPlugin.self,
]

/// The names of the plugins of this program.
public var pluginNames: [String] { plugins.map { $0.name } }

/// The plugin of a name, or nil if this program has none.
public func plugin(named name: String) -> (any Plugin.Type)? {
    // A loop: the generic searches of the library look their types up by name, in each process.
    for plugin in plugins where plugin.name == name { return plugin }
    return nil
}
