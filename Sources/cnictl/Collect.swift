import ArgumentParser
import CNI
import Glibc
import Operator
import PluginRuntime
import SystemPackage

/// Removes what is left of containers that have gone.
struct Collect: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Removes what is left of containers that have gone.",
        discussion: """
            Without --valid: what is gone is what has no namespace any more or, with --from, no \
            container that the runtime knows. It is looked for twice, and only what is found both \
            times is removed, by the plugins and then by its owner's tag. An ID of 12 characters or \
            more may be the start of one. With --dry-run, ends with 2 \
            if there is something to remove. With --valid: the specification's GC of one network \
            with these attachments to keep; with --all, with none. Where the network is not \
            configured any more, what carries its name is removed.
            """)

    @Argument(help: "The network; without one, all of them.")
    var network: String?

    @Option(
        help: """
            An attachment to keep; several times: CONTAINER, which is all that it has on the \
            network, or CONTAINER/INTERFACE. The container is its ID or the start of it.
            """)
    var valid: [String] = []

    @Flag(help: "With --valid or alone: nothing of the network is to be kept.")
    var all = false

    @Option(help: "Who knows the containers: crictl, podman, or - for IDs on standard input.")
    var from: String?

    @Option(help: "Seconds between the two looks.")
    var interval: Double = 2

    @Flag(help: "Only tells what would be removed.")
    var dryRun = false

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try requireWords([network].compactMap(\.self) + valid)
        if !valid.isEmpty || all {
            guard network != nil, from == nil, !dryRun else {
                throw ValidationError(
                    "--valid and --all need a network, and neither --from nor --dry-run")
            }
        }
        if let from, !["crictl", "podman", "-"].contains(from) {
            throw ValidationError("--from takes crictl, podman or -")
        }
        try requirePause(interval, atLeast: 0)
    }

    func run() throws {
        try requireRoot()
        if let network, !valid.isEmpty || all { return try collect(network) }
        let network = try network.map { try name(of: $0) }
        let input = try from == "-" ? Self.readIDs() : nil
        // The look at the host comes before the runtime's list: who is added meanwhile is in
        // neither, and so nobody takes him for gone.
        let first = try look(input).filter { network == nil || $0.owner.network == network }
        if !first.isEmpty, !dryRun { pause(interval) }
        let second = dryRun ? first : try look(input)
        let owners = Set(first.map(\.owner))
        let stale = second.filter { owners.contains($0.owner) }
        var outcomes: [(state: AttachmentState, failure: CNIError?)] = []
        for state in stale {
            var failure: CNIError?
            if !dryRun {
                do throws(CNIError) {
                    try collector.remove(state)
                } catch {
                    failure = error
                }
            }
            outcomes.append((state, failure))
        }
        output.print(json(outcomes)) {
            show(outcomes)
            if outcomes.isEmpty { print("nothing is left of containers that have gone") }
        }
        if outcomes.contains(where: { $0.failure != nil }) { throw Exit.failed }
        if dryRun, !outcomes.isEmpty { throw Exit.found }
    }

    private var collector: Collector {
        Collector(places.runtime, configurationDirectory: places.confDir, sources: places.sources)
    }

    /// GC of one network, which keeps what is valid.
    private func collect(_ network: String) throws {
        let there = try host().attachments
        let name = try name(of: network)
        let list = try? places.network(network)
        let own = there.filter { $0.owner.network == name }
        let kept = try Collector.Kept(valid, of: own, on: name)
        for word in kept.strangers {
            Terminal.complain("--valid \(word): nobody on \(name) is that")
        }
        let (outcomes, failure) = try collector.collect(list, own, keeping: kept)
        output.print(
            [
                "network": .string(name), "kept": .integer(own.count - outcomes.count),
                "outcomes": json(outcomes),
            ]
        ) {
            show(outcomes)
            if outcomes.isEmpty { print("nothing of network \(name) is to be removed") }
        }
        if let failure { throw failure }
        if outcomes.contains(where: { $0.failure != nil }) { throw Exit.failed }
    }

    /// The name of a network that is configured, or that somebody is still attached to.
    private func name(of network: String) throws -> String {
        let isUsed = try Inventory(places.sources).attachments.contains {
            $0.owner.network == network
        }
        return isUsed ? network : try places.network(network).name
    }

    /// What there is on the host, which must be one.
    private func host() throws -> Inventory {
        let inventory = try Inventory(places.sources)
        try Collector.requireHost(inventory)
        return inventory
    }

    private func look(_ input: Set<String>?) throws -> [AttachmentState] {
        let inventory = try host()
        let known = try from.map { try input ?? Self.containers(of: $0) }
        if let known, let from {
            try Collector.requireKnowledge(
                inventory, known, from: from == "-" ? "standard input" : from)
        }
        return Collector.stale(inventory, known: known)
    }

    private func json(_ outcomes: [(state: AttachmentState, failure: CNIError?)]) -> JSON {
        .array(
            outcomes.map { outcome in
                outcome.state.json
                    .setting("removed", to: .bool(!dryRun && outcome.failure == nil))
                    .setting("error", to: outcome.failure.map { .string("\($0)") } ?? .null)
            })
    }

    private func show(_ outcomes: [(state: AttachmentState, failure: CNIError?)]) {
        for (state, failure) in outcomes {
            let what = AttachmentState.Trace.allCases.filter(state.traces.contains)
                .map(\.rawValue).joined(separator: ", ")
            let verb = dryRun ? "would remove" : failure == nil ? "removed" : "could not remove"
            print(
                Terminal.styled(verb, failure == nil ? .green : .red)
                    + " \(state.owner.tag): \(what)" + (failure.map { ": \($0)" } ?? ""))
        }
    }

    /// The IDs on standard input, one a line.
    ///
    /// A list that is none, because the program that should have written it has failed or writes
    /// something else, would take its network from every container.
    private static func readIDs() throws(CNIError) -> Set<String> {
        var ids: Set<String> = []
        while let line = readLine() {
            let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
            guard let id = words.first else { continue }
            let isID = id.wholeMatch(of: #/[A-Za-z0-9][A-Za-z0-9_.\-]*/#) != nil
            guard isID, words.count == 1 else {
                throw CNIError(
                    .invalidConfiguration,
                    "standard input: \"\(words.joined(separator: " "))\" is no container's ID")
            }
            ids.insert(id)
        }
        guard !ids.isEmpty else {
            throw CNIError(
                .invalidConfiguration,
                "standard input names no container: to keep nothing of a network, gc NETWORK --all")
        }
        return ids
    }

    /// The containers that a runtime knows of; what it cannot say is an error, not an empty list.
    private static func containers(of runtime: String) throws(CNIError) -> Set<String> {
        let words =
            runtime == "crictl"
            ? ["crictl", "pods", "--quiet", "--no-trunc"]
            : ["podman", "ps", "--all", "--quiet", "--no-trunc"]
        let text = try HelperProgram(words).output()
        return Set(text.split(whereSeparator: \.isWhitespace).map(String.init))
    }
}
