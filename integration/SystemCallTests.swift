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
    private static let budget: TimeInterval = 10

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
            ["strace", "-f", "-qq", "-o", log] + rules.flatMap { ["-e", $0] } + [
                "\(world.plugins)/bridge"
            ],
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
            let call = line.drop { $0 != " " }.drop { $0 == " " }  // after the process ID
            guard let end = call.firstIndex(of: "("), !call.hasPrefix("exec") else { return nil }
            let name = String(call[..<end])
            counts[name, default: 0] += 1
            return Point(name: name, number: counts[name] ?? 0)
        }
    }

    /// Goes through `points` so that any beginning of the walk is spread over all of them, until
    /// the budget is spent; returns how many were visited.
    private func spread<Point>(_ points: [Point], _ visit: (Point) throws -> Void) rethrows -> Int {
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
        var killed = 0
        let visited = try spread(points) { point in
            if verb != "ADD" { try network.add(container) }
            let ended = try call(verb, point.kill)
            // Where the table of addresses differs, a run may be a few calls shorter.
            #expect(
                ended.status == -SIGKILL || ended.succeeded, "\(verb) \(point): \(ended.output)")
            if !ended.succeeded { killed += 1 }
            try network.del(container, withResult: false)
            try network.del(container, withResult: false)
            try expectGone(before, inside, "\(verb) killed at call \(point)")
            try network.add(container)
            try network.del(container)
        }
        #expect(killed * 10 > visited * 9)
        print("\(verb): killed at \(killed) of \(points.count) system calls")
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
            #expect(ended.status == -SIGKILL || ended.succeeded, "ADD \(point): \(ended.output)")
            let gc = try call("GC")
            #expect(gc.succeeded, "\(point): \(gc.output)\(gc.errors)")
            try expectGone(before, inside, "ADD killed at call \(point), then GC")
            try network.del(container, withResult: false)
        }
        print("ADD and GC: killed at \(visited) of \(points.count) system calls")
    }

    /// What can go wrong with the system calls that reach outside the process.
    private static let faults: [(calls: Set<String>, errors: [String])] = [
        (["openat", "mkdirat", "renameat2"], ["ENOMEM", "EIO", "ENOSPC"]),
        (["openat2", "setns", "socket", "flock", "getdents64"], ["ENOMEM", "EPERM"]),
        (["write", "pwrite64"], ["ENOSPC", "EIO"]),
        (["unlinkat", "pread64", "fstat", "newfstatat", "utimensat", "futimens"], ["EIO"]),
        (["read"], ["EIO", "EINTR"]),
        (["sendto"], ["ENOBUFS", "ENOMEM", "EINTR"]),
        (["recvmsg"], ["ENOBUFS", "EINTR"]),
    ]

    @Test("an ADD does not wait for whoever else has locked the host's namespace")
    func foreignLock() throws {
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

    @Test(
        "with an error at any system call, a verb fails whole or the next DEL finds what is left",
        arguments: ["ADD", "DEL"])
    func fault(verb: String) throws {
        try network.add(try world.container())
        let before = try Snapshot(of: world)
        let inside = try Snapshot(of: container)
        if verb == "DEL" { try network.add(container) }
        let points = try trace(verb)
        try network.del(container)
        let faults = points.flatMap { point in
            Self.faults.filter { $0.calls.contains(point.name) }.flatMap(\.errors).map {
                (point, $0)
            }
        }
        var failed = 0
        let visited = try spread(faults) { point, error in
            if verb == "DEL" { try network.add(container) }
            let rule = "inject=\(point.name):error=\(error):when=\(point.number)"
            let ended = try call(verb, rule)
            let place = "\(verb) with \(error) at \(point): \(ended.output)"
            // Before main() the loader's errors are its own, and at the end there may be none.
            let isAnswered = ended.json["code"].number != nil
            if isAnswered {
                failed += 1
                #expect(ended.json["msg"].string?.contains(":") == true, "\(place)")
            }
            if verb == "DEL" ? ended.succeeded : isAnswered {
                try expectGone(before, inside, place)
            }
            try network.del(container, withResult: false)
            try expectGone(before, inside, "\(place), then DEL")
            try network.add(container)
            try network.del(container)
        }
        print("\(verb): \(visited) of \(faults.count) faults, \(failed) of them an error")
    }
}
