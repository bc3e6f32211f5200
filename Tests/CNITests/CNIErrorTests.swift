import CNI
import Testing

/// Errors as runtimes read them.
@Suite struct CNIErrorTests {
    @Test("an error prints its code and message, and details only if it has any")
    func json() {
        #expect(
            CNIError(.environment, "bad").json.text(indented: true) == """
                {
                    "code": 4,
                    "msg": "bad"
                }
                """)
        #expect(
            CNIError(.internalError, "bad", details: "x").json.text(indented: false)
                == #"{"code":999,"msg":"bad","details":"x"}"#)
    }

    @Test("an error that a plugin printed is read back, of any code")
    func delegated() throws {
        for error in [CNIError(code: 4242, "no lease", details: "x"), CNIError(.io, "")] {
            #expect(CNIError(error.json) == error)
        }
        #expect(CNIError(["cniVersion": "1.0.0"]) == nil)
        #expect(CNIError(["code": "4"]) == nil)
    }

    @Test("words in front leave code and details")
    func prefixed() {
        let error = CNIError(.io, "full", details: "x").prefixed("store")
        #expect(error == CNIError(.io, "store: full", details: "x"))
        #expect("\(error)" == "store: full; x")
    }
}
