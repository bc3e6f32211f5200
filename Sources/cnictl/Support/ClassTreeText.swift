import CNI
import Operator
import PluginRuntime
import TrafficControl

extension ClassTree.Node {
    private var limits: String {
        let (rate, ceil) = (limiter.rate.short, limiter.ceil.short)
        return rate == ceil ? rate : "\(rate)..\(ceil)"
    }

    /// What it is there for, in words.
    var title: String {
        switch role {
        case .link?: "the whole link"
        case .standard?: "what no class is known for"
        case .tenant(let name)?: "tenant \(name)"
        case .container(let owner)?:
            "\(owner.containerID) \(owner.interface) on \(owner.network)"
        case .part(let owner, ClassRole.rest)?: "the rest of \(owner.containerID)"
        case .part(let owner, let name)?: "class \(name) of \(owner.containerID)"
        case .processes(let network, let name)?: "processes \(name) of network \(network)"
        case nil: "without a name"
        }
    }

    /// The rows of this class and those below it, each with what goes before it.
    fileprivate func rows(
        _ first: String, _ rest: String, only isShown: (ClassTree.Node) -> Bool
    ) -> [[String]] {
        var rows = [
            [
                first + (limiter.id.map { "\($0)" } ?? "tbf"), limits,
                limiter.priority.map { "prio \($0)" } ?? "",
                shortNumber(Double(counters.bytes)) + "B", "\(counters.drops) dropped", title,
            ]
        ]
        let shown = self.shown(only: isShown)
        for (index, child) in shown.enumerated() {
            let isLast = index == shown.count - 1
            rows += child.rows(
                rest + (isLast ? "└─ " : "├─ "), rest + (isLast ? "   " : "│  "), only: isShown)
        }
        return rows
    }

    /// The classes below it that are to be shown: who asks for a tenant sees all that is in it.
    private func shown(only isShown: (ClassTree.Node) -> Bool) -> [ClassTree.Node] {
        children.contains(where: isShown) ? children.filter(isShown) : children
    }

    private var kind: String {
        switch role {
        case .link?: "link"
        case .standard?: "standard"
        case .tenant?: "tenant"
        case .container?: "container"
        case .part?: "class"
        case .processes?: "processes"
        case nil: "unknown"
        }
    }

    private var network: String? {
        if case .processes(let network, _)? = role { network } else { role?.owner?.network }
    }

    /// The class as JSON, with those below it that are to be shown.
    func json(only isShown: (ClassTree.Node) -> Bool = { _ in true }) -> JSON {
        let text = { (value: String?) -> JSON in value.map { .string($0) } ?? .null }
        return [
            "id": text(limiter.id.map { "\($0)" }), "kind": .string(kind), "name": text(role?.name),
            "rate": .integer(Int(clamping: limiter.rate.bitsPerSecond)),
            "ceil": .integer(Int(clamping: limiter.ceil.bitsPerSecond)),
            "priority": limiter.priority.map { .integer($0) } ?? .null,
            "network": text(network), "container": text(role?.owner?.containerID),
            "interface": text(role?.owner?.interface),
            "bytes": .integer(Int(clamping: counters.bytes)),
            "packets": .integer(Int(clamping: counters.packets)),
            "drops": .integer(Int(clamping: counters.drops)),
            "backlog": .integer(Int(clamping: counters.backlog)),
            "borrowed": .integer(Int(clamping: counters.borrowed)),
            "children": .array(shown(only: isShown).map { $0.json(only: isShown) }),
        ]
    }
}

extension ClassTree {
    /// The tree as JSON, of classes with others in them only those that are to be shown.
    func json(only isShown: (Node) -> Bool) -> JSON {
        [
            "group": group.map { .string($0) } ?? .null, "direction": .string("\(direction)"),
            "link": .string(port.link), "netns": port.netns.map { .string($0) } ?? .null,
            "classes": .array(roots.map { $0.json(only: isShown) }),
        ]
    }

    /// Prints the tree, of classes with others in them only those that are to be shown.
    func print(only isShown: (Node) -> Bool) {
        let isTree = roots.contains { $0.limiter.id != nil }
        let title =
            group.map { "group \($0)" } ?? (isTree ? "a tree of its own" : "a ceiling of its own")
        let place = port.netns.map { ", in \($0)" } ?? ""
        Swift.print(Terminal.styled(port.link, .bold) + ": \(direction), \(title)\(place)")
        let rows = roots.flatMap { $0.rows("", "", only: isShown) }
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
