import CNI
import Foundation
import PluginRuntime

/// A call with a configuration of version 1.1.0 on the network `net`, whose members are given.
func call(
    _ members: String = "", version: String = "1.1.0", container: String = "c1",
    arguments: String = "", netns: String? = nil
) throws(CNIError) -> Call {
    let rest = members.isEmpty ? "" : ", " + members
    let text = #"{"cniVersion": "\#(version)", "name": "net"\#(rest)}"#
    let invocation = Invocation(
        verb: .add, containerID: container, netns: netns ?? "/run/netns/\(container)",
        interface: "eth0",
        arguments: arguments)
    return Call(invocation, try NetworkConfiguration(parsing: Array(text.utf8)))
}

/// The error that `body` throws, or nil.
func failure<Result>(_ body: () throws -> Result) -> CNIError? {
    do {
        _ = try body()
        return nil
    } catch {
        return error as? CNIError
    }
}

/// A directory that is gone with the test.
final class TemporaryDirectory {
    let path = FileManager.default.temporaryDirectory.path + "/plugin-tests-\(UUID().uuidString)"

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
