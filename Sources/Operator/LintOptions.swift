internal import CNI
internal import PluginRuntime
internal import Plugins

extension ConfigurationList {
    /// The call by which a plugin of the network is asked what it makes of its configuration.
    func trialCall(of plugin: JSON, plugins: [String] = []) throws(CNIError) -> Call {
        let invocation = Invocation(
            verb: .status, containerID: "lint", interface: "eth0", path: plugins)
        return Call(invocation, try NetworkConfiguration(json: configuration(of: plugin)))
    }

    /// What a plugin makes of its configuration; nil of another plugin's, and of one that it refuses.
    func options<P: InterfacePlugin>(_ type: P.Type, of plugin: JSON) -> P.Options? {
        guard plugin["type"]?.text == P.name else { return nil }
        return try? P.options(trialCall(of: plugin))
    }

    /// What a plugin makes of its configuration; nil of another plugin's, and of one that it refuses.
    func options<P: ChainedPlugin>(_ type: P.Type, of plugin: JSON) -> P.Options? {
        guard plugin["type"]?.text == P.name else { return nil }
        return try? P.options(trialCall(of: plugin))
    }

    /// How a plugin of the network masquerades, if it is one that can.
    func masquerade(_ plugin: JSON) -> MasqueradeOptions? {
        options(Bridge.self, of: plugin)?.masquerade ?? options(PTP.self, of: plugin)?.masquerade
    }
}
