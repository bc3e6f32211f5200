import CNI
import Testing

/// JSON as it is printed.
@Suite struct JSONTextTests {
    @Test("quotes, backslashes and control characters are escaped")
    func escapes() {
        #expect(
            JSON.string("a\"b\\c\n\r\t\u{8}\u{c}\u{1}\u{1f}d").text(indented: false)
                == #""a\"b\\c\n\r\t\b\f\u0001\u001Fd""#)
    }

    @Test("a slash and characters beyond ASCII stay as they are")
    func plain() {
        #expect(JSON.string("/var é 日 🌉").text(indented: false) == "\"/var é 日 🌉\"")
    }

    @Test("a NUL inside a text is escaped, not an end")
    func nul() {
        #expect(JSON.string("a\0b").text(indented: false) == #""a\u0000b""#)
    }

    @Test("the indented form has four spaces a level and no newline at its end")
    func indented() {
        let value: JSON = ["code": 4, "list": [1, 2], "none": [], "nothing": .object([])]
        #expect(
            value.text(indented: true) == """
                {
                    "code": 4,
                    "list": [
                        1,
                        2
                    ],
                    "none": [],
                    "nothing": {}
                }
                """)
    }

    @Test(
        "what was printed reads back the same",
        arguments: [
            #"{"a":[1,-2,{"b":null}],"c":"é\n\u0001\"","d":true,"e":{}}"#, "[]", "\"\"", "false",
            "-9223372036854775808", "1.5",
        ])
    func roundTrip(text: String) throws {
        let value = try json(text)
        for indented in [false, true] {
            #expect(try json(value.text(indented: indented)) == value)
        }
    }
}
