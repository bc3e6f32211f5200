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
            which go by the network's configuration. Classes inside a container that had its \
            ceiling get the new one with it.
            """)

    @Argument(help: "A container, by its ID or the start of it, to change or to show alone.")
    var container: String?

    @Option(name: .customLong("ifname"), help: "The container's interface, if it has several.")
    var interface: String?

    @Option(name: .customLong("class"), help: "A class inside the container, by its name.")
    var part: String?

    @Option(help: "Instead of a container, a tenant, by its name.")
    var tenant: String?

    @Option(help: "What is guaranteed of what is sent.")
    var egressRate: Rate?

    @Option(help: "What may be sent at most.")
    var egressCeil: Rate?

    @Option(help: "What is guaranteed of what is received.")
    var ingressRate: Rate?

    @Option(help: "What may be received at most.")
    var ingressCeil: Rate?

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard container != nil || tenant != nil || !isChange else {
            throw ValidationError("which container or tenant is to be changed?")
        }
        guard container == nil || tenant == nil else {
            throw ValidationError("a container and --tenant exclude each other")
        }
        guard container != nil || (interface == nil && part == nil) else {
            throw ValidationError("--ifname and --class are about a container: which?")
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
            tree.roots.contains(where: leads)
        }
        output.print(.array(trees.map(\.json))) {
            for tree in trees { tree.print(only: leads) }
            if trees.contains(where: { $0.classes.contains { $0.role == nil } }) {
                Terminal.complain(
                    "a class without a name is somebody's own, or the rules were flushed: "
                        + "see repair --dry-run")
            }
            if trees.isEmpty {
                let word = container ?? tenant.map { "tenant \($0)" }
                print("nothing\(word.map { " of \($0)" } ?? "") is shaped on this host")
            }
        }
    }

    private func change() throws {
        let trees = try Inventory(places.sources).trees()
        let wanted = trees.flatMap { tree in
            tree.classes.filter(isMeant).map { (direction: tree.direction, node: $0) }
        }
        let subject =
            tenant.map { "tenant \($0)" }
            ?? part.map { "class \($0) in container \(container ?? "")" }
            ?? "container \(container ?? "")"
        guard !wanted.isEmpty else {
            throw CNIError(.unknownContainer, "no \(subject) is shaped")
        }
        let names = Set(wanted.map(\.node.title)).sorted()
        guard names.count == 1 else {
            throw CNIError(
                .environment, "\(subject) may be several: \(names.joined(separator: ", "))")
        }
        for (direction, rate, ceil) in [
            (Direction.egress, egressRate, egressCeil), (.ingress, ingressRate, ingressCeil),
        ] where rate != nil || ceil != nil {
            let classes = wanted.filter { $0.direction == direction }
            guard !classes.isEmpty else {
                throw CNIError(.unknownContainer, "\(subject) has no \(direction) class")
            }
            for (_, node) in classes { try node.change(rate: rate, ceil: ceil) }
        }
    }

    /// Whether a class is the one that is to be changed.
    private func isMeant(_ node: ClassTree.Node) -> Bool {
        switch node.role {
        case .tenant(let name)?: name == tenant
        case .container(let owner)?: part == nil && isMeant(owner)
        case .part(let owner, let name)?: part == name && isMeant(owner)
        default: false
        }
    }

    private func isMeant(_ owner: Owner) -> Bool {
        container.map { owner.containerID.hasPrefix($0) } ?? false
            && interface.map { owner.interface == $0 } ?? true
    }

    /// Whether a class, or one below it, is to be shown.
    private func leads(_ node: ClassTree.Node) -> Bool {
        guard container != nil || tenant != nil else { return true }
        return node.all.contains { one in
            one.role?.owner.map(isMeant) ?? (one.role?.tenant != nil && one.role?.tenant == tenant)
        }
    }
}

extension ClassTree.Node {
    private var limits: String {
        let (rate, ceil) = (trafficClass.rate.short, trafficClass.ceil.short)
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
                first + "\(trafficClass.id)", limits, "prio \(trafficClass.priority)",
                shortNumber(Double(counters.bytes)) + "B", "\(counters.drops) dropped", title,
            ]
        ]
        // Whoever asks for a tenant sees all that is in it.
        let shown = children.contains(where: isShown) ? children.filter(isShown) : children
        for (index, child) in shown.enumerated() {
            let isLast = index == shown.count - 1
            rows += child.rows(
                rest + (isLast ? "└─ " : "├─ "), rest + (isLast ? "   " : "│  "), only: isShown)
        }
        return rows
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

    var json: JSON {
        let text = { (value: String?) -> JSON in value.map { .string($0) } ?? .null }
        return [
            "id": .string("\(trafficClass.id)"), "kind": .string(kind), "name": text(role?.name),
            "rate": .integer(Int(clamping: trafficClass.rate.bitsPerSecond)),
            "ceil": .integer(Int(clamping: trafficClass.ceil.bitsPerSecond)),
            "priority": .integer(trafficClass.priority),
            "network": text(network), "container": text(role?.owner?.containerID),
            "interface": text(role?.owner?.interface),
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

    fileprivate func print(only isShown: (Node) -> Bool) {
        let title = group.map { "group \($0)" } ?? "a tree of its own"
        Swift.print(Terminal.styled("\(link)", .bold) + ": \(direction), \(title)")
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
