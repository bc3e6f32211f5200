internal import Rtnetlink
internal import TrafficControl

extension Rate {
    /// As `tc` takes it.
    fileprivate var word: String { "\(bitsPerSecond)bit" }
}

extension Qdisc: CommandObject {
    var objectKind: String { "qdisc" }
    var place: Side { side }

    func commands(_ names: CommandNames) -> [String] {
        let handle = parent.map { String($0.minor, radix: 16) } ?? "1"
        let words =
            switch kind {
            case .htb(let standard): "htb default \(String(standard, radix: 16)) r2q 100000"
            case .splitting(let burst, let limit):
                "tbf rate \(Self.splittingRate.word) burst \(burst) limit \(limit)"
            case .fifo(let limit): "bfifo limit \(limit)"
            case .bucket(let rate, let burst, let limit):
                "tbf rate \(rate.word) burst \(burst.bytes) limit \(limit)"
            case .clsact: "clsact"
            }
        guard kind != .clsact else {
            return [names.on(side, "tc", "qdisc replace dev \(link) clsact")]
        }
        let place = parent.map { "parent \($0)" } ?? "root"
        return [
            names.on(side, "tc", "qdisc replace dev \(link) \(place) handle \(handle): \(words)")
        ]
    }
}

extension TrafficClass: CommandObject {
    var objectKind: String { "class" }
    var place: Side { side }

    func commands(_ names: CommandNames) -> [String] {
        [
            names.on(
                side, "tc",
                "class replace dev \(link) parent \(parent) classid \(id) htb rate \(rate.word) "
                    + "ceil \(ceil.word) burst \(effectiveBurst.bytes) cburst \(ceilBurst.bytes) "
                    + "prio \(priority) quantum \(quantum)")
        ]
    }
}

extension Tenant: CommandObject {
    var objectKind: String { "tenant" }
    var place: Side { .host }

    func commands(_ names: CommandNames) -> [String] { classes.flatMap { $0.commands(names) } }
}

extension LastFilter: CommandObject {
    var objectKind: String { "filter" }
    var place: Side { side }

    func commands(_ names: CommandNames) -> [String] {
        let hook = direction == .ingress ? "egress" : "ingress"
        let command = { (words: String) in
            names.on(
                side, "tc",
                "filter replace dev \(link) \(hook) protocol all pref \(preference) u32 \(words)"
            )
        }
        let all = "match u32 0 0 classid \(Tree.link)"
        guard let steering else { return [command(all)] }
        let redirection = " action mirred egress redirect dev \(steering.link)"
        guard steering.way != .filters else {
            return [
                "# ADD lets address resolution pass before that:", command(all + redirection),
            ]
        }
        return [
            "# ADD puts a program there that sends what containers of the host have sent to "
                + "\(steering.link); tc makes none from words:",
            command(all + (steering.way == .program ? redirection : "")),
        ]
    }
}

extension ClassFilter: CommandObject {
    var objectKind: String { "filter" }
    var place: Side { .host }

    func commands(_ names: CommandNames) -> [String] {
        [
            names.on(
                .host, "tc",
                "filter add dev \(link) parent \(Tree.root) protocol all pref "
                    + "\(Self.preference) u32 match u32 0 0 indev \(port) classid \(id)")
        ]
    }
}
