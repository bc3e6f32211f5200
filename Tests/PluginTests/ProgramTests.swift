import CNI
@testable import PluginRuntime
import Testing

@testable import Plugins

/// One call from environment and standard input to what is printed.
@Suite struct ProgramTests {
    private func run(
        _ verb: String, _ input: String = "", plugin: any Plugin.Type = Static.self
    ) -> Program.Output {
        let environment = [
            "CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1",
            "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin",
        ]
        return Program.serve(
            plugin, siblings: Plugins.plugin(named:), environment: { environment[$0] },
            input: { Array(input.utf8) })
    }

    private func configuration(_ version: String) -> String {
        #"{"cniVersion": "\#(version)", "name": "net", "type": "static", "#
            + #""ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/16"}]}, "#
            + #""prevResult": {"cniVersion": "\#(version)", "ips": [{"address": "10.1.0.5/16"}]}}"#
    }

    @Test("without a verb it says what it is on standard error, and succeeds")
    func about() {
        let output = run("")
        #expect(output.standardOutput == "")
        #expect(
            output.standardError
                == "CNI static plugin v\(Program.version)\nCNI protocol versions supported: "
                + "0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n")
        #expect(output.status == 0)
    }

    @Test("VERSION answers on one line")
    func version() {
        #expect(
            run("VERSION")
                == Program.Output(
                    standardOutput: #"{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","#
                        + #""0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"# + "\n"))
    }

    @Test("ADD answers in the configuration's version", arguments: SpecVersion.all)
    func add(version: SpecVersion) throws {
        let output = run("ADD", configuration("\(version)"))
        #expect(output.status == 0)
        let json = try JSON(parsing: Array(output.standardOutput.utf8))
        #expect(json["cniVersion"] == .string("\(version)"))
        #expect((json["ip4"] != nil) == (version <= .v0_2_0))
        #expect((json["ips"] != nil) == (version >= .v0_3_0))
    }

    @Test("an error is JSON on standard output, without a version, and the status is 1")
    func error() {
        #expect(
            run("ADD", #"{"cniVersion": "1.1.0"}"#)
                == Program.Output(
                    standardOutput: """
                        {
                            "code": 7,
                            "msg": "missing network name"
                        }
                        """, status: 1))
    }

    @Test("null is a configuration without a name")
    func null() throws {
        let json = try JSON(parsing: Array(run("ADD", "null").standardOutput.utf8))
        #expect(json["code"] == 7 && json["msg"] == "missing network name")
    }

    @Test(
        "a verb that the configuration's version does not have is refused with code 1",
        arguments: [
            ("CHECK", "0.3.1", "config version does not allow CHECK"),
            ("GC", "1.0.0", "config version does not allow GC"),
            ("STATUS", "1.0.0", "config version does not allow STATUS"),
            ("CHECK", "9.0.0", "plugin version does not allow CHECK"),
            ("ADD", "9.0.0", "incompatible CNI versions"),
            ("DEL", "0.3.2", "incompatible CNI versions"),
        ])
    func gates(verb: String, version: String, message: String) throws {
        let output = run(verb, configuration(version))
        #expect(output.status == 1)
        let error = CNIError(try JSON(parsing: Array(output.standardOutput.utf8)))
        #expect(error?.code == 1)
        #expect(error?.message == message)
        if verb == "ADD" {
            #expect(
                error?.details
                    == #"config is "9.0.0", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "#
                    + #""0.4.0" "1.0.0" "1.1.0"]"#)
        }
    }

    @Test("the other verbs print nothing", arguments: ["DEL", "CHECK", "GC", "STATUS"])
    func silent(verb: String) {
        #expect(run(verb, configuration("1.1.0")) == Program.Output())
    }

    @Test("what is left behind comes after an error's own details")
    func leftBehind() {
        let error = CNIError(.io, "full")
        #expect(error.leaving([]) == error)
        #expect(error.leaving(["a", "b"]).details == "left behind: a; b")
        let detailed = CNIError(.io, "full", details: "why").leaving(["a"])
        #expect(detailed == CNIError(.io, "full", details: "why; left behind: a"))
    }
}
