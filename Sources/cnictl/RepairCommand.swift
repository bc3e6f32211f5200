internal import PluginRuntime
import ArgumentParser
import CNI
import Operator

/// Puts back what somebody has removed.
struct RepairCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair",
        abstract: "Puts back what a firewall reload or somebody has removed or changed.",
        discussion: """
            Every object of every attachment whose container is there is compared with what its \
            plugin wants, and made so. Traffic goes on meanwhile. With --dry-run, ends with 2 if \
            there is something to repair.
            """)

    @Argument(help: "Only attachments whose network, tenant, container or interface is this.")
    var filter: [String] = []

    @Flag(help: "Only tells what is not as it should be.")
    var dryRun = false

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func run() throws {
        try requireRoot()
        let inventory = try Inventory(places.sources)
        let chosen = inventory.attachments.filter { state in
            !state.isOrphan && state.cached != nil && filter.allSatisfy { state.matches($0) }
        }
        var steps: [(state: AttachmentState, step: Repair.Step)] = []
        for state in chosen {
            steps += try Repair.run(state, onlyTells: dryRun).map { (state, $0) }
        }
        show(steps, of: chosen.count)
        if steps.contains(where: { $0.step.failure != nil }) { throw Exit.failed }
        if dryRun, !steps.isEmpty { throw Exit.found }
    }

    private func show(_ steps: [(state: AttachmentState, step: Repair.Step)], of count: Int) {
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
                    dryRun
                    ? ("to repair", .yellow)
                    : step.failure == nil ? ("repaired", .green) : ("not repaired", .red)
                print(
                    Terminal.styled(word, style) + " \(state.owner.tag): \(step.object): "
                        + step.differences.joined(separator: "; ")
                        + (step.failure.map { ": \($0)" } ?? ""))
            }
            if steps.isEmpty { print("\(count) attachments are as they should be") }
        }
    }
}
