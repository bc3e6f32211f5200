import Foundation
import Testing

@Suite("the guide", .enabled(if: isRoot))
struct GuideTests {
    private static let docs = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("docs")

    /// The shell's blocks of a page, in order.
    private func script(_ page: String) throws -> String {
        let text = try String(
            contentsOf: Self.docs.appendingPathComponent(page), encoding: .utf8)
        return text.components(separatedBy: "\n```sh\n").dropFirst()
            .map { $0.components(separatedBy: "\n```").first ?? "" }.joined(separator: "\n")
    }

    @Test("every command of it works, in its order, and nothing is left")
    func guide() throws {
        let world = try World()
        let commands = try script("guide.md")
        #expect(commands.contains("cnictl gc"))
        // The guide's reader has the time for it.
        let pause = "\nsleep 1\n"
        #expect(commands.components(separatedBy: pause).count == 2)
        let gone = "[[ $(ip link show type veth) != *'web two eth0'* ]]"
        let patient = commands.replacingOccurrences(
            of: pause, with: "\nfor i in {1..600}; do \(gone) && break; sleep 0.1; done\n")
        let build = (world.plugins as NSString).deletingLastPathComponent
        let whole = """
            set -euo pipefail
            mount -t tmpfs none /run
            mount -t tmpfs none /var/lib
            export PATH=\(build):/usr/sbin:/usr/bin:/sbin:/bin CNI_PATH=\(world.plugins)
            export NETCONFPATH=\(world.directory)/net.d
            \(patient.replacingOccurrences(of: "/etc/cni/net.d", with: "\(world.directory)/net.d"))
            cnictl ls -o json
            """
        let ended = try Command(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", whole],
            in: world.host
        ).wait()
        #expect(ended.status == 0, "\(ended.errors)")
        #expect(ended.output.contains("1 packets transmitted, 1 received"))
        #expect(ended.output.contains("explain names what is missing"))
        #expect(ended.output.contains("repaired web one eth0: masquerade of 10.99.0."))
        #expect(ended.output.contains("removed web two eth0"))
        #expect(ended.output.hasSuffix("[]\n"))
        #expect(try !world.onHost("nft list ruleset").contains("web one eth0"))
    }
}
