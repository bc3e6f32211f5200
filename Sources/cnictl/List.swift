import Addressing
import ArgumentParser
import CNI
import Operator
import PluginRuntime
import Rtnetlink
import TrafficControl

/// Lists the attachments.
struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls",
        abstract: "Lists the attachments of the host.",
        discussion: """
            An orphan is what is left of a container that has gone; one that is cut off is there, and \
            has lost its interface. Rates are in bit/s: what is \
            guaranteed and, behind two dots, the ceiling. Behind a class's number are the names of \
            the classes inside the container, if it has any.
            """)

    @Argument(help: "Only attachments whose network, tenant, container or interface is this.")
    var filter: [String] = []

    @Flag(help: "Only what is left of containers that have gone.")
    var orphans = false

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws { try requireWords(filter) }

    func run() throws {
        try requireRoot()
        let inventory = try Inventory(places.sources)
        let chosen = inventory.attachments.chosen(by: filter).filter { !orphans || $0.isOrphan }
        output.print(.array(chosen.map(\.json))) {
            var table = Table(
                "NETWORK", "CONTAINER", "INTERFACE", "STATE", "ADDRESSES", "HOST END", ">MTU",
                "PORTS", "?TENANT", "CLASS", ">EGRESS", ">INGRESS", ">AGE")
            for state in chosen { table.add(state) }
            table.print()
            if let bare = Inspection.bare(among: chosen) {
                Terminal.complain(
                    "\(bare.owner.tag) lacks what it was given: explain \(bare.owner.containerID) "
                        + "names it, repair puts it back")
            }
            for problem in inventory.unreadableReservations {
                Terminal.complain("\(problem): there may be attachments that are not shown")
            }
            for path in inventory.damagedResults {
                Terminal.complain("\(path): damaged: this result tells check and repair nothing")
            }
        }
    }
}

extension [AttachmentState] {
    /// Those that every word is the network or tenant of, the container's ID or the start of it, or an
    /// interface.
    func chosen(by words: [String]) -> [AttachmentState] {
        filter { state in
            words.allSatisfy { state.isOf(container: $0, in: self) || state.matches($0) }
        }
    }
}

extension AttachmentState {
    /// Whether a word is its network or tenant, or one of its interfaces.
    func matches(_ word: String) -> Bool {
        owner.network == word || owner.interface == word || hostEnd?.name == word
            || tenant == word
    }

    /// Its class, and the names of those inside it: `1:5247 (clients, backup)`.
    fileprivate var classCell: String {
        guard let share = shares.first(where: { $0.part == nil }) ?? shares.first else {
            return "-"
        }
        return share.number + (parts.isEmpty ? "" : " (\(parts.joined(separator: ", ")))")
    }

    /// The ports that lead to it, and those that it waits for: `8080/tcp to 80,53/udp waits`.
    fileprivate var portCell: String {
        (ports + awaitedPorts.map { "\($0.port) waits" }).joined(separator: ",")
    }

    /// What to call its state, and in which colour.
    var stateCell: Table.Cell {
        switch presence {
        case .alive(_?): .init("alive", .green)
        case .alive(nil): .init("alive?", .yellow)
        case .cutOff: .init("cut off", .red)
        case .gone: .init("orphan", .red)
        }
    }
}

extension Table {
    fileprivate mutating func add(_ state: AttachmentState) {
        let dash = { (text: String) in text.isEmpty ? "-" : text }
        add(
            "\(state.owner.network)", "\(state.owner.containerID.prefix(20))",
            "\(state.owner.interface)", state.stateCell,
            "\(dash(state.addresses.map { "\($0.address)" }.joined(separator: ",")))",
            "\(state.hostEnd?.name ?? "-")", "\(state.mtu.map { "\($0)" } ?? "-")",
            "\(dash(state.portCell))",
            "\(state.tenant ?? "-")", "\(state.classCell)",
            "\(state.share(.egress)?.limits ?? "-")", "\(state.share(.ingress)?.limits ?? "-")",
            "\(age(state.since))")
    }
}
