import Addressing
@testable import CNI
@testable import IPAM
import PluginRuntime
@testable import Plugins

/// Standard input: the shared keys, what was answered before, and each plugin's own keys.
func fuzzConfiguration(_ input: [UInt8]) {
    guard let configuration = try? NetworkConfiguration(parsing: input) else { return }
    if let previous = configuration.previous {
        for version in SpecVersion.all {
            guard let json = try? previous.json(for: version) else { continue }
            let text = json.text(indented: true)
            guard let again = try? JSON(parsing: Array(text.utf8)),
                (try? AddResult(again, path: "again")) != nil
            else { fatalError("an answer that is not understood: \(text)") }
        }
    }
    let call = Call(
        Invocation(verb: .add, containerID: "c", netns: "", interface: "eth0"), configuration)
    for name in pluginNames {
        guard let type = plugin(named: name) else { continue }
        if let type = type as? any InterfacePlugin.Type { options(type, call) }
        if let type = type as? any ChainedPlugin.Type { options(type, call) }
    }
    _ = try? HostLocal.Options(call)
    _ = try? Portmap.Options(call)
    if let options = try? Tuning.Options(call) { _ = try? options.link("eth0") }
}

private func options<Type: InterfacePlugin>(_ type: Type.Type, _ call: Call) {
    _ = try? type.options(call)
}

private func options<Type: ChainedPlugin>(_ type: Type.Type, _ call: Call) {
    _ = try? type.options(call)
}

/// The environment, CNI_ARGS first; and the texts of addresses, which must read as they were
/// written.
func fuzzEnvironment(_ input: [UInt8]) {
    let fields = input.split(separator: 0, maxSplits: 6, omittingEmptySubsequences: false)
        .map { String(decoding: $0, as: UTF8.self) }
    let names = [
        "CNI_ARGS", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_PATH", "CNI_COMMAND",
        "CNI_NETNS_OVERRIDE",
    ]
    let environment = Dictionary(uniqueKeysWithValues: zip(names, fields))
    if let arguments = try? CNIArguments(fields[0]) {
        for key in ["IP", "GATEWAY", "MAC", "IgnoreUnknown"] { _ = arguments[key] }
    }
    _ = try? Invocation(environment: { environment[$0] }, input: { () throws(CNIError) in [] })
    for text in fields {
        if let address = IPAddress(text), IPAddress("\(address)") != address {
            fatalError("\(text) is \(address), which is another address")
        }
        if let prefix = IPPrefix(text), IPPrefix("\(prefix)") != prefix {
            fatalError("\(text) is \(prefix), which is another prefix")
        }
        if let mac = MACAddress(text), MACAddress("\(mac)") != mac {
            fatalError("\(text) is \(mac), which is another address")
        }
        if let owner = Owner(tag: text), owner.tag != text {
            fatalError("\(text) is the tag of \(owner)")
        }
    }
}
