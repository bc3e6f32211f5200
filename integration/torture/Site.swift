import Foundation

/// A subject in a world of its own: a container to work on, a neighbour if there can be one, and
/// what the host and the container are like without an attachment.
final class Site {
    let subject: Subject
    let world: World
    let network: Network
    let container: World.Container
    private(set) var neighbours: [World.Container] = []
    private let before: Snapshot
    private let inside: Snapshot

    init(_ subject: Subject) throws {
        self.subject = subject
        world = try World()
        // The order of what is looked up by keys, and with it of system calls, is that of the run before.
        world.environment["SWIFT_DETERMINISTIC_HASHING"] = "1"
        container = try world.container()
        network = try subject.network(for: 0, in: world)
        let shared = try subject.network(for: 1, in: world)
        // What is shared and stays is there from now on, as are the addresses that the kernel gives
        // to a loopback interface when it first comes up.
        try container.output(of: "ip link set lo up")
        try container.output(of: "ip link set lo down")
        let neighbour = try world.container()
        try shared.add(neighbour, interface: subject.interface)
        if subject.isShared {
            neighbours.append(neighbour)
        } else {
            try shared.del(neighbour, interface: subject.interface)
        }
        // An address that is tentative brings a route when it no longer is.
        try world.waitForAddresses()
        before = try Snapshot(of: world)
        inside = try Snapshot(of: container)
    }

    /// Where a verb can be interfered with: a system call of one of the chain's plugins.
    struct Point: Sendable, CustomStringConvertible {
        let verb: String
        /// The plugin's place in the chain.
        let plugin: Int
        let type: String
        /// The call, counted from 1.
        let number: Int
        let call: String
        /// Whether the program has been started, not just its loader.
        let isInProgram: Bool
        /// Whether it writes the answer, which is the last that is written.
        var writesAnswer = false

        var description: String { "\(verb) of \(type) at call \(number), \(call)" }
    }

    /// The points of a verb, in order, as a run shows them that nothing interferes with.
    ///
    /// It is the second: what lasts in a container when its first attachment has gone is not done again.
    func points(of verb: String) throws -> [Point] {
        try attach()
        try clear()
        var points: [Point] = []
        results = []
        if verb != "ADD" { try attach() }
        let log = "\(world.directory).trace"
        defer { try? FileManager.default.removeItem(atPath: log) }
        for (index, plugin) in order(of: verb) {
            let ended = try call(verb, index, through: ["-l", log])
            guard ended.succeeded else {
                throw Failure("\(subject): \(verb): \(ended.output)\(ended.errors)")
            }
            let calls = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
            // What the C library does first, when the loader is done.
            let start = calls.firstIndex(of: "getrandom") ?? 0
            let answer = calls.lastIndex(of: "write")
            for (number, name) in calls.enumerated() {
                points.append(
                    Point(
                        verb: verb, plugin: index, type: plugin["type"].string ?? "",
                        number: number + 1, call: String(name), isInProgram: number >= start,
                        writesAnswer: number == answer))
            }
        }
        try clear()
        return points
    }

    /// Brings a verb to a point's plugin and runs that as `options` of interfere(1) say.
    func run(to point: Point, _ options: [String]) throws -> Command.Ended {
        try approach(point)
        return try call(point.verb, point.plugin, through: options)
    }

    /// Runs what comes before a point's plugin.
    func approach(_ point: Point) throws {
        results = []
        if point.verb != "ADD" { try attach() }
        for (index, _) in order(of: point.verb) {
            guard index != point.plugin else { break }
            let ended = try call(point.verb, index)
            guard ended.succeeded else { throw Failure("\(point): \(ended.output)") }
        }
    }

    /// Calls one plugin of the chain, and interferes as `options` of interfere(1) say.
    func call(_ point: Point, _ options: [String]) throws -> Command.Ended {
        try call(point.verb, point.plugin, through: options)
    }

    /// CHECK of one plugin of the chain.
    func check(_ plugin: Int) throws {
        let ended = try call("CHECK", plugin)
        guard ended.succeeded else { throw Failure("CHECK: \(ended.output)\(ended.errors)") }
    }

    /// ADD of the whole chain.
    func attach() throws {
        results = []
        for index in network.plugins.indices {
            let ended = try call("ADD", index)
            guard ended.succeeded else {
                throw Failure("ADD of \(subject): \(ended.output)\(ended.errors)")
            }
        }
    }

    /// DEL of the whole chain, as of a runtime that has lost the result.
    func detach() throws {
        results = []
        for (index, plugin) in order(of: "DEL") {
            let ended = try call("DEL", index)
            guard ended.succeeded else {
                throw Failure("DEL of \(plugin["type"]): \(ended.output)\(ended.errors)")
            }
        }
    }

    /// GC of the whole chain, the neighbours being valid.
    func collect() throws {
        for (index, plugin) in order(of: "GC") {
            let ended = try call("GC", index)
            guard ended.succeeded else {
                throw Failure("GC of \(plugin["type"]): \(ended.output)\(ended.errors)")
            }
        }
    }

    /// Removes whatever there is of the container.
    func clear() throws {
        try detach()
        try detach()
        try collect()
    }

    /// The host and the container as they are.
    func state() throws -> (host: Snapshot, inside: Snapshot) {
        (try Snapshot(of: world), try Snapshot(of: container))
    }

    /// What is left on the host, and in the container, of an attachment.
    func leftovers(
        inside isInside: Bool = true, from state: (host: Snapshot, inside: Snapshot)? = nil
    ) throws -> String {
        let state = state ?? (before, inside)
        var difference = try Snapshot(of: world).difference(from: state.host)
        guard isInside else { return difference }
        let lasts = { (line: Substring) in
            self.subject.lastsInside.map { line.hasPrefix($0) } ?? false
        }
        for line in try Snapshot(of: container).difference(from: state.inside).split(
            separator: "\n")
        where !lasts(line) {
            difference += "\nin the container: \(line)"
        }
        return difference
    }

    // MARK: - Calls

    /// The answers of the chain's plugins so far.
    private var results: [JSON] = []

    /// The chain in a verb's order.
    private func order(of verb: String) -> [(Int, JSON)] {
        let all = Array(network.plugins.enumerated()).map { ($0.offset, $0.element) }
        return verb == "DEL" ? all.reversed() : all
    }

    /// Calls one plugin of the chain, as a runtime does.
    private func call(
        _ verb: String, _ index: Int, through options: [String] = []
    ) throws -> Command.Ended {
        let plugin = network.plugins[index]
        let previous = verb == "GC" ? nil : results.last
        var keys: JSON = "{}"
        if verb == "GC" {
            let valid = neighbours.map { ["containerID": $0.id, "ifname": subject.interface] }
            keys["cni.dev/valid-attachments"] = JSON(valid)
        }
        let ended = try world.start(
            plugin["type"].string ?? "", verb,
            network.configuration(plugin, previous: previous, with: keys).description,
            container: container.id, namespace: container.path, interface: subject.interface,
            through: options.isEmpty ? [] : ["\(World.build)/interfere"] + options
        ).wait()
        if verb == "ADD", ended.succeeded { results.append(ended.json) }
        return ended
    }
}
