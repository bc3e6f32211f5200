import Foundation
import Testing

@Suite("every system call", .enabled(if: isRoot), .serialized)
struct SystemCallTests {
    let world: World
    let network: Network
    let container: World.Container

    init() throws {
        world = try World()
        network = Network(ipam: BridgeTests.dualStack, version: "1.1.0", in: world)
        container = try world.container()
    }

    /// How long a test's kills or faults may take, in seconds; a slow machine tries fewer points.
    private static let budget: TimeInterval = Double(ProcessInfo.processInfo.environment["BUDGET"] ?? "15") ?? 15

    /// Runs a verb of the bridge plugin under strace(1), which interferes as `inject` says.
    private func call(_ verb: String, _ rules: String..., log: String = "/dev/null") throws
        -> Command.Ended
    {
        let environment = [
            "CNI_COMMAND": verb, "CNI_CONTAINERID": container.id, "CNI_NETNS": container.path,
            "CNI_IFNAME": "eth0", "CNI_PATH": world.plugins,
            "PATH": "/usr/sbin:/usr/bin",
        ]
        var keys: JSON = "{}"
        if verb == "GC" { keys["cni.dev/valid-attachments"] = JSON([]) }
        return try Command(
            ["strace", "-f", "-qq", "-o", log] + rules.flatMap { ["-e", $0] } + ["\(world.plugins)/bridge"],
            environment: environment,
            input: Array(network.configuration(with: keys).description.utf8), in: world.host
        ).wait()
    }

    /// A system call of a verb: the how manieth of its name.
    private struct Point: CustomStringConvertible {
        let name: String
        let number: Int
        var description: String { "\(name) \(number)" }
        /// What makes strace end the program there.
        var kill: String { "inject=\(name):signal=KILL:when=\(number)" }
    }

    /// The system calls of a verb, in order.
    private func trace(_ verb: String) throws -> [Point] {
        let log = "\(NSTemporaryDirectory())\(container.id).trace"
        defer { try? FileManager.default.removeItem(atPath: log) }
        let ended = try call(verb, log: log)
        guard ended.succeeded else { throw Failure("\(verb): \(ended.output)\(ended.errors)") }
        let text = try String(contentsOfFile: log, encoding: .utf8)
        var counts: [String: Int] = [:]
        return text.split(separator: "\n").compactMap { line in
            let call = line.split(separator: " ", maxSplits: 1).last ?? ""
            guard let end = call.firstIndex(of: "("), !call.hasPrefix("exec") else { return nil }
            let name = String(call[..<end])
            counts[name, default: 0] += 1
            return Point(name: name, number: counts[name] ?? 0)
        }
    }

    /// Goes through `points` so that any beginning of the walk is spread over all of them, until
    /// the budget is spent; returns how many were visited.
    private func spread(_ points: [Point], _ visit: (Point) throws -> Void) rethrows -> Int {
        let end = Date(timeIntervalSinceNow: Self.budget)
        let stride = 7
        var visited = 0
        for start in 0..<stride {
            for index in Swift.stride(from: start, to: points.count, by: stride) {
                guard Date() < end else { return visited }
                try visit(points[index])
                visited += 1
            }
        }
        return visited
    }

    private func expectGone(_ before: Snapshot, _ inside: Snapshot, _ place: String) throws {
        let onHost = try Snapshot(of: world).difference(from: before)
        #expect(onHost == "", "\(place)")
        let inContainer = try Snapshot(of: container).difference(from: inside)
        #expect(inContainer == "", "\(place)")
    }

    @Test(
        "killed at any system call, a verb leaves nothing that two DELs do not remove",
        arguments: ["ADD", "DEL", "GC"])
    func kill(verb: String) throws {
        // GC takes every attachment away: there is no neighbour then, and only the bridge stays.
        if verb == "GC" {
            try network.add(container)
            try network.del(container)
        } else {
            try network.add(try world.container())
        }
        let before = try Snapshot(of: world)
        let inside = try Snapshot(of: container)
        if verb != "ADD" { try network.add(container) }
        let points = try trace(verb)
        try network.del(container)
        let visited = try spread(points) { point in
            if verb != "ADD" { try network.add(container) }
            let ended = try call(verb, point.kill)
            #expect(!ended.succeeded, "\(verb) \(point)")
            try network.del(container, withResult: false)
            try network.del(container, withResult: false)
            try expectGone(before, inside, "\(verb) killed at call \(point)")
            try network.add(container)
            try network.del(container)
        }
        print("\(verb): killed at \(visited) of \(points.count) system calls")
    }

    @Test("killed at any system call, an ADD leaves nothing that GC alone does not remove")
    func collect() throws {
        try network.add(container)
        try network.del(container)
        let before = try Snapshot(of: world)
        let inside = try Snapshot(of: container)
        let points = try trace("ADD")
        try network.del(container)
        let visited = try spread(points) { point in
            let ended = try call("ADD", point.kill)
            #expect(!ended.succeeded, "ADD \(point)")
            let gc = try call("GC")
            #expect(gc.succeeded, "\(point): \(gc.output)\(gc.errors)")
            try expectGone(before, inside, "ADD killed at call \(point), then GC")
        }
        print("ADD and GC: killed at \(visited) of \(points.count) system calls")
    }
}
