import CNI
import Foundation
import Testing

@testable import Operator

/// Networks' configurations as a runtime's library reads them.
@Suite struct ConfigurationListTests {
    @Test("a single plugin's configuration is a list of one")
    func single() throws {
        let text = #"{"cniVersion": "0.4.0", "name": "one", "type": "loopback"}"#
        let list = try ConfigurationList(parsing: Array(text.utf8), file: "test.conf")
        #expect(list.name == "one")
        #expect(list.version == .v0_4_0)
        #expect(list.plugins.map { $0["type"]?.text } == ["loopback"])
        let cached = try ConfigurationList(parsing: list.bytes, file: "cache")
        #expect(cached.plugins == list.plugins)
    }

    @Test(
        "of several versions the newest that is spoken counts",
        arguments: [
            (#""cniVersion": "0.4.0""#, "0.4.0"),
            (#""cniVersion": "0.4.0", "cniVersions": ["1.0.0", "1.1.0"]"#, "1.1.0"),
            (#""cniVersions": ["0.3.1", "9.0.0"]"#, "0.3.1"),
            (#""disableGC": false"#, "0.1.0"),
        ])
    func versions(keys: String, version: String) throws {
        let list = try list(#"{\#(keys), "name": "n", "plugins": [{"type": "bridge"}]}"#)
        #expect("\(list.version)" == version)
    }

    @Test("a list of only newer versions is refused")
    func newer() {
        let error = failure { try list(#"{"cniVersion": "2.0.0", "name": "n", "plugins": []}"#) }
        #expect(error?.code == 1)
        #expect(error?.message.hasPrefix("test.conflist: cniVersion: ") == true)
    }

    @Test("an error names the file and the place")
    func places() {
        for (text, message) in [
            (#"{"plugins": []}"#, "test.conflist: name: missing"),
            (
                #"{"name": "n", "plugins": {}}"#,
                "test.conflist: plugins: expected an array of objects, found an object"
            ),
            (
                #"{"name": "n", "plugins": [{"type": "a"}, {}]}"#,
                "test.conflist: plugins[1].type: missing"
            ),
        ] {
            #expect(failure { try list(text) }?.message == message)
        }
    }

    @Test(
        "what a runtime's library refuses is refused",
        arguments: [
            (
                #"{"name": "n", "plugins": []}"#,
                "plugins: missing: a list has one plugin at least"
            ),
            (
                #"{"name": "n", "type": "bridge"}"#,
                "plugins: missing: a list has one plugin at least"
            ),
            (
                #"{"name": "n", "cniVersion": 1, "plugins": [{"type": "a"}]}"#,
                "cniVersion: expected a string, found 1"
            ),
            (" \n", "the file is empty"),
        ])
    func refused(text: String, message: String) throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write(text, to: "n.conflist")
        #expect(failure { try ConfigurationList(file: file) }?.message == "\(file): \(message)")
    }

    @Test("a network that is not found may be in a file that cannot be read, which is named")
    func unread() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write(#"{"name": "web", "plugins": [}"#, to: "web.conflist")
        let error = failure { try ConfigurationList.find("web", in: directory.path) }
        #expect(error?.code == 3)
        #expect(
            error?.message.hasPrefix(
                "no network \"web\" is configured in \(directory.path), as far as can be read: \(file): "
            )
                == true, "\(error?.message ?? "")")
    }

    @Test("a place that cannot be looked into is not taken for one with nothing in it")
    func unseen() throws {
        let directory = try TemporaryDirectory()
        // A link to itself: nobody may pass it, not even root.
        let path = directory.path + "/loop"
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: path)
        let list = try list(
            #"{"name": "n", "cniVersion": "1.1.0", "plugins": [{"type": "bridge"}]}"#)
        let target = Runtime.Target(
            containerID: "web", netns: "", interface: "eth0", arguments: [], capabilities: [:])
        let runtime = Runtime(pluginDirectories: [path], cache: ResultCache(path))
        for error in [
            failure { try ConfigurationList.find("web", in: path) },
            failure { try Lint(pluginDirectories: [], looksAtHost: false).faults(at: path) },
            failure { try runtime.check(list, target) },
            failure { try runtime.status(list) },
        ] {
            #expect(error?.code == 5)
            #expect(error?.message.contains("Too many levels of symbolic links") == true)
        }
    }

    @Test("a network is found by its name, and lists come before single configurations")
    func find() throws {
        let directory = try TemporaryDirectory()
        try directory.write(#"{"name": "web", "type": "loopback"}"#, to: "10-a.conf")
        try directory.write(#"{"name": "web", "plugins": [{"type": "ptp"}]}"#, to: "99-b.conflist")
        try directory.write("no JSON", to: "00-c.conflist")
        let found = try ConfigurationList.find("web", in: directory.path)
        #expect(found.plugins[0]["type"]?.text == "ptp")
        #expect(failure { try ConfigurationList.find("db", in: directory.path) }?.code == 3)
        #expect(ConfigurationList.all(in: directory.path).count == 3)
    }

    @Test("plugins of the directory with the network's name come behind the list's own")
    func folder() throws {
        let directory = try TemporaryDirectory()
        let own = #""name": "web", "plugins": [{"type": "bridge"}]"#
        let file = try directory.write("{\(own)}", to: "web.conflist")
        try directory.write(#"{"type": "tuning"}"#, to: "web/20.conf")
        try directory.write(#"{"type": "portmap"}"#, to: "web/10.conf")
        #expect(
            try ConfigurationList(file: file).plugins.map { $0["type"]?.text }
                == ["bridge", "portmap", "tuning"])
        let closed = try directory.write(
            #"{\#(own), "loadOnlyInlinedPlugins": true}"#, to: "closed.conflist")
        #expect(try ConfigurationList(file: closed).plugins.count == 1)
    }

    @Test("a plugin sees the capabilities that it declares, and no others")
    func capabilities() throws {
        let list = try list(
            """
            {"cniVersion": "1.1.0", "name": "n", "plugins": [
              {"type": "portmap", "capabilities": {"portMappings": true, "mac": false}}]}
            """)
        let given = try json(#"{"portMappings": [], "mac": "02::1", "bandwidth": {}}"#)
        let configuration = list.configuration(of: list.plugins[0], capabilities: given)
        #expect(configuration["runtimeConfig"]?.text == nil)
        #expect(configuration["runtimeConfig"]?.members?.map(\.key) == ["portMappings"])
        #expect(configuration["cniVersion"] == "1.1.0")
        #expect(configuration["name"] == "n")
    }
}
