import Addressing
import CNI
import Testing

/// Reading keys, and naming the place of what is wrong.
@Suite struct KeysTests {
    private func keys(_ text: String, path: String = "") throws -> Keys {
        Keys(try json(text), path: path)
    }

    /// What reading the key `k` as a type says of a value.
    private func error<Value: ConfigurationValue>(
        _ type: Value.Type, _ value: String
    ) throws -> CNIError? {
        var keys = try keys("{\"a\": {\"k\": \(value)}}")
        return failure { () throws(CNIError) in try keys("a.k", "", as: Value.self) }
    }

    @Test("values of every type are read")
    func types() throws {
        var keys = try keys(
            #"""
            {"b": true, "i": -3, "s": "x", "a": "10.1.0.5", "p": "fd00::1/64", "l": ["x", "y"],
             "n": ["10.1.0.1", "::1"]}
            """#)
        #expect(try keys("b", "", as: Bool.self) == true)
        #expect(try keys("i", "", as: Int.self) == -3)
        #expect(try keys("s", "", as: String.self) == "x")
        #expect(try keys("a", "", as: IPAddress.self) == IPAddress("10.1.0.5"))
        #expect(try keys("p", "", as: IPPrefix.self) == IPPrefix("fd00::1/64"))
        #expect(try keys("l", "", as: [String].self) == ["x", "y"])
        #expect(try keys("n", "", as: [IPAddress].self)?.map(\.description) == ["10.1.0.1", "::1"])
    }

    @Test("a text with a NUL is none to whom reads it, and nobody's business else")
    func nul() throws {
        let error = try error(String.self, #""x\u0000y""#)
        #expect(error?.code == 6 && error?.message.hasPrefix("a.k: expected a string") == true)
        var keys = try keys(#"{"a": "\u0000", "b": "x"}"#)
        #expect(try keys("b", "", as: String.self) == "x")
    }

    @Test("keys match in upper and lower case, on every level")
    func caseOfKeys() throws {
        var keys = try keys(#"{"RuntimeConfig": {"MAC": "x"}, "ISGATEWAY": true}"#)
        #expect(try keys("runtimeConfig.mac", "", as: String.self) == "x")
        #expect(try keys("isGateway", default: false, ""))
    }

    @Test("null and a missing key are nil or the default")
    func absent() throws {
        var keys = try keys(#"{"a": null, "o": {"k": null}, "n": null}"#)
        #expect(try keys("a", "", as: Int.self) == nil)
        #expect(try keys("a", default: 7, "") == 7)
        #expect(try keys("o.k", default: "x", "") == "x")
        #expect(try keys("n.k", "", as: Int.self) == nil)
        #expect(try keys("missing.k", "", as: Int.self) == nil)
        #expect(try keys.object("a", "") { _ in 1 } == nil)
        #expect(try keys.list("a", "") { _ in 1 } == nil)
        #expect(try keys.lists("a", "") { _ in 1 } == nil)
    }

    @Test(
        "a wrong type is an error of code 6 that names the path, what is wanted and what is there",
        arguments: [
            ("1", "1"), ("\"true\"", "\"true\""), ("[]", "an array"), ("{}", "an object"),
            ("1.5", "1.5"),
        ])
    func wrongBoolean(value: String, found: String) throws {
        #expect(
            try error(Bool.self, value)
                == CNIError(.decode, "a.k: expected a boolean, found \(found)"))
    }

    @Test("every type refuses every other")
    func wrongTypes() throws {
        let values = [
            "a boolean": "true", "an integer": "12", "a string": "\"x\"", "an object": "{}",
            "an array": "[{}]",
        ]
        for (kind, value) in values {
            let errors: [(String, CNIError?)] = [
                (Bool.typeName, try error(Bool.self, value)),
                (Int.typeName, try error(Int.self, value)),
                (String.typeName, try error(String.self, value)),
                (IPAddress.typeName, try error(IPAddress.self, value)),
                (IPPrefix.typeName, try error(IPPrefix.self, value)),
                ("an array, each a string", try error([String].self, value)),
            ]
            for (type, error) in errors where type != kind {
                #expect(error?.code == 6, "\(type) from \(value)")
                // Of an array what is wrong is an element.
                let isElement = kind == "an array" && type.hasPrefix(kind)
                let (place, wanted) = isElement ? ("a.k[0]: ", "a string") : ("a.k: ", type)
                #expect(error?.message.hasPrefix(place) == true, "\(type) from \(value)")
                #expect(error?.message.contains(wanted) == true, "\(type) from \(value)")
            }
        }
    }

    @Test("an address may be left out by an empty string; a prefix may not")
    func emptyAddress() throws {
        var keys = try keys(#"{"a": "", "o": {"k": ""}}"#)
        #expect(try keys("a", "", as: IPAddress.self) == nil)
        #expect(try keys("o.k", "", as: IPAddress.self) == nil)
        #expect(try keys("a", "", as: String.self) == "")
        #expect(try error(IPPrefix.self, #""""#)?.code == 6)
    }

    @Test(
        "a number of a route that the kernel cannot take is refused by its place",
        arguments: [
            ("mtu", "-5"), ("mtu", "5000000000"), ("advmss", "-1"), ("priority", "-1"),
            ("table", "-1"), ("table", "4294967296"), ("scope", "300"), ("scope", "-1"),
        ])
    func route(key: String, value: String) throws {
        var keys = try keys(#"{"dst": "10.2.0.0/16", "\#(key)": \#(value)}"#, path: "routes[0]")
        #expect(
            failure { () throws(CNIError) in try RouteEntry(&keys) }
                == CNIError(.invalidConfiguration, "routes[0].\(key): out of range: \(value)"))
    }

    @Test("the largest numbers of a route are taken")
    func largestRoute() throws {
        var keys = try keys(
            #"{"dst": "::/0", "mtu": 4294967295, "table": 4294967295, "scope": 255}"#)
        let route = try RouteEntry(&keys)
        #expect(route.mtu == 4_294_967_295 && route.table == 4_294_967_295 && route.scope == 255)
    }

    @Test("a number with a fraction is no integer", arguments: ["1.5", "1e3", "1.0"])
    func fraction(value: String) throws { #expect(try error(Int.self, value)?.code == 6) }

    @Test("a text that is no address is quoted")
    func noAddress() throws {
        #expect(
            try error(IPAddress.self, "\"10.1.0.256\"")
                == CNIError(.decode, "a.k: not an IP address: \"10.1.0.256\""))
        #expect(
            try error(IPPrefix.self, "\"10.1.0.0/33\"")
                == CNIError(.decode, "a.k: not a CIDR: \"10.1.0.0/33\""))
    }

    @Test("a long text is cut in the error")
    func longText() throws {
        let message = try error(Int.self, "\"" + String(repeating: "x", count: 5000) + "\"")?
            .message
        #expect((message?.count ?? .max) < 200)
    }

    @Test("of an array with a wrong element the error names that")
    func wrongElement() throws {
        let text = try error([String].self, "[\"x\", 1]")
        #expect(text?.message == "a.k[1]: expected a string, found 1")
        let prefix = try error([IPPrefix].self, "[\"10.0.0.0/8\", \"10.0.0.0/99\"]")
        #expect(prefix?.message == "a.k[1]: not a CIDR: \"10.0.0.0/99\"")
        let inner = try error([[String]].self, "[[], [\"x\", {}]]")
        #expect(inner?.message == "a.k[1][1]: expected a string, found an object")
        let whole = try error([String].self, "{}")
        #expect(whole?.message == "a.k: expected an array, each a string, found an object")
    }

    @Test("what stands where an object should is named by its own path")
    func notAnObject() throws {
        var keys = try keys(#"{"args": {"cni": [1]}}"#)
        #expect(
            failure { () throws(CNIError) in try keys("args.cni.ips", "", as: [String].self) }
                == CNIError(.decode, "args.cni: expected an object, found an array"))
        #expect(
            failure { () throws(CNIError) in
                try keys.object("args", "") { (keys) throws(CNIError) in
                    try keys.object("cni", "") { _ in 1 }
                }
            } == CNIError(.decode, "args.cni: expected an object, found an array"))
    }

    @Test("an error in a list names the element")
    func inLists() throws {
        let read = { (keys: inout Keys) throws(CNIError) -> Int in
            try keys("id", default: 0, "")
        }
        var keys = try keys(
            #"{"l": [{"id": 1}, {"id": "x"}], "m": [{}, 7], "n": [[{"id": 1}], [{}, {"id": []}]], "#
                + #""o": [{}], "p": 3}"#)
        let error = { (body: (inout Keys) throws(CNIError) -> Void) in
            failure { () throws(CNIError) in try body(&keys) }?.message
        }
        #expect(
            error { (keys) throws(CNIError) in _ = try keys.list("l", "", read) }
                == "l[1].id: expected an integer, found \"x\"")
        #expect(
            error { (keys) throws(CNIError) in _ = try keys.list("m", "", read) }
                == "m[1]: expected an object, found 7")
        #expect(
            error { (keys) throws(CNIError) in _ = try keys.lists("n", "", read) }
                == "n[1][1].id: expected an integer, found an array")
        #expect(
            error { (keys) throws(CNIError) in _ = try keys.lists("o", "", read) }
                == "o[0]: expected an array of objects, found an object")
        #expect(
            error { (keys) throws(CNIError) in _ = try keys.lists("p", "", read) }
                == "p: expected an array of arrays, found 3")
        #expect(
            error { (keys) throws(CNIError) in _ = try keys.list("p", "", read) }
                == "p: expected an array of objects, found 3")
    }

    @Test("lists keep their order, and empty is not absent")
    func lists() throws {
        let read = { (keys: inout Keys) throws(CNIError) -> Int in
            try keys("id", default: 0, "")
        }
        var keys = try keys(#"{"l": [{"id": 2}, {"id": 1}], "e": [], "n": [[], [{"id": 5}]]}"#)
        #expect(try keys.list("l", "", read) == [2, 1])
        #expect(try keys.list("e", "", read) == [])
        #expect(try keys.lists("n", "", read) == [[], [5]])
    }

    @Test("an error of the reader's own names the path too")
    func invalid() throws {
        let keys = try keys("{}", path: "ipam.ranges[0][1]")
        #expect(
            keys.invalid("subnet", "missing")
                == CNIError(.invalidConfiguration, "ipam.ranges[0][1].subnet: missing"))
    }

    @Test("run to describe, a reader lists its keys")
    func describe() {
        let keys = Keys.describe { (keys: inout Keys) throws(CNIError) -> Int in
            let mtu = try keys("mtu", default: 1500, "The MTU.")
            let _: IPAddress? = try keys("gw", "The gateway.")
            _ = try keys.object("dns", "Names.") { (keys) throws(CNIError) in
                try keys("search", default: [String](), "Domains.")
            }
            _ = try keys.lists("ranges", "Ranges.") { (keys) throws(CNIError) in
                let subnet: IPPrefix? = try keys("subnet", "The subnet.")
                guard subnet != nil else { throw keys.invalid("subnet", "missing") }
            }
            return mtu
        }
        #expect(
            keys.map { "\($0.path): \($0.type), \($0.defaultValue ?? "-"), \($0.summary)" } == [
                "mtu: an integer, 1500, The MTU.",
                "gw: an IP address, -, The gateway.",
                "dns: an object, -, Names.",
                "dns.search: an array, each a string, [], Domains.",
                "ranges: an array of arrays of objects, -, Ranges.",
                "ranges[][].subnet: a CIDR, -, The subnet.",
            ])
    }
}
