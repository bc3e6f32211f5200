import Testing

@Suite("cnictl's manual and completions")
struct CnictlManualTests {
    @Test(
        "there is a page for every command, and completions for every shell", .enabled(if: isRoot))
    func pages() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        try run("mkdir \(world.directory)/man")
        try cnictl.output(of: "manual \(world.directory)/man")
        let help = try cnictl.output(of: "--help")
        let pages = world.files("man")
        for name in ["ls", "explain", "top", "shape", "gc", "repair", "lint", "exec", "install"] {
            #expect(pages.contains("cnictl-\(name).8"))
            #expect(help.contains("\n  \(name) "))
        }
        #expect(!help.contains("manual"))
        #expect(world.file("man/cnictl-gc.8")?.contains(".TP\n.B \\-\\-dry\\-run\n") == true)
        #expect(world.file("man/cnictl.8")?.contains(".BR cnictl\\-gc (8),\n") == true)
        for shell in ["bash", "zsh", "fish"] {
            #expect(
                try cnictl.output(of: "--generate-completion-script \(shell)").contains("explain"))
        }
        let script = try cnictl.output(of: "--generate-completion-script bash")
        let read = try Command(["bash", "-n"], input: Array(script.utf8)).wait()
        #expect(read.succeeded && read.errors == "")
    }
}
