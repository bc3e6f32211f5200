import Foundation

/// All that a plugin could leave on a host, as `ip`, `bridge`, `tc`, `nft`, /proc/sys and the file
/// system tell it: each object by its name, with its properties.
///
/// What changes by itself is left out: indices, carriers, timers, learned and link-local addresses.
struct Snapshot: Equatable, CustomStringConvertible {
    /// What the tools print.
    private let texts: [String]
    /// What tc(8) lists of each device that has more than the usual queue, by its words.
    private var queues: [String: String] = [:]
    private var files: [String: [String: String]] = [:]
    /// What is in all that; read only where two snapshots are not the same to the letter.
    private var objects: [String: [String: String]] = [:]

    /// The world's host and its files.
    init(of world: World) throws {
        try self.init(namespace: world.host, directory: world.directory)
    }

    /// A container's inside.
    init(of container: World.Container) throws {
        try self.init(namespace: container.path, directory: nil)
    }

    private init(namespace: String, directory: String?) throws {
        let look = { (words: [String], input: String) in
            try Command(words, input: Array(input.utf8), in: namespace)
        }
        let listings = "route show table all\nrule\nneigh show nud permanent\n"
        let commands = try [
            ["ip", "-d", "-j", "addr"], ["ip", "-4", "-d", "-j", "-batch", "-"],
            ["ip", "-6", "-d", "-j", "-batch", "-"], ["bridge", "-j", "fdb"],
            ["bridge", "-j", "vlan"], ["tc", "-j", "-d", "qdisc"],
            ["nft", "-j", "list", "ruleset"],
            ["grep", "-rs", "", "/proc/sys/net"],
        ].map { try look($0, $0.last == "-" ? listings : "") }
        texts = try commands.map { command in
            let ended = command.wait()
            // What nobody may read of /proc/sys is left out. Where a tool fails otherwise, two snapshots
            // would agree in knowing nothing.
            guard ended.succeeded || (ended.status == 2 && !ended.output.isEmpty) else {
                throw Failure("snapshot of \(namespace): status \(ended.status): \(ended.errors)")
            }
            return ended.output
        }
        for device in Self.queueing(JSON(text: texts[5])) {
            for words in ["class show dev", "filter show dev", "filter show ingress dev"] {
                let words = "\(words) \(device)"
                queues[words] = try look(["tc"] + words.split(separator: " ").map(String.init), "")
                    .wait().output
            }
        }
        if let directory { addFiles(below: directory) }
    }

    /// This snapshot with its objects.
    private func parsed() -> Snapshot {
        var copy = self
        copy.objects = files
        copy.addLinks(JSON(text: texts[0]))
        for text in texts[1...2] { copy.addListings(text) }
        copy.addForwarding(JSON(text: texts[3]))
        for port in JSON(text: texts[4]).array {
            copy.add("VLANs of \(port["ifname"].string ?? "")", port["vlans"])
        }
        copy.addQdiscs(JSON(text: texts[5]))
        for (words, text) in queues {
            for line in text.split(separator: "\n") {
                copy.objects["\(words): \(line.trimmingPrefix(while: \.isWhitespace))"] = [:]
            }
        }
        copy.addRuleset(JSON(text: texts[6]))
        copy.addSysctls(texts[7])
        return copy
    }

    /// What is in one snapshot and not in the other, for a reader: `-` what is gone, `+` what is
    /// new, and what has changed from what to what.
    func difference(from other: Snapshot) -> String {
        guard self != other else { return "" }
        let (before, now) = (other.parsed().objects, parsed().objects)
        var lines: [String] = []
        for name in Set(before.keys).union(now.keys).sorted() {
            switch (before[name], now[name]) {
            case (let before?, let now?):
                for key in Set(before.keys).union(now.keys).sorted() where before[key] != now[key] {
                    let (before, now) = (before[key] ?? "nothing", now[key] ?? "nothing")
                    lines.append("\(name): \(key) was \(before), is \(now)")
                }
            case (let before?, nil): lines.append("- \(name) \(Self.brief(before))")
            case (nil, let now?): lines.append("+ \(name) \(Self.brief(now))")
            case (nil, nil): break
            }
        }
        return lines.joined(separator: "\n")
    }

    var description: String {
        let objects = parsed().objects
        return objects.keys.sorted().map { "\($0) \(Self.brief(objects[$0] ?? [:]))" }
            .joined(separator: "\n")
    }

    /// The few properties that say whose something is or what it does.
    private static func brief(_ properties: [String: String]) -> String {
        let telling = ["ifalias", "master", "content", "expr", "comment"]
        return telling.compactMap { key in properties[key].map { "\(key) \($0)" } }
            .joined(separator: ", ")
    }

    // MARK: - What the tools print

    /// Keys whose values the kernel changes by itself, or that count anew each time.
    private static let passing: Set<String> = [
        "ifindex", "operstate", "link_index", "link_netnsid", "bridge_id", "root_id", "gc_timer",
        "hello_timer", "tcn_timer", "topology_change_timer", "topology_change",
        "topology_change_detected", "message_age_timer", "forward_delay_timer", "hold_timer",
        "tentative", "dadfailed", "optimistic", "refcnt", "handle", "metainfo", "addr_info",
        "expires", "pref", "packets", "bytes", "tso_max_size", "tso_max_segs",
    ]

    /// Adds an object with the values of some JSON, each by its path.
    private mutating func add(_ name: String, _ json: JSON) {
        var properties: [String: String] = [:]
        Self.flatten(json, "", into: &properties)
        objects[name, default: [:]].merge(properties) { $1 }
    }

    private static func flatten(_ json: JSON, _ path: String, into all: inout [String: String]) {
        guard !json.keys.isEmpty else {
            let isEmpty = json.array.isEmpty
            all[path] = isEmpty ? json.description : json.lastingFlags.joined(separator: " ")
            return
        }
        for key in json.keys where !passing.contains(key) {
            flatten(json[key], path.isEmpty ? key : "\(path).\(key)", into: &all)
        }
    }

    private mutating func addLinks(_ links: JSON) {
        for link in links.array {
            let name = link["ifname"].string ?? ""
            add("link \(name)", link)
            for address in link["addr_info"].array where address["scope"].string != "link" {
                let text = "\(address["local"].string ?? "")/\(address["prefixlen"].number ?? 0)"
                add("address \(text) on \(name)", address)
            }
        }
    }

    /// Adds routes, rules and neighbours: an array of each, one after the other.
    private mutating func addListings(_ text: String) {
        for (kind, line) in zip(["route", "rule", "neighbour"], text.split(separator: "\n")) {
            for entry in JSON(text: String(line)).array {
                let destination = entry["dst"].string ?? ""
                guard !destination.hasPrefix("fe80::"), destination != "ff00::/8" else { continue }
                // The kernel makes these of addresses, as soon as they have passed duplicate detection.
                guard entry["table"].string != "local" else { continue }
                var words: [String] = []
                for key in entry.keys where key != "flags" && !Self.passing.contains(key) {
                    words.append("\(key) \(entry[key].string ?? entry[key].description)")
                }
                objects["\(kind) " + words.joined(separator: " ")] = [:]
            }
        }
    }

    private mutating func addForwarding(_ entries: JSON) {
        for entry in entries.array where ["permanent", "static"].contains(entry["state"].string) {
            let mac = entry["mac"].string ?? ""
            guard !mac.hasPrefix("33:33:"), !mac.hasPrefix("01:00:5e:") else { continue }
            let place = ["ifname", "vlan", "dst"].map { entry[$0] }.filter { !$0.isNull }
            add("forwarding of \(mac) to \(place.map(\.description))", entry)
        }
    }

    private mutating func addQdiscs(_ qdiscs: JSON) {
        for qdisc in qdiscs.array {
            let device = qdisc["dev"].string ?? ""
            let place = qdisc["parent"].string ?? "root"
            add("qdisc at \(place) of \(device)", qdisc)
            add("qdisc at \(place) of \(device)", JSON(["number": qdisc["handle"].value]))
        }
    }

    /// The devices that have more than the usual queue.
    private static func queueing(_ qdiscs: JSON) -> Set<String> {
        Set(
            qdiscs.array.filter { !["noqueue", "noop"].contains($0["kind"].string) }
                .map { $0["dev"].string ?? "" })
    }

    private mutating func addRuleset(_ ruleset: JSON) {
        for entry in ruleset["nftables"].array {
            guard let kind = entry.keys.first, kind != "metainfo" else { continue }
            var object = entry[kind]
            let place = ["family", "table", "chain", "name"].compactMap { object[$0].string }
            let name = "nft \(kind) \(place.joined(separator: " "))"
            for element in object["elem"].array {
                let lasting = "\(element)".replacing(/"counter":\{[^}]*\},?/, with: "")
                objects["element of \(name): \(lasting)"] = [:]
            }
            object["elem"] = JSON(nil)
            if kind == "rule" {
                let counted = "\(object["expr"])"
                object["expr"] = JSON(
                    text: counted.replacing(/"counter":\{[^}]*\}/, with: #""counter":null"#))
            }
            add(kind == "rule" ? "\(name) \(object["expr"])" : name, object)
        }
    }

    /// Adds the settings, those of a link to the link's properties.
    private mutating func addSysctls(_ text: String) {
        for line in text.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            var path = line[..<colon].split(separator: "/").dropFirst(2).map(String.init)
            let value = String(line[line.index(after: colon)...])
            // It counts by itself.
            guard path.last != "nf_conntrack_count" else { continue }
            if path.count == 5, ["conf", "neigh"].contains(path[2]) {
                let link = path.remove(at: 3)
                guard objects["link \(link)"] == nil else {
                    objects["link \(link)"]?[path.joined(separator: "/")] = value
                    continue
                }
                guard ["all", "default"].contains(link) else { continue }
                path.insert(link, at: 3)
            }
            objects["sysctl \(path.joined(separator: "/"))", default: [:]]["value", default: ""] +=
                value
        }
    }

    private mutating func addFiles(below directory: String) {
        for case let path as String in FileManager.default.enumerator(atPath: directory) ?? .init()
        {
            // host-local's lock must stay for whoever waits for it, and where it left off is meant
            // to be remembered; what starts with a dot is derived from the reservations.
            guard !path.split(separator: "/").contains(where: { $0.hasPrefix(".") }),
                !path.hasSuffix("/lock"), !path.contains("/last_reserved_ip"),
                let content = FileManager.default.contents(atPath: "\(directory)/\(path)")
            else { continue }
            let status = try? FileManager.default.attributesOfItem(atPath: "\(directory)/\(path)")
            files["file \(path)"] = [
                "content": String(decoding: content, as: UTF8.self),
                "mode": "\(status?[.posixPermissions] ?? 0)",
                "owner": "\(status?[.ownerAccountID] ?? 0)",
            ]
        }
    }
}

extension JSON {
    /// A link's flags but for those of its carrier, which comes in its own time.
    var lastingFlags: [String] {
        array.map(\.description)
            .filter { !["\"NO-CARRIER\"", "\"LOWER_UP\""].contains($0) }.sorted()
    }
}

extension World {
    /// Runs `body` and fails unless the host is afterwards as it was before; the kernel may take a
    /// moment to clear a namespace away.
    func unchanged(_ body: () throws -> Void) throws {
        let before = try Snapshot(of: self)
        try body()
        let difference = try settledDifference(from: before)
        guard difference.isEmpty else { throw Failure("the host has changed:\n\(difference)") }
    }

    /// What differs from a snapshot of this world, after a while if it does at first.
    func settledDifference(from before: Snapshot, rounds: Int = 100) throws -> String {
        var difference = try Snapshot(of: self).difference(from: before)
        for _ in 0..<rounds where !difference.isEmpty {
            usleep(200_000)
            difference = try Snapshot(of: self).difference(from: before)
        }
        return difference
    }
}
