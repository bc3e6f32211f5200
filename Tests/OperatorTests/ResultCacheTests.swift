import CNI
import Foundation
import PluginRuntime
import Testing

@testable import Operator

/// libcni's result cache.
@Suite struct ResultCacheTests {
    private let owner = Owner(network: "web", containerID: "c1", interface: "eth0")

    private func entry() throws -> CachedAttachment {
        let list = try list(
            #"{"cniVersion": "1.0.0", "name": "web", "plugins": [{"type": "ptp"}]}"#)
        return CachedAttachment(
            owner: owner, netns: "/run/netns/c1", configuration: list.bytes,
            arguments: [("IgnoreUnknown", "1"), ("K8S_POD_NAME", "a")],
            capabilities: ["portMappings": []], result: ["cniVersion": "1.0.0", "ips": []])
    }

    @Test("an entry comes back as it was stored, by its owner and among all")
    func roundTrip() throws {
        let directory = try TemporaryDirectory()
        let cache = ResultCache(directory.path)
        try cache.store(entry())
        let found = try #require(cache.entry(of: owner))
        #expect(found.netns == "/run/netns/c1")
        #expect(found.result["cniVersion"] == "1.0.0")
        #expect(found.arguments.map(\.key) == ["IgnoreUnknown", "K8S_POD_NAME"])
        #expect(found.capabilities == ["portMappings": []])
        #expect(try found.list().plugins[0]["type"] == "ptp")
        #expect(cache.entries().entries.map(\.owner) == [owner])
        cache.remove(owner)
        #expect(cache.entry(of: owner) == nil)
    }

    @Test("the file has the name, the members and the mode that libcni gives it")
    func layout() throws {
        let directory = try TemporaryDirectory()
        try ResultCache(directory.path).store(entry())
        let path = directory.path + "/results/web-c1-eth0"
        let json = try JSON(parsing: Array(Data(contentsOf: URL(fileURLWithPath: path))))
        #expect(json["kind"] == "cniCacheV1")
        #expect(json["containerId"] == "c1")
        #expect(json["networkName"] == "web")
        #expect(json["ifName"] == "eth0")
        #expect(json["cniArgs"] == [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "a"]])
        let text = Data(base64Encoded: json["config"]?.text ?? "").map {
            String(decoding: $0, as: UTF8.self)
        }
        #expect(text?.contains(#""ptp""#) == true)
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
    }

    @Test("an entry that is cut off at any byte is no entry, and no error")
    func truncated() throws {
        let directory = try TemporaryDirectory()
        let cache = ResultCache(directory.path)
        try cache.store(entry())
        let path = directory.path + "/results/web-c1-eth0"
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        for length in stride(from: 0, to: whole.count, by: 7) {
            try whole.prefix(length).write(to: URL(fileURLWithPath: path))
            #expect(cache.entry(of: owner) == nil)
            #expect(cache.entries().damaged == [path])
        }
    }
}
