public import PluginRuntime

/// Every plugin of this program: one line each.
public let allPlugins: [any Plugin.Type] = [
    Bridge.self,
    HostLocal.self,
    Loopback.self,
    Static.self,
]
