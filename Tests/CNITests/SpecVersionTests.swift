import CNI
import Testing

/// Versions of the specification.
@Suite struct SpecVersionTests {
    @Test("the versions are in order and read back from their texts")
    func all() {
        #expect(SpecVersion.all == SpecVersion.all.sorted())
        #expect(
            SpecVersion.all.map(\.description)
                == ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
        for version in SpecVersion.all { #expect(SpecVersion("\(version)") == version) }
    }

    @Test("numbers count, not texts")
    func numbers() throws {
        let ten = try #require(SpecVersion("0.10.0"))
        #expect(ten > .v0_4_0)
        #expect(ten < .v1_0_0)
    }

    @Test("missing parts are zero")
    func short() {
        #expect(SpecVersion("1") == .v1_0_0)
        #expect(SpecVersion("0.4") == .v0_4_0)
    }

    @Test(
        "what is no version is none",
        arguments: [
            "", ".", "1.", "1..0", "1.0.0.0", "1.0.0-rc1", "v1.0.0", " 1.0.0", "1.0.x", "-1.0.0",
            "1.99999.0", "+1.0.0", "１.0.0",
        ])
    func invalid(text: String) { #expect(SpecVersion(text) == nil) }
}
