import Testing

@testable import TrafficControl

/// Programs that tell packets apart.
@Suite struct ClassifierTests {
    @Test("a program with a jump that is too far is none, instead of one that lets all pass")
    func far() {
        var program = Classifier()
        let jump = program.jump()
        for _ in 0..<40_000 { program.load(1, at: 0) }
        program.land([jump])
        program.end(matching: false)
        #expect(program.loaded { _ in true } == nil)
    }
}
