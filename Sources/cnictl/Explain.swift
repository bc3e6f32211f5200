import Addressing
import ArgumentParser
import CNI
import Operator
import PluginRuntime
import Plugins
import Rtnetlink
import TrafficControl

/// Says whose something is, and how its owner is.
struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Says whose something is, and what of it is missing or different.",
        discussion: """
            A container is given by its ID or the start of it, an address as it is, a port of the \
            host as 8080, :8080 or 8080/tcp, a class as tc prints it, 1:10, an interface or a \
            tenant by its name; a bridge is all that are on it. Ends with 2 if something of it is not as it should be.
            """)

    @Argument(help: "A container, an address, a port of the host, a class, an interface, a tenant.")
    var subject: String

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws { try requireWords([subject]) }

    func run() throws {
        try requireRoot()
        let inventory = try Inventory(places.sources)
        let all = inventory.attachments
        let found = all.filter { $0.isMeant(by: subject, in: all) }
        guard !found.isEmpty else {
            let classes = try classes(inventory)
            guard !classes.isEmpty else {
                throw CNIError(.unknownContainer, inventory.meaning(of: subject))
            }
            return output.print(.array(classes.map { $0.node.json() })) {
                for (link, node) in classes {
                    print("class \(subject) on \(link): \(node.title)")
                }
            }
        }
        var explanations: [Explanation] = []
        for state in found { explanations.append(Explanation(state, places.confDir)) }
        output.print(.array(explanations.map(\.json))) {
            for (index, explanation) in explanations.enumerated() {
                if index > 0 { print("") }
                explanation.print()
            }
        }
        if explanations.contains(where: \.hasFaults) { throw Exit.found }
    }
}

extension Explain {
    /// The classes that the word means and that are no container's.
    private func classes(
        _ inventory: Inventory
    ) throws -> [(link: String, node: ClassTree.Node)] {
        guard let id = ClassID(subject) else { return [] }
        return try inventory.trees().flatMap { tree in
            tree.classes.filter { $0.limiter.id == id }.map { (tree.port.link, $0) }
        }
    }
}

extension AttachmentState {
    /// Whether it is what an operator means by a word.
    fileprivate func isMeant(by word: String, in all: [AttachmentState]) -> Bool {
        if let address = IPAddress(word) ?? IPPrefix(word)?.address {
            return has(address)
        }
        if let id = ClassID(word),
            shares.contains(where: { $0.id == id || $0.tenant != nil && $0.limiter?.parent == id })
        {
            return true
        }
        let port = word.hasPrefix(":") ? String(word.dropFirst()) : word
        // A port that is asked for and leads nowhere is what somebody may be looking for.
        let sides = mappings.map { $0.hostSide.split(separator: " ").last.map(String.init) ?? "" }
        if (sides + wantedPorts).contains(where: { $0 == port || $0.hasPrefix(port + "/") }) {
            return true
        }
        return (isOf(container: word, in: all) || matches(word) || master == word)
            && word != owner.network
    }
}

/// An attachment and what the plugins find of it.
private struct Explanation {
    let state: AttachmentState
    let findings: [Inspection.Finding]
    let problem: CNIError?
    private let note: String?

    init(_ state: AttachmentState, _ configurationDirectory: String) {
        self.state = state
        note = state.cached?.change(in: configurationDirectory)
        do throws(CNIError) {
            findings = try Inspection.findings(state)
            problem = nil
        } catch {
            findings = []
            problem = error
        }
    }

    /// Whether something is not as it should be, or what is kept to tell it by cannot be read.
    var hasFaults: Bool {
        !state.isAlive || findings.contains { !$0.differences.isEmpty }
            || state.damagedResult != nil || problem != nil && state.obstacle == nil
    }

    var json: JSON {
        let objects = findings.map { finding -> JSON in
            [
                "plugin": .string(finding.plugin), "object": .string(finding.object),
                "differences": .array(finding.differences.map { .string($0) }),
                "compared": .bool(finding.isCompared),
            ]
        }
        return state.json.setting("objects", to: .array(objects))
            .setting("problem", to: problem.map { .string("\($0)") } ?? .null)
            .setting("note", to: note.map { .string($0) } ?? .null)
    }

    func print() {
        let owner = state.owner
        Swift.print(
            Terminal.styled("\(owner.containerID) \(owner.interface)", .bold)
                + " on network \(owner.network): "
                + Terminal.styled(state.stateCell.text, state.stateCell.style))
        for (name, values) in facts {
            for (index, value) in values.filter({ !$0.isEmpty }).enumerated() {
                let start = index == 0 ? "\(name):" : ""
                Swift.print("  " + start + String(repeating: " ", count: 15 - start.count) + value)
            }
        }
        if let note { Swift.print("  " + Terminal.styled(note, .yellow)) }
        if let problem { Swift.print("  " + Terminal.styled("\(problem)", .yellow)) }
        var last = ""
        for finding in findings {
            if finding.plugin != last { Swift.print("  \(finding.plugin)") }
            last = finding.plugin
            guard finding.isCompared else {
                Swift.print("    " + Terminal.styled("none of this project's", .dim))
                continue
            }
            let isGood = finding.differences.isEmpty
            Swift.print(
                "    " + Terminal.styled(isGood ? "ok  " : "BAD ", isGood ? .green : .red)
                    + finding.object)
            for difference in finding.differences {
                Swift.print("         " + Terminal.styled(difference, .red))
            }
        }
    }

    /// What is known of it, each with the lines that say it.
    private var facts: [(String, [String])] {
        let traces = AttachmentState.Trace.allCases.filter(state.traces.contains)
        let name = state.inner.map { $0.name == state.owner.interface ? "" : $0.name } ?? ""
        return [
            ("namespace", [state.netns ?? ""]),
            ("interface", [name.isEmpty ? "" : "called \(name) now"]),
            ("addresses", [state.addresses.map { "\($0)" }.joined(separator: ", ")]),
            ("host end", [state.hostEnd?.name ?? ""]),
            ("bridge", [state.master ?? ""]),
            ("mac", [state.inner?.mac.map { "\($0)" } ?? ""]),
            ("mtu", [state.mtu.map { "\($0)" } ?? ""]),
            ("ports", [state.ports.joined(separator: ", ")]),
            (
                "waits for",
                state.awaitedPorts.map { "\($0.port), which \($0.holder.tag) has" }
            ),
            ("tenant", [state.tenant ?? ""]),
            (
                "classes",
                state.shares.map { "\($0.direction) \($0.title) on \($0.port.link) \($0.limits)" }
            ),
            ("found as", [traces.map(\.rawValue).joined(separator: ", ")]),
            ("made", [state.since.map { "\(age($0)) ago" } ?? ""]),
        ]
    }
}
