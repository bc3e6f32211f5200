import Foundation
import Testing

@Suite("cnictl tells what is missing, and gives it back to whom it was given", .enabled(if: isRoot))
struct CnictlMissingTests {
    @Test(
        "repair gives a port that two want to the one that had it, and the other waits for it again"
    )
    func contested() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        // Whose name comes first in every list came second.
        let add = { (id: String) in
            _ = try cnictl.output(
                of: "add shaped \(world.container(id).path) --container-id \(id) "
                    + "--cap portMappings=[{\"hostPort\":8080,\"containerPort\":80}]")
        }
        try add("db")
        for _ in 0..<2 {
            #expect(try cnictl.json("ls web")[0]["ports"].array.count == 1)
            let second = try cnictl.json("ls db")[0]
            #expect(second["ports"].array.isEmpty)
            #expect(second["awaitedPorts"][0]["holder"].string == "shaped web eth0")
            try world.onHost("nft flush ruleset")
            try cnictl.output(of: "repair")
        }
    }

    @Test("a port that is not in the kernel's queue is missing, and not waited for")
    func lostPort() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web", "db"])
        try world.onHost("nft flush ruleset")
        try cnictl.output(of: "repair db")
        try cnictl.output(of: "del shaped --container-id db")
        try cnictl.output(
            of: "add shaped \(world.container("job").path) --container-id job "
                + "--cap portMappings=[{\"hostPort\":8080,\"containerPort\":80}]")
        #expect(try cnictl.json("ls web")[0]["awaitedPorts"].array.isEmpty)
        #expect(try cnictl.run("explain web").status == 2)
        // Behind the one that has it by now, it is.
        try cnictl.output(of: "repair web")
        #expect(
            try cnictl.json("ls web")[0]["awaitedPorts"][0]["holder"].string == "shaped job eth0")
    }

    @Test("ls says that a container lacks what it was given, and how it gets it back")
    func hint() throws {
        let world = try World()
        let (cnictl, _) = try world.attached(["web"])
        #expect(try cnictl.run("ls").errors == "")
        try world.onHost("nft flush ruleset")
        let listed = try cnictl.run("ls")
        #expect(listed.status == 0)
        #expect(
            listed.errors.contains(
                "shaped web eth0 lacks what it was given: explain web names it, repair puts it back"
            ),
            "\(listed.errors)")
        try cnictl.output(of: "repair")
        #expect(try cnictl.run("ls").errors == "")
    }

    @Test("a port of a bridge that somebody has disabled is found, and repaired")
    func disabledPort() throws {
        let world = try World()
        let (cnictl, containers) = try world.attached(["web"])
        let end = try cnictl.json("ls web")[0]["hostInterface"].string ?? ""
        try world.onHost("bridge link set dev \(end) state 0")
        let ended = try cnictl.run("explain web")
        #expect(ended.status == 2)
        #expect(ended.output.contains("port enabled: wanted true, found false"), "\(ended.output)")
        #expect(
            try cnictl.run("check shaped \(containers[0].path) --container-id web").status == 2)
        try cnictl.output(of: "repair")
        #expect(try containers[0].run("ping -c 1 -w 10 10.99.0.1").succeeded)
        #expect(try cnictl.run("explain web").status == 0)
    }
}
