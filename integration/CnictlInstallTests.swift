import Foundation
import Testing

@Suite("cnictl install", .enabled(if: isRoot))
struct CnictlInstallTests {
    @Test(
        "puts every plugin in its place once, takes over what is there, and skips what it is told to"
    )
    func install() throws {
        let world = try World()
        let cnictl = try Cnictl(world)
        let place = world.directory + "/opt/cni/bin"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        for name in ["bridge", "dhcp", "portmap"] {
            try "another's".write(toFile: "\(place)/\(name)", atomically: true, encoding: .utf8)
        }
        let command = "install --dest \(place) --from \(world.plugins) --skip portmap"
        #expect(try cnictl.output(of: command).contains("installed swift-cni, bandwidth, bridge"))
        #expect(world.file("opt/cni/bin/dhcp") == "another's")
        #expect(world.file("opt/cni/bin/portmap") == "another's")
        #expect(
            try run("stat -c %i \(place)/bridge \(place)/swift-cni").output.split(separator: "\n")
                .count == 2)
        #expect(try run("\(place)/bridge").succeeded)
        #expect(world.files("opt/cni/bin").allSatisfy { !$0.hasSuffix(".new") })
        let again = try cnictl.json(command).array
        #expect(!again.isEmpty && again.allSatisfy { $0["changed"].bool == false })
        #expect(try cnictl.run("install --dest \(place) --from /no/such").status == 1)
        let stranger = try cnictl.run("install --dest \(place) --skip nosuch")
        #expect(stranger.status == 64)
        #expect(stranger.errors.contains("--skip nosuch: the plugins are bandwidth, bridge"))
    }
}
