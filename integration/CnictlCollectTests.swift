import Foundation
import Testing

@Suite("cnictl gc removes what has gone, and nobody else", .enabled(if: isRoot))
struct CnictlCollectTests {
    private static let id = "0123456789abcdef0123456789abcdef"

    private func containers(_ cnictl: Cnictl) throws -> [String?] {
        try cnictl.json("ls").array.map { $0["container"].string }
    }

    @Test(
        "--valid keeps whom it names by an ID or the start of one, by whatever interface",
        arguments: [id, "0123456789ab", "0123", id + "/net1", "0123/net1"])
    func valid(word: String) throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["db"])
        try cnictl.output(
            of: "add shaped \(world.container().path) --container-id \(Self.id) --ifname net1")
        try cnictl.output(of: "gc shaped --valid \(word)")
        #expect(try containers(cnictl) == [Self.id])
    }

    @Test("--valid that names nobody takes nothing away, and a word of several that does is named")
    func strangers() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web", "db"])
        let refused = try cnictl.run("gc shaped --valid wbe")
        #expect(refused.status == 1)
        #expect(
            refused.errors.contains("--valid names nobody on shaped, and shaped db eth0 is there"),
            "\(refused.errors)")
        #expect(try containers(cnictl) == ["db", "web"])
        let done = try cnictl.run("gc shaped --valid web --valid nobody")
        #expect(done.status == 0)
        #expect(done.errors.contains("--valid nobody: nobody on shaped is that"))
        #expect(done.output.contains("removed shaped db eth0: "), "\(done.output)")
        #expect(try containers(cnictl) == ["web"])
    }

    @Test("a network that there is not is an error, and one whose file has gone is not")
    func networks() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        for words in ["gc wbe", "gc wbe --dry-run", "gc wbe --all", "gc wbe --valid web"] {
            let ended = try cnictl.run(words + " --interval 0.05")
            #expect(ended.status == 3, "\(words)")
            #expect(ended.errors.contains("no network \"wbe\" is configured"), "\(ended.errors)")
        }
        try run("rm \(cnictl.networks)/shaped.conflist")
        let options = "--data-dir \(world.directory)/networks"
        #expect(try cnictl.run("gc shaped --interval 0.05 \(options)").status == 0)
        #expect(try containers(cnictl) == ["web"])
        try cnictl.output(of: "gc shaped --all \(options)")
        #expect(try cnictl.json("ls \(options)").array.isEmpty)
        #expect(try !world.onHost("nft list ruleset").contains("shaped web"))
    }

    @Test("what a container sees of the host's files is not taken for what has gone")
    func inside() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        for words in ["gc --interval 0.05", "gc shaped --all", "gc --dry-run"] {
            let command =
                ["exec", "shaped", "--", cnictl.program]
                + words.split(separator: " ").map(String.init)
            let ended = try cnictl.start(command).wait()
            #expect(ended.status == 1, "\(words): \(ended.output)")
            #expect(
                ended.errors.contains("this namespace is the container of shaped cnictl-exec-"),
                "\(ended.errors)")
        }
        #expect(world.files("networks/shaped").contains("10.99.0.2"))
        #expect(world.files("cache/results") == ["shaped-web-eth0"])
        #expect(try cnictl.run("explain web").status == 0)
    }

    @Test(
        "an empty word, as of a variable that is not set, is refused",
        arguments: [
            ["gc", ""], ["gc", "shaped", "--valid", ""], ["ls", ""], ["explain", ""],
            ["repair", ""], ["top", "--once", ""], ["shape", ""], ["log", ""],
            ["shape", "--tenant", ""], ["add", "shaped", ""], ["check", "shaped", ""],
        ])
    func empty(words: [String]) throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        let ended = try cnictl.start(words).wait()
        #expect(ended.status == 64, "\(ended.output)\(ended.errors)")
        #expect(ended.errors.contains("is a variable not set?"), "\(ended.errors)")
        #expect(try containers(cnictl) == ["web"])
    }
}
