import Addressing
import CNI
package import PluginRuntime

extension Bridge {
    /// The keys of the bridge plugin.
    public struct Options: Sendable {
        package let bridge: String
        package let isGateway: Bool
        let isDefaultGateway: Bool
        package let forceAddress: Bool
        package let mtu: Int?
        let hairpin: Bool
        let promiscuous: Bool
        package let vlan: Int
        let trunk: Set<Int>?
        package let keepsDefaultVLAN: Bool
        let detectsDuplicates: Bool
        let leavesInterfaceDown: Bool
        package let isIsolated: Bool
        package let masquerade: MasqueradeOptions
        package let checksSpoofing: Bool
        let checksAddresses: Bool
        let dns: AddResult.DNS?
        let hasIPAM: Bool
        private(set) var mac: MACAddress?

        init(_ keys: inout Keys) throws(CNIError) {
            bridge = try keys(
                "bridge", default: "cni0", "The bridge's name; it is made when missing.")
            try keys.requireLinkName(bridge, "bridge")
            isDefaultGateway = try keys(
                "isDefaultGateway", default: false,
                "Makes the bridge the containers' default gateway; implies isGateway.")
            let isGateway = try keys(
                "isGateway", default: false, "Gives the bridge the gateway's address.")
            self.isGateway = isGateway || isDefaultGateway
            forceAddress = try keys(
                "forceAddress", default: false,
                "Replaces another address of the bridge instead of refusing.")
            masquerade = try keys.masquerade()
            mtu = try keys.mtu()
            hairpin = try keys(
                "hairpinMode", default: false, "Lets containers reach themselves by the bridge.")
            promiscuous = try keys(
                "promiscMode", default: false, "Makes the bridge take every packet.")
            vlan = try keys(
                "vlan", default: 0, "The VLAN of the container's packets, 1 to 4094; 0 for none.")
            let trunk = try keys.list(
                "vlanTrunk", "VLANs that the container tags itself.", TrunkEntry.init)
            keepsDefaultVLAN = try keys(
                "preserveDefaultVlan", default: false, "Leaves the port in VLAN 1 as well.")
            let checksSpoofing = try keys(
                "macspoofchk", default: false, "Drops packets from other hardware addresses.")
            checksAddresses = try keys(
                "ipspoofchk", default: false,
                "Drops packets from other IP addresses too, ARP and neighbour discovery included; "
                    + "implies macspoofchk.")
            self.checksSpoofing = checksSpoofing || checksAddresses
            detectsDuplicates = try keys(
                "enabledad", default: false, "Asks the network whether an IPv6 address is taken.")
            leavesInterfaceDown = try keys(
                "disableContainerInterface", default: false,
                "Leaves the container's interface down.")
            isIsolated = try keys(
                "portIsolation", default: false,
                "Keeps the container from reaching other isolated ones.")
            hasIPAM = try !keys.ipamType().isEmpty
            dns = try keys.dns()
            let argument = try keys.mac("args.cni.mac", "The hardware address of the interface.")
            let dynamic = try keys.mac(
                "runtimeConfig.mac", "The same; comes before args.cni.mac.")
            mac = dynamic ?? argument

            guard (0...4094).contains(vlan) else {
                throw keys.invalid(
                    "vlan", "invalid VLAN ID \(vlan) (must be between 0 and 4094)")
            }
            self.trunk = trunk.map { entries in entries.reduce(into: []) { $0.formUnion($1.ids) } }
            if hairpin, promiscuous {
                throw keys.invalid(
                    "hairpinMode",
                    "cannot set hairpin mode and promiscuous mode at the same time")
            }
            if leavesInterfaceDown, hasIPAM {
                throw keys.invalid(
                    "disableContainerInterface",
                    "cannot use IPAM when DisableContainerInterface flag is set")
            }
        }

        /// The options of a call, CNI_ARGS included.
        init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys)
            let argument = try call.argumentMAC()
            mac = mac ?? argument
            // What the interface has by then, the result says: a later plugin may have changed it.
            if call.invocation.verb == .check { mac = nil }
        }
    }

    /// One entry of `vlanTrunk`: a VLAN, a run of VLANs, or both.
    private struct TrunkEntry: Sendable {
        let ids: Set<Int>

        init(_ keys: inout Keys) throws(CNIError) {
            let least: Int? = try keys("minID", "The first VLAN of a run, 1 to 4094.")
            let most: Int? = try keys("maxID", "The last VLAN of a run, 1 to 4094.")
            let single: Int? = try keys("id", "One VLAN, 1 to 4094.")
            let valid = 1...4094
            var ids: Set<Int> = []
            switch (least, most) {
            case (let least?, let most?):
                guard valid.contains(least) else {
                    throw keys.invalid("minID", "incorrect trunk minID parameter")
                }
                guard valid.contains(most) else {
                    throw keys.invalid("maxID", "incorrect trunk maxID parameter")
                }
                guard least <= most else {
                    throw keys.invalid(
                        "minID", "minID is greater than maxID in trunk parameter")
                }
                ids.formUnion(least...most)
            case (nil, .some):
                throw keys.invalid(
                    "minID",
                    "minID and maxID should be configured simultaneously, minID is missing")
            case (.some, nil):
                throw keys.invalid(
                    "maxID",
                    "minID and maxID should be configured simultaneously, maxID is missing")
            case (nil, nil): break
            }
            if let single {
                guard valid.contains(single) else {
                    throw keys.invalid("id", "incorrect trunk id parameter")
                }
                ids.insert(single)
            }
            self.ids = ids
        }
    }
}
