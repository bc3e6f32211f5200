import ArgumentParser
import CNI
import FoundationEssentials
import Glibc
import Operator
import PluginRuntime

/// Puts back what somebody has removed.
struct RepairCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair",
        abstract: "Puts back what a firewall reload or somebody has removed or changed.",
        discussion: """
            Every object of every attachment whose container is there is compared with what its \
            plugin wants, and made so. Traffic goes on meanwhile. An attachment is left out whose \
            container has gone, or of which no result is kept. Who was attached first comes first. With --dry-run, ends with 2 if there \
            is something to repair.
            """)

    @Argument(help: "Only attachments whose network, tenant, container or interface is this.")
    var filter: [String] = []

    @Flag(help: "Only tells what is not as it should be.")
    var dryRun = false

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws { try requireWords(filter) }

    func run() throws {
        try requireRoot()
        let chosen = try Inventory(places.sources).attachments.chosen(by: filter)
        guard filter.isEmpty || !chosen.isEmpty else {
            throw CNIError(
                .unknownContainer, "no attachment is \(filter.joined(separator: " and "))")
        }
        // What is left of a container that has gone is gc's. Of two that want one port, the one that came
        // first had it.
        let known = chosen.filter { $0.obstacle == nil }.sorted {
            ($0.since ?? .distantFuture) < ($1.since ?? .distantFuture)
        }
        let steps = known.flatMap { state in
            Repair.run(state, onlyTells: dryRun).map { (state: state, step: $0) }
        }
        if !dryRun { try removeWhatHasGone(of: steps.map(\.state.owner)) }
        show(steps, of: known, leavingOut: chosen.filter { $0.obstacle != nil })
        if steps.contains(where: { $0.step.failure != nil }) { throw Exit.failed }
        if dryRun, !steps.isEmpty { throw Exit.found }
    }

    /// Removes again what was put back for containers that have gone meanwhile.
    ///
    /// A DEL and this do not wait for each other: what DEL has removed looks like something that was lost.
    private func removeWhatHasGone(of repaired: [Owner]) throws {
        guard !repaired.isEmpty else { return }
        // Longer than a chain's DEL goes on after its first plugin.
        sleep(1)
        let collector = Collector(
            places.runtime, configurationDirectory: places.confDir, sources: places.sources)
        for state in try Inventory(places.sources).attachments
        where repaired.contains(state.owner) && !state.isAlive && state.cached == nil {
            try collector.remove(state)
        }
    }

    private func show(
        _ steps: [(state: AttachmentState, step: Repair.Step)], of known: [AttachmentState],
        leavingOut others: [AttachmentState]
    ) {
        let json = steps.map { state, step -> JSON in
            [
                "network": .string(state.owner.network),
                "container": .string(state.owner.containerID),
                "interface": .string(state.owner.interface), "plugin": .string(step.plugin),
                "object": .string(step.object),
                "differences": .array(step.differences.map { .string($0) }),
                "repaired": .bool(!dryRun && step.failure == nil),
                "error": step.failure.map { .string($0) } ?? .null,
            ]
        }
        output.print(.array(json)) {
            for (state, step) in steps {
                let (word, style): (String, Terminal.Style) =
                    step.failure != nil
                    ? ("not repaired", .red)
                    : dryRun ? ("to repair", .yellow) : ("repaired", .green)
                let reasons = [step.differences.joined(separator: "; "), step.failure ?? ""]
                print(
                    Terminal.styled(word, style) + " "
                        + ([state.owner.tag, step.object] + reasons.filter { !$0.isEmpty })
                        .joined(separator: ": "))
            }
            for state in others {
                print(
                    Terminal.styled("left out", .dim)
                        + " \(state.owner.tag): \(state.obstacle ?? "")")
            }
            guard steps.isEmpty, !known.isEmpty || others.isEmpty else { return }
            print(
                known.count == 1
                    ? "1 attachment is as it should be"
                    : "\(known.count) attachments are as they should be")
        }
    }
}
