import CNI
import Testing

/// The environment of a call, read as the reference reads it.
@Suite struct InvocationTests {
    private static let complete = [
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c-1", "CNI_NETNS": "/run/netns/c",
        "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
    ]

    private func call(
        _ changes: [String: String?], input: () throws(CNIError) -> [UInt8] = { [0x7b, 0x7d] }
    ) throws(CNIError) -> Invocation {
        let environment = Self.complete.merging(changes.compactMapValues { $0 }) { $1 }
        return try Invocation(
            environment: { changes[$0] == .some(nil) ? nil : environment[$0] }, input: input)
    }

    private func error(_ changes: [String: String?]) -> CNIError? {
        failure { () throws(CNIError) in try call(changes) }
    }

    @Test("a complete environment is read whole")
    func complete() throws {
        let call = try call(["CNI_ARGS": "IP=10.1.0.5"])
        #expect(call.verb == .add)
        #expect(call.containerID == "c-1")
        #expect(call.netns == "/run/netns/c")
        #expect(call.interface == "eth0")
        #expect(call.arguments == "IP=10.1.0.5")
        #expect(call.path == ["/opt/cni/bin", "/usr/lib/cni"])
        #expect(!call.allowsHostNamespace)
        #expect(call.input == [0x7b, 0x7d])
    }

    @Test(
        "missing variables are reported together, in the reference's order",
        arguments: [
            ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
            ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
            ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
            ("GC", "CNI_PATH"), ("STATUS", "CNI_PATH"), ("", "CNI_COMMAND"),
        ])
    func missing(command: String, names: String) {
        let error = failure { () throws(CNIError) in
            try Invocation(environment: { $0 == "CNI_COMMAND" ? command : nil }, input: { [] })
        }
        #expect(error == CNIError(.environment, "required env variables [\(names)] missing"))
    }

    @Test("a name that the kernel takes for a pattern is refused by ADD alone")
    func pattern() throws {
        #expect(error(["CNI_IFNAME": "t%d"])?.code == 4)
        #expect(try call(["CNI_COMMAND": "DEL", "CNI_IFNAME": "t%d"]).interface == "t%d")
    }

    @Test("an empty variable is a missing one")
    func empty() {
        #expect(
            error(["CNI_NETNS": "", "CNI_PATH": nil])
                == CNIError(.environment, "required env variables [CNI_NETNS,CNI_PATH] missing"))
    }

    @Test("DEL needs no namespace; GC and STATUS need no container")
    func optional() throws {
        #expect(try call(["CNI_COMMAND": "DEL", "CNI_NETNS": nil]).netns == "")
        let bare: [String: String?] = [
            "CNI_CONTAINERID": nil, "CNI_NETNS": nil, "CNI_IFNAME": nil,
        ]
        for verb in [Verb.gc, .status] {
            let call = try call(bare.merging(["CNI_COMMAND": verb.rawValue]) { $1 })
            #expect(call.verb == verb)
        }
    }

    @Test("VERSION needs nothing and never reads standard input")
    func version() throws {
        let call = try Invocation(environment: { $0 == "CNI_COMMAND" ? "VERSION" : nil }) {
            () throws(CNIError) in
            throw CNIError(.io, "read")
        }
        #expect(call.verb == .version)
        #expect(call.input.isEmpty)
    }

    @Test("an unknown verb is named", arguments: ["NOPE", "add", "ADD "])
    func unknownVerb(command: String) {
        #expect(
            error(["CNI_COMMAND": command])
                == CNIError(.environment, "unknown CNI_COMMAND: \(command)"))
    }

    @Test("container IDs have letters, digits, underscores, dots and hyphens")
    func containerID() throws {
        for good in ["a", "0", "A_b.c-9", String(repeating: "f", count: 200)] {
            #expect(try call(["CNI_CONTAINERID": good]).containerID == good)
        }
        for bad in ["-a", ".a", "_a", "a/b", "../x", "a b", "é", "a\n", "a:b", "a\r\neth1"] {
            #expect(
                error(["CNI_CONTAINERID": bad])
                    == CNIError(
                        .environment, "invalid characters in containerID", details: bad))
        }
    }

    @Test("an interface name has at most 15 bytes")
    func longInterface() throws {
        #expect(try call(["CNI_IFNAME": "fifteen-bytes-x"]).interface == "fifteen-bytes-x")
        for name in ["sixteen-bytes-xx", "ééééééééé"] {
            #expect(
                error(["CNI_IFNAME": name])
                    == CNIError(
                        .environment, "interface name is too long",
                        details: "interface name should be less than 16 characters"))
        }
    }

    @Test("an interface name is not . or .., and has no slash, colon or white space")
    func interface() {
        for name in [".", ".."] {
            #expect(
                error(["CNI_IFNAME": name])
                    == CNIError(.environment, "interface name is . or .."))
        }
        for name in ["a/b", "eth0:1", "a b", "a\tb", "a\n"] {
            #expect(
                error(["CNI_IFNAME": name])
                    == CNIError(
                        .environment, "interface name contains / or : or whitespace characters"))
        }
    }

    @Test("an invalid variable is reported before missing ones")
    func invalidFirst() {
        #expect(
            error(["CNI_CONTAINERID": "a/b", "CNI_NETNS": nil])?.message
                == "invalid characters in containerID")
        #expect(
            error(["CNI_IFNAME": "..", "CNI_PATH": nil])?.message == "interface name is . or ..")
    }

    @Test("variables that a verb does not need are not looked at")
    func notNeeded() throws {
        let call = try call([
            "CNI_COMMAND": "GC", "CNI_CONTAINERID": "../x", "CNI_IFNAME": "a/b",
        ])
        #expect(call.verb == .gc)
    }

    @Test("standard input is not read before the environment is good")
    func inputLast() {
        var isRead = false
        #expect(
            failure { () throws(CNIError) in
                try call(["CNI_IFNAME": ".."]) { () throws(CNIError) in
                    isRead = true
                    return []
                }
            } != nil)
        #expect(!isRead)
    }

    @Test("what standard input throws is the error")
    func unreadable() {
        let cause = CNIError(.io, "error reading from stdin: EIO")
        #expect(
            failure { () throws(CNIError) in
                try call([:]) { () throws(CNIError) in throw cause }
            } == cause)
    }

    @Test("CNI_NETNS_OVERRIDE is 1 or true in any case")
    func override() throws {
        for (value, allows) in [
            ("1", true), ("true", true), ("TrUe", true), ("0", false),
            ("yes", false), ("", false),
        ] {
            #expect(try call(["CNI_NETNS_OVERRIDE": value]).allowsHostNamespace == allows)
        }
    }

    @Test("empty directories of CNI_PATH do not count")
    func emptyDirectories() throws {
        #expect(try call(["CNI_PATH": "::/a::/b:"]).path == ["/a", "/b"])
    }
}
