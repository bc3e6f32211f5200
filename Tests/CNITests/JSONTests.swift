import CNI
import Testing

/// JSON as it comes on standard input, which anybody may have written.
@Suite struct JSONTests {
    @Test("every kind of value is read")
    func kinds() throws {
        let value = try json(
            #" {"a": null, "b": [true, false], "c": -7, "d": 1.5, "e": "x", "f": {}} "#)
        #expect(
            value
                == .object([
                    ("a", .null), ("b", [true, false]), ("c", -7), ("d", .real("1.5")),
                    ("e", "x"), ("f", .object([])),
                ]))
    }

    @Test(
        "a value alone is a text too",
        arguments: [
            ("7", JSON.integer(7)), ("\"x\"", "x"), ("null", .null), ("[]", .array([])),
        ])
    func scalar(text: String, value: JSON) throws { #expect(try json(text) == value) }

    @Test("a text cut off anywhere is an error of code 6")
    func truncated() {
        let text = #"{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.5/16"}],"n":-12,"u":"\u00e9"}"#
        for length in 0..<text.utf8.count {
            let error = failure { () throws(CNIError) in
                try JSON(parsing: Array(text.utf8.prefix(length)))
            }
            #expect(error?.code == 6, "\(length) bytes")
        }
    }

    @Test(
        "what is not JSON is an error of code 6",
        arguments: [
            "{} {}", "[1,]", "{'a':1}", "{\"a\" 1}", "tru", "01", "+1", "\"\t\"", "// x\n1",
            "NaN", #""\x""#, #""\u00""#, "01e999", "1.e999", "--1e999",
            "1e", "99999999999999999999.", #"{"\u+000": 1}"#, "\u{feff}{}", "]", "}", "[}",
        ])
    func malformed(text: String) {
        #expect(failure { () throws(CNIError) in try json(text) }?.code == 6)
    }

    @Test(
        "bytes that are not UTF-8 are the replacement character, outside strings an error of code 6"
    )
    func notUTF8() throws {
        #expect(try JSON(parsing: [0x22, 0x61, 0xc3, 0x22]) == "a\u{fffd}")
        #expect(try JSON(parsing: [0x22, 0xff, 0xe6, 0x97, 0xa5, 0x22]) == "\u{fffd}日")
        for bytes: [UInt8] in [[0xff], [0x7b, 0xc3, 0x7d]] {
            #expect(failure { () throws(CNIError) in try JSON(parsing: bytes) }?.code == 6)
        }
    }

    @Test(
        "half a pair of surrogates is the replacement character, and a whole one what it stands for"
    )
    func surrogates() throws {
        for (text, wanted) in [
            (#""\ud800""#, "\u{fffd}"), (#""a\udC00b""#, "a\u{fffd}b"), (#""\ud83c\udf09""#, "🌉"),
            (#""\ud800\ud83c\udf09""#, "\u{fffd}🌉"), (#""\\ud800\ud800""#, "\\ud800\u{fffd}"),
            (#""\ud800\u0041""#, "\u{fffd}A"),
        ] {
            #expect(try json(text) == .string(wanted), "\(text)")
        }
    }

    @Test("a bare NUL is an error of code 6, an escaped one part of its text")
    func nul() throws {
        for bytes in [[0], Array("{}\0".utf8), Array("\"a\0b\"".utf8)] {
            #expect(failure { () throws(CNIError) in try JSON(parsing: bytes) }?.code == 6)
        }
        #expect(try json(#"{"a": "b\u0000c"}"#)["a"] == "b\0c")
        #expect(try json(#"{"a\u0000" : 1, "b": "\u0000"}"#)["b"] == "\0")
    }

    @Test("the error says where the fault is")
    func place() {
        let error = failure { () throws(CNIError) in try json("{\n  \"a\": x\n}") }
        #expect(error?.message.hasPrefix("line 2 column 8: ") == true, "\(error as Any)")
    }

    @Test("10 MB of brackets are refused, not recursed into")
    func deep() {
        for byte in "[{".utf8 {
            let error = failure { () throws(CNIError) in
                try JSON(parsing: [UInt8](repeating: byte, count: 10_000_000))
            }
            #expect(error == CNIError(.decode, "nested more than 128 levels deep"))
        }
    }

    @Test("128 levels are read, 129 are not, and brackets in strings do not count")
    func depth() throws {
        let nested = { (levels: Int) in
            String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
        }
        _ = try json(nested(128))
        #expect(failure { () throws(CNIError) in try json(nested(129)) }?.code == 6)
        let brackets = String(repeating: "[", count: 500)
        #expect(try json("\"\\\"\(brackets)\"") == .string("\"" + brackets))
    }

    @Test("of duplicate keys, in any case, the last counts")
    func duplicates() throws {
        #expect(try json(#"{"a": 1, "a": 2}"#)["a"] == 2)
        #expect(try json(#"{"a": 1, "A": 2}"#)["a"] == 2)
        #expect(try json(#"{"A": 1, "a": 2}"#)["A"] == 2)
    }

    @Test("a key matches in upper and lower case, beyond ASCII exactly")
    func caseOfKeys() throws {
        let value = try json(#"{"RuntimeConfig": 1, "É": 2}"#)
        #expect(value["runtimeConfig"] == 1)
        #expect(value["RUNTIMECONFIG"] == 1)
        #expect(value["É"] == 2)
        #expect(value["é"] == nil)
        #expect(value["runtimeConfi"] == nil)
    }

    @Test("null counts as absent, and only objects have members")
    func absent() throws {
        #expect(try json(#"{"a": null}"#)["a"] == nil)
        #expect(try json("[1]")["a"] == nil)
        #expect(try json("\"a\"")["a"] == nil)
    }

    @Test("setting a member replaces every spelling of its key")
    func setting() throws {
        let value = try json(#"{"Name": 1, "b": 2, "NAME": 3}"#)
        #expect(value.setting("name", to: 4) == .object([("b", 2), ("name", 4)]))
    }

    @Test("objects with their members in another order are not equal")
    func order() throws {
        #expect(try json(#"{"a":1,"b":2}"#) != json(#"{"b":2,"a":1}"#))
    }

    @Test("integers of 64 bits keep every digit")
    func integers() throws {
        #expect(try json("9223372036854775807") == .integer(.max))
        #expect(try json("-9223372036854775808") == .integer(.min))
    }

    @Test("a number too large to hold is the nearest with a fraction, and others keep their digits")
    func largeNumbers() throws {
        let values = try json(
            #"[9223372036854775808, -1e400, 9007199254740993, 1e3, "1e400", [9223372036854775807]]"#
        )
        #expect(
            values == [
                .real("9.2233720368547758e18"), .real("-1.7976931348623157e308"),
                9_007_199_254_740_993,
                .real("1000.0"), "1e400", [.integer(.max)],
            ])
        #expect(failure { () throws(CNIError) in try json("[1e400") }?.code == 6)
    }

    @Test("a key that is there twice is found in what Go's decoder alone takes, too")
    func repeatedKey() {
        let text = #"{"a": 9223372036854775808, "b": {"c": "\ud800", "c": 1}}"#
        #expect(JSON.repeatedKey(in: Array(text.utf8)) == "c")
        #expect(JSON.repeatedKey(in: Array(#"{"a": 1e999}"#.utf8)) == nil)
    }
}
