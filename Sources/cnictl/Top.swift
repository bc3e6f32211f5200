import ArgumentParser
import CNI
import Glibc
import Operator
import PluginRuntime
import TrafficControl

/// Shows what passes now.
struct Top: ParsableCommand {
    /// What rows are ordered by.
    enum Order: String, ExpressibleByArgument, CaseIterable {
        case rate, packets, drops, backlog, borrowed, name
    }

    static let configuration = CommandConfiguration(
        abstract: "Shows what each container sends and receives now.",
        discussion: """
            A row is one direction of an attachment: what passes its class or, where nothing limits \
            it, the host's end of its veth pair. What is in a class inside the container, whose \
            name is behind the number, has a row too; * is what the others leave. The bar is the share of the ceiling. Borrowed is \
            the share of packets sent with what others left. Ctrl-C ends it.
            """)

    @Argument(help: "Only attachments whose network, tenant, container or interface is this.")
    var filter: [String] = []

    @Flag(help: "Looks twice, prints once and ends.")
    var once = false

    @Option(help: "Seconds between two looks.")
    var interval = 1.0

    @Option(help: "The order: rate, packets, drops, backlog, borrowed or name.")
    var sort = Order.rate

    @Option(name: .shortAndLong, help: "At most so many rows.")
    var lines: Int?

    @Flag(help: "Only rows in which something passes or waits.")
    var active = false

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try requireWords(filter)
        try requirePause(interval, atLeast: 0.05)
        try requireLines(lines)
    }

    func run() throws {
        try requireRoot()
        var before = Look(try flows(), at: now())
        let isLive = !once && output.output == .text && isatty(STDOUT_FILENO) == 1
        repeat {
            pause(interval)
            let look = Look(try flows(), at: now())
            var rows = look.rows(since: before).filter { !active || $0.isActive }
            rows.sort { $0.comes(before: $1, by: sort) }
            // What does not fit would push the first rows off the screen.
            let room = isLive ? Terminal.height.map { max(1, $0 - 3) } : nil
            let shown = Array(rows.prefix(lines ?? room ?? rows.count))
            let left = rows.count - shown.count
            // A screen that is written over does not flicker as one that is cleared first.
            if isLive { print("\u{1b}[H\u{1b}[J", terminator: "") }
            output.print(.array(shown.map(\.json))) {
                Self.table(shown).print()
                if isLive, lines == nil, left > 0 {
                    print(Terminal.styled("and \(left) more: --active, or a filter", .dim))
                }
            }
            _ = fflush(nil)
            before = look
        } while !once
    }

    private func flows() throws -> [Flow] {
        let inventory = try Inventory(places.sources)
        let chosen = Set(
            inventory.attachments.chosen(by: filter).map(\.owner))
        return try inventory.flows().filter { chosen.contains($0.owner) }
    }

    private func now() -> Double {
        var now = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }

    private static func table(_ rows: [Row]) -> Table {
        var table = Table(
            "CONTAINER", "IF", "NETWORK", "DIR", "?TENANT", "CLASS", ">BIT/S", ">PKT/S", ">DROP/S",
            ">BACKLOG", ">BORROWED", ">CEIL", "")
        for row in rows {
            let isFull = row.fill.map { $0 > 0.9 } ?? false
            table.add(
                "\(row.flow.owner.containerID.prefix(16))", "\(row.flow.owner.interface)",
                "\(row.flow.owner.network)", "\(row.flow.direction)",
                "\(row.flow.share?.tenant ?? "-")", "\(row.flow.share?.title ?? "-")",
                "\(shortNumber(row.bits))",
                "\(shortNumber(row.packets))",
                .init(shortNumber(row.drops), row.drops > 0 ? .red : nil),
                "\(shortNumber(Double(row.flow.counters.backlog)))",
                "\(row.flow.share == nil ? "-" : "\(Int((row.borrowed * 100).rounded()))%")",
                "\(row.ceil?.short ?? "-")", .init(row.bar, isFull ? .yellow : .cyan))
        }
        return table
    }
}

/// The counters at a moment.
private struct Look {
    private let flows: [Flow]
    private let time: Double

    init(_ flows: [Flow], at time: Double) {
        self.flows = flows
        self.time = time
    }

    func rows(since other: Look) -> [Row] {
        let past = Dictionary(
            other.flows.map { ($0.key, $0.counters) }, uniquingKeysWith: { first, _ in first })
        let seconds = max(0.001, time - other.time)
        return flows.map { flow in
            let before = past[flow.key] ?? flow.counters
            let rate = { (field: KeyPath<Counters, UInt64>) -> Double in
                let (now, then) = (flow.counters[keyPath: field], before[keyPath: field])
                // A class that was made anew counts from nothing.
                return Double(now >= then ? now - then : now) / seconds
            }
            let packets = rate(\.packets)
            return Row(
                flow: flow, bits: rate(\.bytes) * 8, packets: packets, drops: rate(\.drops),
                borrowed: packets > 0 ? min(1, rate(\.borrowed) / packets) : 0)
        }
    }
}

extension Flow {
    fileprivate var key: String {
        let place = share.map { share in
            "\(share.port.netns ?? "") \(share.port.link) \(share.title)"
        }
        return "\(owner.tag) \(direction) \(place ?? "")"
    }
}

/// What passes in one direction of an attachment, each second.
private struct Row {
    let flow: Flow
    let bits: Double
    let packets: Double
    let drops: Double
    let borrowed: Double

    var ceil: Rate? { flow.share?.limiter?.ceil }

    /// The share of the ceiling that is used.
    var fill: Double? { ceil.map { bits / Double($0.bitsPerSecond) } }

    var isActive: Bool { bits > 0 || flow.counters.backlog > 0 || drops > 0 }

    /// The share in tenths of a bar, with eighths of a tenth at its end.
    var bar: String {
        guard let fill else { return "" }
        let eighths = Int((min(1, max(0, fill)) * 80).rounded())
        let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
        let text = String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
        return text + String(repeating: "·", count: 10 - text.count)
    }

    func comes(before other: Row, by order: Top.Order) -> Bool {
        let value = { (row: Row) -> Double in
            switch order {
            case .rate: row.bits
            case .packets: row.packets
            case .drops: row.drops
            case .backlog: Double(row.flow.counters.backlog)
            case .borrowed: row.borrowed
            case .name: 0
            }
        }
        let (mine, others) = (value(self), value(other))
        guard mine == others else { return mine > others }
        let name = { (row: Row) in
            (row.flow.owner.tag, "\(row.flow.direction)", row.flow.share?.part ?? "")
        }
        return name(self) < name(other)
    }

    var json: JSON {
        let whole = { (number: Double) in JSON.integer(Int(number.rounded())) }
        let text = { (text: String?) -> JSON in text.map { .string($0) } ?? .null }
        return [
            "network": .string(flow.owner.network), "container": .string(flow.owner.containerID),
            "interface": .string(flow.owner.interface),
            "direction": .string("\(flow.direction)"),
            "class": text(flow.share.flatMap { $0.id.map { "\($0)" } }),
            "name": text(flow.share?.part),
            "tenant": text(flow.share?.tenant),
            "bitsPerSecond": whole(bits), "packetsPerSecond": whole(packets),
            "dropsPerSecond": whole(drops),
            "backlog": .integer(Int(clamping: flow.counters.backlog)),
            "borrowedPercent": whole(borrowed * 100),
            "ceil": ceil.map { .integer(Int(clamping: $0.bitsPerSecond)) } ?? .null,
        ]
    }
}
