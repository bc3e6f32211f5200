public import ArgumentParser
import CNI
import Operator
import PluginRuntime
public import TrafficControl

extension Rate: ExpressibleByArgument {
    /// Reads bits per second: `100M`, `1.5G`, `64000`.
    public init?(argument: String) {
        let units: [Character: Double] = ["k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9]
        let unit = argument.last.flatMap { units[$0] }
        let digits = unit == nil ? Substring(argument) : argument.dropLast()
        guard let number = Double(digits), number > 0, number.isFinite, number < 1e12 else {
            return nil
        }
        self.init(bitsPerSecond: UInt64(number * (unit ?? 1)))
    }
}

/// Shows trees of classes, and changes rates.
struct Shape: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the trees of traffic classes, or changes what a container may take.",
        discussion: """
            A class is shown with what is guaranteed and, behind two dots, its ceiling. Rates are \
            in bit/s: 100M, 1.5G. A change takes effect at once and loses no packet unless the \
            ceiling crosses 500 Mbit/s; it holds until the next ADD or repair of the container, \
            which go by the network's configuration.
            """)

    @Argument(help: "A container, by its ID or the start of it, to change or to show alone.")
    var container: String?

    @Option(name: .customLong("ifname"), help: "The container's interface, if it has several.")
    var interface: String?

    @Option(help: "What the container is guaranteed to send.")
    var egressRate: Rate?

    @Option(help: "What the container may send at most.")
    var egressCeil: Rate?

    @Option(help: "What the container is guaranteed to receive.")
    var ingressRate: Rate?

    @Option(help: "What the container may receive at most.")
    var ingressCeil: Rate?

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard container != nil || !isChange else {
            throw ValidationError("which container is to be changed?")
        }
        for (rate, ceil) in [(egressRate, egressCeil), (ingressRate, ingressCeil)] {
            if let rate, let ceil, rate > ceil {
                throw ValidationError("\(rate) is more than the ceiling, \(ceil)")
            }
        }
    }

    private var isChange: Bool {
        egressRate != nil || egressCeil != nil || ingressRate != nil || ingressCeil != nil
    }

    func run() throws {
        try requireRoot()
        if isChange { try change() }
        let trees = try Inventory(places.sources).trees().filter { tree in
            container.map { word in tree.roots.contains { $0.belongs(to: word) } } ?? true
        }
        output.print(.array(trees.map(\.json))) {
            for tree in trees { tree.print(only: container) }
            if trees.isEmpty { print("nothing is shaped on this host") }
        }
    }

    private func change() throws {
        let chosen = try Inventory(places.sources).attachments.filter { state in
            container.map { state.owner.containerID.hasPrefix($0) } ?? false
                && interface.map { state.owner.interface == $0 } ?? true && !state.shares.isEmpty
        }
        guard let state = chosen.first else {
            throw CNIError(.unknownContainer, "no container \(container ?? "") is shaped")
        }
        guard chosen.count == 1 else {
            let names = chosen.map(\.owner.tag).joined(separator: ", ")
            throw CNIError(.environment, "\(container ?? "") may be several: \(names)")
        }
        for (direction, rate, ceil) in [
            (Direction.egress, egressRate, egressCeil), (.ingress, ingressRate, ingressCeil),
        ] where rate != nil || ceil != nil {
            guard let share = state.share(direction) else {
                throw CNIError(.unknownContainer, "\(state.owner.tag) has no \(direction) class")
            }
            _ = try share.change(rate: rate, ceil: ceil)
        }
    }
}

extension ClassTree.Node {
    /// Whether it or a class below it is a container's.
    fileprivate func belongs(to container: String) -> Bool {
        owner?.containerID.hasPrefix(container) ?? false
            || children.contains { $0.belongs(to: container) }
    }

    private var limits: String {
        let (rate, ceil) = (trafficClass.rate.short, trafficClass.ceil.short)
        return rate == ceil ? rate : "\(rate)..\(ceil)"
    }

    fileprivate var name: String {
        if let owner { return "\(owner.containerID) \(owner.interface) on \(owner.network)" }
        switch trafficClass.id {
        case Tree.link: return "the whole link"
        case Tree.standard: return "what no class is known for"
        default: return children.isEmpty ? "nobody's" : ""
        }
    }

    /// The rows of this class and those below it, each with what goes before it.
    fileprivate func rows(_ first: String, _ rest: String, only word: String?) -> [[String]] {
        var rows = [
            [
                first + "\(trafficClass.id)", limits, "prio \(trafficClass.priority)",
                shortNumber(Double(counters.bytes)) + "B", "\(counters.drops) dropped", name,
            ]
        ]
        let shown = children.filter { child in word.map { child.belongs(to: $0) } ?? true }
        for (index, child) in shown.enumerated() {
            let isLast = index == shown.count - 1
            rows += child.rows(
                rest + (isLast ? "└─ " : "├─ "), rest + (isLast ? "   " : "│  "), only: word)
        }
        return rows
    }

    fileprivate var json: JSON {
        let text = { (value: String?) -> JSON in value.map { .string($0) } ?? .null }
        return [
            "id": .string("\(trafficClass.id)"),
            "rate": .integer(Int(clamping: trafficClass.rate.bitsPerSecond)),
            "ceil": .integer(Int(clamping: trafficClass.ceil.bitsPerSecond)),
            "priority": .integer(trafficClass.priority),
            "network": text(owner?.network), "container": text(owner?.containerID),
            "interface": text(owner?.interface),
            "bytes": .integer(Int(clamping: counters.bytes)),
            "packets": .integer(Int(clamping: counters.packets)),
            "drops": .integer(Int(clamping: counters.drops)),
            "backlog": .integer(Int(clamping: counters.backlog)),
            "borrowed": .integer(Int(clamping: counters.borrowed)),
            "children": .array(children.map(\.json)),
        ]
    }
}

extension ClassTree {
    fileprivate var json: JSON {
        [
            "group": group.map { .string($0) } ?? .null, "direction": .string("\(direction)"),
            "link": .string(link), "classes": .array(roots.map(\.json)),
        ]
    }

    fileprivate func print(only word: String?) {
        let title = group.map { "group \($0)" } ?? "a tree of its own"
        Swift.print(Terminal.styled("\(link)", .bold) + ": \(direction), \(title)")
        let rows = roots.flatMap { $0.rows("", "", only: word) }
        let widths = (0..<5).map { column in rows.map { $0[column].count }.max() ?? 0 }
        for row in rows {
            var line = ""
            for (column, cell) in row.enumerated() {
                let width = column < 5 ? widths[column] : 0
                let space = String(repeating: " ", count: max(0, width - cell.count))
                line += column == 3 || column == 4 ? space + cell : cell + space
                if column < row.count - 1 { line += "  " }
            }
            while line.hasSuffix(" ") { line.removeLast() }
            Swift.print(line)
        }
    }
}
