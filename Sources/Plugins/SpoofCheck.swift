import Addressing
import Netlink
import Nftables
import Plan
import PluginRuntime
import Rtnetlink
import SystemPackage

/// Drops what a container sends from another hardware address than its own.
///
/// One rule serves all: what comes in by a port that is in one set must have, with that port, its
/// source address in the other.
struct SpoofCheck: Resource {
    /// The attachment whose port is watched.
    let owner: Owner
    /// The port of the bridge.
    let port: String
    /// The hardware address of the container's interface; not known at DEL.
    let mac: MACAddress?

    var sharing: Sharing { .owned }
    /// An owner's elements come into being once, with its link.
    var isExclusive: Bool { true }
    var goesFirst: Bool { true }
    var description: String { "hardware address check of port " + port }

    static let table = Table(.bridge, "cni_macspoofchk")
    private static let ports = NamedSet("ports", in: table, of: [.interfaceName])
    private static let senders = NamedSet("senders", in: table, of: [.interfaceName, .ethernet])
    private static let start = Chain(
        "prerouting", in: table, .prerouting(.filter, priority: -300))
    private static let rule = Rule(
        in: start,
        [
            .meta(.inputName, to: Register(word: 0)),
            .lookup(Register(word: 0), in: ports.name),
            .meta(.inputName, to: Register(word: 0)),
            .payload(.link, offset: 6, length: 6, to: Register(word: 4)),
            .lookup(Register(word: 0), in: senders.name, inverted: true),
            .verdict(.drop),
        ])

    private var portElement: Element {
        Element(Element.interfaceName(port), comment: owner.tag)
    }
    private func senderElement(_ mac: MACAddress) -> Element {
        Element(Element.key(Element.interfaceName(port), mac.bytes), comment: owner.tag)
    }

    func read(_ kernel: Kernel) throws(KernelError) -> SpoofCheck? {
        try kernel.withRules { (rules) throws(KernelError) in
            guard try rules.rules(of: Self.start) == [Self.rule.names],
                try rules.elements([portElement.key], of: Self.ports)[0] != nil
            else { return nil }
            let sender = try mac.flatMap { (mac) throws(KernelError) in
                try rules.elements([senderElement(mac).key], of: Self.senders)[0]
            }
            return SpoofCheck(owner: owner, port: port, mac: sender == nil ? nil : mac)
        }
    }

    func write(_ kernel: Kernel, over found: SpoofCheck?) throws(KernelError) {
        guard let mac else { return }
        try kernel.addRules { (rules) throws(KernelError) in
            try changes(mac, hasRule: rules.has(Self.start))
        }
    }

    func erase(_ kernel: Kernel) throws(KernelError) {
        let tag = owner.tag
        // What the rules were there for must not get by while the link is still there.
        try kernel.stopPort(port, alias: tag, in: .host)
        try Self.remove(from: kernel) { $0 == tag }
    }

    func differences(from found: SpoofCheck) -> [Difference] {
        [Difference(in: description, wanted: mac, found: found.mac)].compactMap { $0 }
    }

    /// Removes what has the tags of some owners, and with the last of all the table.
    static func remove(
        from kernel: Kernel, _ isStale: (String) -> Bool
    ) throws(KernelError) {
        try kernel.changeRules { (rules, batch) throws(KernelError) in
            var stays = false
            for set in [ports, senders] {
                var gone: [Element] = []
                for element in try rules.elements(of: set) ?? [] {
                    if element.comment.map(isStale) ?? false {
                        gone.append(element)
                    } else {
                        stays = true
                    }
                }
                batch.remove(gone, from: set)
            }
            guard !batch.isEmpty, !stays else { return }
            batch = Batch()
            batch.remove(table)
        }
    }

    /// The ports that are watched, and whose they are.
    static func watched(
        _ rules: inout Ruleset
    ) throws(KernelError) -> [(tag: String, port: String)] {
        try (rules.elements(of: ports) ?? []).compactMap { element in
            let port = String(decoding: element.key.prefix { $0 != 0 }, as: UTF8.self)
            return element.comment.map { ($0, port) }
        }
    }

    private func changes(_ mac: MACAddress, hasRule: Bool) -> Batch {
        var batch = Batch()
        if !hasRule {
            batch.add(Self.table)
            batch.add(Self.ports)
            batch.add(Self.senders)
            batch.add(Self.start, exclusively: true)
            batch.add(Self.rule)
        }
        batch.add([portElement], to: Self.ports, exclusively: true)
        batch.add([senderElement(mac)], to: Self.senders, exclusively: true)
        return batch
    }
}
