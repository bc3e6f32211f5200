import Foundation
import Testing

@Suite("many at once, and many that die", .enabled(if: isRoot), .serialized)
struct StormTests {
    let world: World

    init() throws { world = try World() }

    /// The bridge stays when its last container goes, as in the reference; this takes it away.
    private func removeBridge() throws { try world.onHost("ip link del cni0") }

    @Test("64 ADDs at once on a bridge that is not there yet, then 64 DELs, twenty rounds")
    func storm() throws {
        let network = Network(ipam: BridgeTests.dualStack, in: world)
        let containers = try (0..<64).map { _ in try world.container() }
        let configuration = network.configuration().description
        let all = { (verb: String) in
            let calls = try containers.map { container in
                try world.start(
                    "bridge", verb, configuration, container: container.id,
                    namespace: container.path)
            }
            return calls.map { $0.wait() }
        }
        let before = try Snapshot(of: world)
        for round in 0..<20 {
            let added = try all("ADD")
            for ended in added where !ended.succeeded {
                Issue.record("ADD in round \(round): \(ended.output)\(ended.errors)")
            }
            let addresses = added.flatMap { $0.json["ips"].array.map { $0["address"].string } }
            #expect(addresses.count == 128)
            #expect(Set(addresses).count == 128)
            #expect(try world.ip("link show master cni0").array.count == 64)
            if round == 0 {
                #expect(try containers[0].reaches("10.71.0.1"))
                #expect(try containers[0].reaches("fd00:71::1"))
            }
            for ended in try all("DEL") where !ended.succeeded {
                Issue.record("DEL in round \(round): \(ended.output)\(ended.errors)")
            }
            try removeBridge()
            let difference = try Snapshot(of: world).difference(from: before)
            #expect(difference == "")
        }
    }

    @Test("a kill at any moment of ADD, a thousand times, and one DEL for each: nothing is left")
    func kill() throws {
        let network = Network(ipam: BridgeTests.dualStack, in: world)
        let configuration = network.configuration().description
        let neighbour = try world.container()
        try network.add(neighbour)
        let container = try world.container()
        let inside = try Snapshot(of: container)
        let before = try Snapshot(of: world)
        let call = { (verb: String, id: String) in
            try world.start(
                "bridge", verb, configuration, container: id, namespace: container.path)
        }
        // About as long as an ADD takes here now, in microseconds.
        var longest = 10_000.0

        var killed = 0
        for number in 0..<1000 {
            let add = try call("ADD", "dies\(number)")
            usleep(UInt32.random(in: 0...UInt32(longest)))
            Glibc.kill(add.process, SIGKILL)
            if add.wait().status == -SIGKILL {
                killed += 1
                longest = min(longest * 1.05, 1_000_000)
            } else {
                longest = max(longest * 0.95, 1_000)
            }
            let del = try call("DEL", "dies\(number)").wait()
            #expect(del.succeeded, "\(number): \(del.output)\(del.errors)")
            if number % 100 == 99 {
                let onHost = try Snapshot(of: world).difference(from: before)
                #expect(onHost == "", "after \(number)")
                let inContainer = try Snapshot(of: container).difference(from: inside)
                #expect(inContainer == "", "after \(number)")
            }
        }
        #expect(killed > 200, "too few of the calls were killed to prove anything")
        #expect(try network.check(neighbour) == nil)
        #expect(
            world.files("web").filter { !$0.hasPrefix("l") } == ["10.71.0.2", "fd00:71::2"])
    }

    @Test("an ADD does not wait for whoever else has locked the host's namespace")
    func foreignLock() throws {
        let network = Network(ipam: BridgeTests.dualStack, in: world)
        let container = try world.container()
        let holder = try Command(
            ["flock", "-xF", "/proc/self/ns/net", "sleep", "20"], in: world.host)
        defer {
            Glibc.kill(holder.process, SIGKILL)
            _ = holder.wait()
        }
        let start = Date()
        try network.add(container)
        #expect(Date().timeIntervalSince(start) < 10)
        try network.del(container)
    }
}
