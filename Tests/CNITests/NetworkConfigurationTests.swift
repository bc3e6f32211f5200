import CNI
import Testing

/// The keys that every plugin's configuration shares.
@Suite struct NetworkConfigurationTests {
    private func configuration(_ text: String) throws(CNIError) -> NetworkConfiguration {
        try NetworkConfiguration(parsing: Array(text.utf8))
    }

    private func error(_ text: String) -> CNIError? {
        failure { () throws(CNIError) in try configuration(text) }
    }

    @Test("the shared keys are read")
    func shared() throws {
        let read = try configuration(
            #"{"cniVersion":"1.1.0","name":"net","type":"bridge","ipam":{"type":"host-local"}}"#)
        #expect(read.version == .v1_1_0)
        #expect(read.name == "net")
        #expect(read.type == "bridge")
        #expect(read.ipamType == "host-local")
        #expect(read.previous == nil)
        #expect(read.validAttachments == nil)
    }

    @Test(
        "without a version it is 0.1.0",
        arguments: ["", #","cniVersion":"""#, #","cniVersion":null"#])
    func withoutVersion(member: String) throws {
        let read = try configuration(#"{"name":"net"\#(member)}"#)
        #expect(read.version == .v0_1_0)
        #expect(read.ipamType == "")
    }

    @Test(
        "a version that is written like none is incompatible, as to the reference",
        arguments: ["x", "1.0.0.0", "1.1", "1", "01.1.0", "99999.0.0", "1.0.0-rc1"])
    func badVersion(version: String) {
        #expect(
            error(#"{"name":"net","cniVersion":"\#(version)"}"#)
                == CNIError(
                    .incompatibleVersion, "incompatible CNI versions",
                    details: "config is \"\(version)\", plugin supports [\"0.1.0\" \"0.2.0\" "
                        + "\"0.3.0\" \"0.3.1\" \"0.4.0\" \"1.0.0\" \"1.1.0\"]"))
    }

    @Test("a version that nobody speaks is read, for VERSION's sake to be refused by name")
    func unknownVersion() throws {
        #expect(
            try configuration(#"{"name":"n","cniVersion":"9.9.0"}"#).version.description == "9.9.0")
    }

    @Test("a missing name is an error of code 7", arguments: ["{}", #"{"name":""}"#])
    func missingName(text: String) {
        #expect(error(text) == CNIError(.invalidConfiguration, "missing network name"))
    }

    @Test(
        "a name has letters, digits, underscores, dots and hyphens",
        arguments: ["../x", "a/b", "-a", ".", "a b", "é"])
    func badName(name: String) {
        #expect(
            error(#"{"name":"\#(name)"}"#)
                == CNIError(
                    .invalidConfiguration, "invalid characters found in network name",
                    details: name))
    }

    @Test("what is no JSON object is an error of code 6 that says so")
    func noObject() {
        for text in ["", "[]", "7", "{"] {
            let error = error(text)
            #expect(error?.code == 6)
            #expect(error?.message.hasPrefix("error unmarshall network config: ") == true)
        }
    }

    @Test(
        "a shared key of another type is named by its path",
        arguments: [
            (#"{"name":1}"#, "name: "), (#"{"name":"n","cniVersion":1}"#, "cniVersion: "),
            (#"{"name":"n","type":[]}"#, "type: "),
            (#"{"name":"n","ipam":[]}"#, "ipam: "),
            (#"{"name":"n","ipam":{"type":7}}"#, "ipam.type: "),
            (#"{"name":"n","prevResult":7}"#, "prevResult: "),
            (#"{"name":"n","cni.dev/valid-attachments":[7]}"#, "cni.dev/valid-attachments[0]: "),
        ])
    func wrongType(text: String, path: String) {
        let error = error(text)
        #expect(error?.code == 6)
        #expect(error?.message.hasPrefix(path) == true, "\(error as Any)")
    }

    @Test("valid attachments come under either name, and the specification's comes first")
    func validAttachments() throws {
        let list = { (id: String) in #"[{"containerID":"\#(id)","ifname":"eth0"}]"# }
        for (text, id) in [
            (#""cni.dev/valid-attachments":"# + list("a"), "a"),
            (#""cni.dev/attachments":"# + list("b"), "b"),
            (
                #""cni.dev/attachments":"# + list("b") + #","cni.dev/valid-attachments":"#
                    + list("a"), "a"
            ),
        ] {
            let read = try configuration(#"{"name":"n",\#(text)}"#)
            #expect(read.validAttachments == [.init(containerID: id, interface: "eth0")])
        }
        #expect(try configuration(#"{"name":"n","cni.dev/attachments":[]}"#).validAttachments == [])
        #expect(
            try configuration(#"{"name":"n","cni.dev/attachments":[null]}"#).validAttachments
                == [.init(containerID: "", interface: "")])
    }
}
