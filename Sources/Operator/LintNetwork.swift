internal import CNI
internal import PluginRuntime
internal import Plugins

/// What in one network contradicts itself.
extension Lint {
    /// Capabilities that runtimes have something for, as the specification's conventions name them and
    /// containerd's own.
    private static let knownCapabilities = [
        "aliases", "bandwidth", "cgroupPath", "deviceID", "dns", "infinibandGUID",
        "io.kubernetes.cri.pod-annotations", "ipRanges", "ips", "mac", "portMappings",
    ]

    /// Capabilities that no plugin, or no runtime, makes anything of.
    func capabilities(
        _ json: JSON, of type: String, _ table: KeyTable?, _ list: ConfigurationList,
        _ inside: (String) -> String
    ) -> [Fault] {
        var faults: [Fault] = []
        for (name, value) in json["capabilities"]?.members ?? [] {
            let place = inside("capabilities.\(name)")
            guard case .bool(let isOn) = value else {
                faults.append(
                    Fault(.error, list.file, place, "expected a boolean, found \(value.kind)"))
                continue
            }
            guard isOn else { continue }
            // Of a plugin that is not known only the runtime's side can be told.
            let known = table?.capabilities ?? Self.knownCapabilities
            guard !known.contains(name) else { continue }
            let near = KeyTable.nearest(name, among: known).map { ": did you mean \"\($0)\"?" }
            faults.append(
                Fault(
                    .warning, list.file, place,
                    (table == nil
                        ? "no runtime is known to fill this in"
                        : "\(type) makes nothing of this capability") + (near ?? "")))
        }
        return faults
    }

    /// Addresses that are this host's alone, on a network that other hosts are on as well.
    func sharedNetwork(
        _ type: String, _ json: JSON, _ list: ConfigurationList, _ inside: (String) -> String
    ) -> [Fault] {
        guard ["macvlan", "ipvlan", "vlan", "host-device"].contains(type),
            json["ipam"]?["type"]?.text == HostLocal.name,
            json["linkInContainer"] != .bool(true)
        else { return [] }
        let ipam = json["ipam"] ?? [:]
        let ranges = [ipam] + (ipam["ranges"]?.elements ?? []).flatMap { $0.elements ?? [] }
        let isBounded = ranges.contains { $0["rangeStart"] != nil && $0["rangeEnd"] != nil }
        guard !isBounded else { return [] }
        return [
            Fault(
                .warning, list.file, inside("ipam.type"),
                "host-local knows this host's addresses alone; others on the same network give out "
                    + "the same: set rangeStart and rangeEnd, different ones on each host")
        ]
    }

    func contradictions(
        _ type: String, _ json: JSON, _ list: ConfigurationList, _ inside: (String) -> String
    ) -> [Fault] {
        func warning(_ key: String, _ message: String) -> Fault {
            Fault(.warning, list.file, inside(key), message)
        }
        switch type {
        case Tuning.name:
            let (own, first) = (json.number("mtu"), list.plugins[0].number("mtu"))
            guard own != 0, first != 0, own != first else { return [] }
            return [
                warning("mtu", "\(own), but \(list.plugins[0]["type"]?.text ?? "") sets \(first)")
            ]
        case VLAN.name where json.number("vlanId") == 0:
            return [warning("vlanId", "0 is no VLAN: packets are only given a priority")]
        case Bridge.name:
            guard let options = list.options(Bridge.self, of: json) else { return [] }
            return vlans(options, json).map { warning($0.key, $0.message) }
        case Bandwidth.name where json["capabilities"]?["bandwidth"] == .bool(true):
            let keys = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"]
            guard let own = keys.first(where: { json[$0] != nil }) else { return [] }
            return [
                warning(
                    "capabilities.bandwidth",
                    "what a runtime says does not count, as the limits of a pod's annotations: "
                        + "\(own) is given here")
            ]
        default: return []
        }
    }

    /// VLANs of a bridge's port that are not what they seem.
    private func vlans(
        _ options: Bridge.Options, _ json: JSON
    ) -> [(key: String, message: String)] {
        var faults: [(key: String, message: String)] = []
        let vlan = options.vlan
        if options.keepsDefaultVLAN, !options.filtersVLANs {
            faults.append(
                ("preserveDefaultVlan", "it means nothing without vlan or vlanTrunk"))
        } else if options.keepsDefaultVLAN, vlan > 1 {
            faults.append(
                (
                    "preserveDefaultVlan",
                    "the container gets untagged packets of VLAN 1 as well as those of \(vlan)"
                ))
        }
        var seen: [(ids: ClosedRange<Int>, index: Int)] = []
        for (index, entry) in (json["vlanTrunk"]?.elements ?? []).enumerated() {
            for (key, ids) in entry.trunkRanges {
                let place = "vlanTrunk[\(index)].\(key)"
                if vlan != 0, ids.contains(vlan) {
                    faults.append((place, "VLAN \(vlan) is the untagged one already"))
                }
                if let other = seen.first(where: { $0.ids.overlaps(ids) }) {
                    let id = max(ids.lowerBound, other.ids.lowerBound)
                    faults.append((place, "VLAN \(id) is in vlanTrunk[\(other.index)] already"))
                }
                seen.append((ids, index))
            }
        }
        return faults
    }
}

extension JSON {
    /// The VLANs of an entry of `vlanTrunk`, with the keys that say them.
    fileprivate var trunkRanges: [(key: String, ids: ClosedRange<Int>)] {
        let (id, least, most) = (number("id"), number("minID"), number("maxID"))
        var ranges: [(key: String, ids: ClosedRange<Int>)] = []
        if id != 0 { ranges.append(("id", id...id)) }
        if least != 0, least <= most { ranges.append(("minID", least...most)) }
        return ranges
    }

    /// The number of a key; 0 where there is none.
    func number(_ key: String) -> Int {
        if case .integer(let number)? = self[key] { number } else { 0 }
    }

    /// Whether the plugin's interface stands on a link of the host, whose MTU it may not exceed.
    var standsOnLink: Bool {
        [MACVLAN.name, VLAN.name].contains(self["type"]?.text ?? "")
    }

    /// The link of the host that the plugin's interface stands on, where it is named.
    var lowerLink: String? {
        guard standsOnLink || self["type"]?.text == IPVLAN.name,
            self["linkInContainer"] != .bool(true), let name = self["master"]?.text, !name.isEmpty
        else { return nil }
        return name
    }
}
