import Addressing
import Nftables

/// Reads conditions as `iptables` or as `nft` takes them.
struct PortConditionReader {
    /// How many rules of iptables a mapping may take: one for each of the combinations of addresses.
    private static let mostAlternatives = 256
    /// How many expressions of nftables conditions may take: a rule holds 128, some of which are ours.
    private static let mostExpressions = 100

    /// What cannot be expressed, or makes no sense, and in which of the words.
    struct Complaint: Error {
        let index: Int
        let text: String
    }

    /// Whether words are arguments of `iptables`; else they are an expression of `nft`.
    static func isForIPTables(_ words: [String]) -> Bool {
        words.contains { $0 == "!" || $0.utf8.first == UInt8(ascii: "-") }
    }

    private let family: Family
    private let tokens: [(text: String, index: Int)]
    private var position = 0
    private var found: [PortCondition] = []

    /// Reads the words of a family.
    static func read(_ words: [String], _ family: Family) throws(Complaint) -> PortConditions {
        guard !words.isEmpty else { return .none }
        let isForIPTables = isForIPTables(words)
        var reader = Self(words, family, splitsLists: !isForIPTables)
        while reader.position < reader.tokens.count {
            if isForIPTables { try reader.readArgument() } else { try reader.readExpression() }
        }
        let conditions = PortConditions(all: reader.found, text: words.joined(separator: " "))
        guard conditions.all.reduce(0, { $0 + $1.expressions.count }) <= mostExpressions else {
            throw reader.complaint("more conditions than a rule of nftables holds")
        }
        guard !isForIPTables || conditions.countOfAlternatives <= mostAlternatives else {
            throw reader.complaint("more than \(mostAlternatives) combinations of addresses")
        }
        return conditions
    }

    private init(_ words: [String], _ family: Family, splitsLists: Bool) {
        self.family = family
        var tokens: [(text: String, index: Int)] = []
        for (index, word) in words.enumerated() {
            var token = ""
            for character in word {
                let isSign = splitsLists && "{},".contains(character)
                if isSign || character == " " || character == "\t" {
                    if !token.isEmpty { tokens.append((token, index)) }
                    token = ""
                    if isSign { tokens.append((String(character), index)) }
                } else if character != "\"" {
                    token.append(character)
                }
            }
            if !token.isEmpty { tokens.append((token, index)) }
        }
        self.tokens = tokens
    }

    private func complaint(_ text: String) -> Complaint {
        Complaint(index: tokens.isEmpty ? 0 : tokens[max(0, position - 1)].index, text: text)
    }

    private mutating func next(_ wanted: String) throws(Complaint) -> String {
        guard position < tokens.count else { throw complaint("\(wanted) is missing") }
        position += 1
        return tokens[position - 1].text
    }

    private mutating func skip(_ texts: String...) -> String? {
        guard position < tokens.count, texts.contains(tokens[position].text) else { return nil }
        position += 1
        return tokens[position - 1].text
    }

    private mutating func add(_ test: PortCondition.Test, _ isInverted: Bool) {
        found.append(PortCondition(test: test, isInverted: isInverted))
    }
}

// MARK: iptables

extension PortConditionReader {
    /// An argument with its value.
    private mutating func readArgument() throws(Complaint) {
        let isInverted = skip("!") != nil
        let option = try next("an argument")
        switch option {
        case "-s", "--src", "--source", "-d", "--dst", "--destination":
            let isSource = ["-s", "--src", "--source"].contains(option)
            let networks = try list { (reader, text) throws(Complaint) in try reader.network(text) }
            guard networks.count == 1 || !isInverted else {
                throw complaint("iptables takes one address after \"!\"")
            }
            add(.address(isSource: isSource, networks), isInverted)
        case "-p", "--proto", "--protocol":
            let name = try next("a protocol")
            add(.transport([try transport(name)]), isInverted)
        case "-i", "--in-interface", "-o", "--out-interface":
            let name = try next("an interface")
            let isInput = ["-i", "--in-interface"].contains(option)
            add(.link(isInput: isInput, try link(name, wildcard: "+")), isInverted)
        case "-m", "--match":
            let name = try next("a match")
            let known = ["tcp", "udp", "sctp", "multiport", "mark", "conntrack", "state"]
            guard known.contains(name) else {
                throw complaint("the match \"\(name)\" cannot be expressed")
            }
        case "--sport", "--source-port", "--sports", "--source-ports":
            add(.port(isSource: true, try portList()), isInverted)
        case "--dport", "--destination-port", "--dports", "--destination-ports":
            add(.port(isSource: false, try portList()), isInverted)
        case "--mark":
            let parts = try next("a mark").split(separator: "/", omittingEmptySubsequences: false)
            let mask = parts.count > 1 ? try number(parts[1]) : .max
            add(.mark(try number(parts[0]), mask: mask), isInverted)
        case "--ctstate", "--state":
            let states = try list { (reader, text) throws(Complaint) in try reader.state(text) }
            add(.state(ConnectionStates(states)), isInverted)
        default: throw complaint("\"\(option)\" cannot be expressed")
        }
    }

    /// The parts of an argument's value.
    private mutating func list<Value>(
        _ read: (Self, String) throws(Complaint) -> Value
    ) throws(Complaint) -> [Value] {
        var values: [Value] = []
        for part in try next("a value").split(separator: ",", omittingEmptySubsequences: false) {
            values.append(try read(self, String(part)))
        }
        return values
    }

    private mutating func portList() throws(Complaint) -> [ClosedRange<UInt16>] {
        let ports = try list { (reader, text) throws(Complaint) in
            try reader.ports(text, separator: ":")
        }
        guard ports.reduce(0, { $0 + ($1.count == 1 ? 1 : 2) }) <= Expression.mostPorts else {
            throw complaint("more than \(Expression.mostPorts) ports")
        }
        return ports
    }
}

// MARK: nft

extension PortConditionReader {
    /// A match, as the language of `nft` has it.
    private mutating func readExpression() throws(Complaint) {
        let word = try next("an expression")
        switch word {
        case "ip", "ip6":
            guard (word == "ip") == (family == .v4) else {
                throw complaint("\"\(word)\" is of the other family")
            }
            try readHeader(try next("a field"))
        case "meta": try readMeta(try next("a key"))
        case "mark", "iifname", "oifname", "l4proto": try readMeta(word)
        case "tcp", "udp", "sctp", "th":
            let field = try next("a field")
            guard field == "sport" || field == "dport" else {
                throw complaint("\"\(word) \(field)\" cannot be expressed")
            }
            if word != "th" { add(.transport([try transport(word)]), false) }
            let isInverted = isDifferent()
            let ports = try values { (reader, text) throws(Complaint) in
                try reader.ports(text, separator: "-")
            }
            add(.port(isSource: field == "sport", ports), isInverted)
        case "ct":
            guard skip("state") != nil else {
                throw complaint("only \"ct state\" can be expressed")
            }
            let isInverted = isDifferent()
            let states = try values { (reader, text) throws(Complaint) in try reader.state(text) }
            add(.state(ConnectionStates(states)), isInverted)
        case "fib":
            // Every mapping asks for that.
            guard skip("daddr") != nil, skip("type") != nil, skip("local") != nil else {
                throw complaint("only \"fib daddr type local\" can be expressed")
            }
        default: throw complaint("\"\(word)\" cannot be expressed")
        }
    }

    private mutating func readHeader(_ field: String) throws(Complaint) {
        switch field {
        case "saddr", "daddr":
            let isInverted = isDifferent()
            let networks = try values { (reader, text) throws(Complaint) in
                try reader.network(text)
            }
            add(.address(isSource: field == "saddr", networks), isInverted)
        case "protocol", "nexthdr": try readTransport()
        default: throw complaint("\"\(field)\" cannot be expressed")
        }
    }

    private mutating func readMeta(_ key: String) throws(Complaint) {
        switch key {
        case "l4proto": try readTransport()
        case "iifname", "oifname":
            let isInverted = isDifferent()
            let name = try next("an interface")
            add(.link(isInput: key == "iifname", try link(name, wildcard: "*")), isInverted)
        case "mark":
            let mask = skip("&", "and") != nil ? try next("a mask") : "\(UInt32.max)"
            let isInverted = isDifferent()
            let mark = try next("a mark")
            add(.mark(try number(mark), mask: try number(mask)), isInverted)
        default: throw complaint("\"\(key)\" cannot be expressed")
        }
    }

    private mutating func readTransport() throws(Complaint) {
        let isInverted = isDifferent()
        let numbers = try values { (reader, text) throws(Complaint) in
            try reader.transport(text)
        }
        add(.transport(numbers), isInverted)
    }

    private mutating func isDifferent() -> Bool {
        switch skip("==", "eq", "!=", "ne") {
        case "!=", "ne": true
        default: false
        }
    }

    /// One value, or several with commas between, in braces or not.
    private mutating func values<Value>(
        _ read: (Self, String) throws(Complaint) -> Value
    ) throws(Complaint) -> [Value] {
        let isInBraces = skip("{") != nil
        var values: [Value] = []
        repeat {
            let text = try next("a value")
            values.append(try read(self, text))
        } while skip(",") != nil
        if isInBraces, skip("}") == nil { throw complaint("\"}\" is missing") }
        return values
    }
}

// MARK: values

extension PortConditionReader {
    private func network(_ text: String) throws(Complaint) -> IPPrefix {
        let prefix = IPPrefix(text) ?? IPAddress(text).map { IPPrefix(host: $0) }
        guard let prefix else { throw complaint("not an address: \"\(text)\"") }
        guard prefix.family == family else {
            throw complaint("an address of the other family: \"\(text)\"")
        }
        return prefix.network
    }

    private func ports(
        _ text: String, separator: Character
    ) throws(Complaint) -> ClosedRange<UInt16> {
        let ends = text.split(separator: separator, omittingEmptySubsequences: false)
            .map { UInt16($0) }
        guard (1...2).contains(ends.count), let low = ends.first ?? nil,
            let high = ends.last ?? nil, low <= high
        else { throw complaint("not a port: \"\(text)\"") }
        return low...high
    }

    private func transport(_ text: String) throws(Complaint) -> UInt8 {
        guard let transport = Transport(text) else {
            throw complaint("not a protocol with ports: \"\(text)\"")
        }
        return transport.number
    }

    private func state(_ text: String) throws(Complaint) -> ConnectionStates {
        switch text.lowercased() {
        case "invalid": .invalid
        case "established": .established
        case "related": .related
        case "new": .new
        case "untracked": .untracked
        default: throw complaint("not a state of a connection: \"\(text)\"")
        }
    }

    private func link(_ text: String, wildcard: Character) throws(Complaint) -> String {
        let isWild = text.last == wildcard
        let name = isWild ? String(text.dropLast()) : text
        guard (1...15).contains(name.utf8.count), !name.contains("/") else {
            throw complaint("not an interface: \"\(text)\"")
        }
        return name + (isWild ? "*" : "")
    }

    private func number(_ text: some StringProtocol) throws(Complaint) -> UInt32 {
        let isHexadecimal = text.hasPrefix("0x")
        let digits = isHexadecimal ? String(text.dropFirst(2)) : String(text)
        guard let number = UInt32(digits, radix: isHexadecimal ? 16 : 10) else {
            throw complaint("not a number of 32 bits: \"\(text)\"")
        }
        return number
    }
}
