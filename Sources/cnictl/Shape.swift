public import ArgumentParser
import CNI
import Operator
import PluginRuntime
public import TrafficControl

extension Rate: ExpressibleByArgument {
    /// Reads bits per second: `100M`, `1.5G`, `64000`.
    public init?(argument: String) {
        let units: [Character: Double] = ["k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12]
        let unit = argument.last.flatMap { units[$0] }
        let digits = unit == nil ? Substring(argument) : argument.dropLast()
        // Double would read more than decimal numbers.
        guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2e }),
            let number = Double(digits), number > 0, number * (unit ?? 1) < 1e15
        else { return nil }
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

    @Option(help: "The group of that name, if several have such a tenant, or to show alone.")
    var group: String?

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
        try requireWords([container, interface, part, tenant].compactMap(\.self))
        guard container != nil || tenant != nil || !isChange else {
            throw ValidationError("which container or tenant is to be changed?")
        }
        guard container == nil || tenant == nil else {
            throw ValidationError("a container and --tenant exclude each other")
        }
        guard container != nil || (interface == nil && part == nil) else {
            throw ValidationError("--ifname and --class are about a container: which?")
        }
        for rate in [egressRate, egressCeil, ingressRate, ingressCeil] {
            if let rate, rate < Self.least {
                throw ValidationError(
                    "\(rate) is less than \(Self.least): \(rate.bitsPerSecond)M is meant?")
            }
        }
        for (rate, ceil) in [(egressRate, egressCeil), (ingressRate, ingressCeil)] {
            if let rate, let ceil, rate > ceil {
                throw ValidationError("\(rate) is more than the ceiling, \(ceil)")
            }
        }
    }

    /// Who says less has forgotten the unit.
    private static let least = Rate(bitsPerSecond: 8000)

    private var isChange: Bool {
        egressRate != nil || egressCeil != nil || ingressRate != nil || ingressCeil != nil
    }

    func run() throws {
        try requireRoot()
        guard isChange else { return try show() }
        try change()
        do {
            try show()
        } catch {
            let cause = error as? CNIError ?? .init(ofKernel: error)
            throw cause?.prefixed("the change is made, but cannot be shown") ?? error
        }
    }

    private func show() throws {
        let inventory = try Inventory(places.sources)
        let all = inventory.attachments
        let leads = { (node: ClassTree.Node) in self.leads(node, all) }
        let trees = try trees(inventory).filter { $0.roots.contains(where: leads) }
        guard subject == nil || !trees.isEmpty else { throw isNotShaped }
        output.print(.array(trees.map { $0.json(only: leads) })) {
            for tree in trees { tree.print(only: leads) }
            if trees.contains(where: { $0.classes.contains { $0.role == nil } }) {
                Terminal.complain(
                    "a class without a name is somebody's own, or the rules were flushed: "
                        + "see repair --dry-run")
            }
            if trees.isEmpty { print("nothing is shaped on this host") }
        }
    }

    private func change() throws {
        let inventory = try Inventory(places.sources)
        let all = inventory.attachments
        let wanted = try trees(inventory).flatMap { tree in
            tree.classes.filter { isMeant($0, all) }.map { (tree: tree, node: $0) }
        }
        guard let subject, !wanted.isEmpty else { throw isNotShaped }
        let names = Set(wanted.map(\.node.title)).sorted()
        guard names.count == 1 else {
            throw CNIError(
                .environment, "\(subject) may be several: \(names.joined(separator: ", "))")
        }
        let groups = Set(wanted.compactMap(\.tree.group)).sorted()
        guard groups.count < 2 else {
            throw CNIError(
                .environment,
                "\(subject) is in several groups: \(groups.joined(separator: ", ")); "
                    + "--group says which")
        }
        var changes: [ShareChange] = []
        for (direction, rate, ceil) in [
            (Direction.egress, egressRate, egressCeil), (.ingress, ingressRate, ingressCeil),
        ] where rate != nil || ceil != nil {
            let classes = wanted.filter { $0.tree.direction == direction }
            guard !classes.isEmpty else {
                throw CNIError(.unknownContainer, "\(subject) has no \(direction) class")
            }
            changes += try classes.map { (tree, node) throws(CNIError) in
                try ShareChange(node, in: tree, rate: rate, ceil: ceil, all)
            }
        }
        try ShareChange.make(changes)
    }

    private func trees(_ inventory: Inventory) throws -> [ClassTree] {
        try inventory.trees().filter { group == nil || $0.group == group }
    }

    /// What is to be shown or changed, in words; nil for all.
    private var subject: String? {
        let inside = part.map { "class \($0) in " } ?? ""
        return tenant.map { "tenant \($0)" } ?? container.map { inside + "container \($0)" }
    }

    private var isNotShaped: CNIError {
        CNIError(.unknownContainer, "no \(subject ?? "container") is shaped on this host")
    }

    /// Whether a class is the one that is to be changed.
    private func isMeant(_ node: ClassTree.Node, _ all: [AttachmentState]) -> Bool {
        switch node.role {
        case .tenant(let name)?: name == tenant
        case .container(let owner)?: part == nil && isMeant(owner, all)
        case .part(let owner, let name)?: part == name && isMeant(owner, all)
        default: false
        }
    }

    private func isMeant(_ owner: Owner, _ all: [AttachmentState]) -> Bool {
        guard let container, interface == nil || owner.interface == interface else { return false }
        return all.contains { $0.owner == owner && $0.isOf(container: container, in: all) }
    }

    /// Whether a class, or one below it, is to be shown.
    private func leads(_ node: ClassTree.Node, _ all: [AttachmentState]) -> Bool {
        guard container != nil || tenant != nil else { return true }
        return node.all.contains { one in
            one.role?.owner.map { isMeant($0, all) }
                ?? (one.role?.tenant != nil && one.role?.tenant == tenant)
        }
    }
}
