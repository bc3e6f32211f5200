import Addressing
import CNI
import Plan
import PluginRuntime
import Rtnetlink

extension Tuning {
    /// The keys of the tuning plugin.
    struct Options: Sendable {
        /// The kernel settings, as they are written.
        private(set) var sysctls: [Setting]
        let dataDirectory: String
        private(set) var mac: String
        let promiscuous: Bool
        let mtu: Int
        let queueLength: Int?
        let allMulticast: Bool?
        /// Whether `args.cni` or `runtimeConfig` say what the hardware address is.
        private let hasRuntimeMAC: Bool

        /// A kernel setting: `net.core.somaxconn` or `net/core/somaxconn`, and its value.
        struct Setting: Sendable, Equatable {
            let key: String
            let value: String
        }

        /// The object of a `sysctl` key.
        private struct Settings: ConfigurationValue {
            static let typeName = "an object of strings"
            let list: [Setting]

            init?(_ json: JSON) {
                guard let members = json.members else { return nil }
                var list: [Setting] = []
                for (key, value) in members {
                    guard let text = String(value) else { return nil }
                    list.append(Setting(key: key, value: text))
                }
                self.list = list
            }

            static func mismatch(
                in json: JSON
            ) -> (place: String, wanted: String, found: JSON) {
                guard let member = json.members?.first(where: { String($0.value) == nil }) else {
                    return ("", typeName, json)
                }
                return (".\(member.key)", String.typeName, member.value)
            }
        }

        init(_ keys: inout Keys) throws(CNIError) {
            let named: Settings? = try keys(
                "sysctl",
                "Settings below /proc/sys/net in the container; IFNAME in a key is "
                    + "the interface.")
            let directory: String = try keys(
                "dataDir", default: State.directory, "Where the interface's own settings are kept.")
            let mac: String = try keys("mac", default: "", "The interface's hardware address.")
            let promiscuous = try keys(
                "promisc", default: false, "Makes the interface take every packet.")
            let mtu = try keys("mtu", default: 0, "The interface's MTU in bytes; 0 leaves it.")
            let queueLength: Int? = try keys(
                "txQLen", "The length of the interface's transmit queue in packets.")
            let allMulticast: Bool? = try keys(
                "allmulti", "Whether the interface takes every multicast packet.")
            let runtimeMAC: String = try keys(
                "runtimeConfig.mac", default: "", "The hardware address; comes before mac.")
            let more: Settings? = try keys("args.cni.sysctl", "Settings over those of sysctl.")
            let argumentMAC: String? = try keys(
                "args.cni.mac", "The hardware address; comes before runtimeConfig.mac.")
            self.promiscuous =
                try keys("args.cni.promisc", "The same as promisc, over it.") ?? promiscuous
            self.mtu = try keys("args.cni.mtu", "The same as mtu, over it.") ?? mtu
            self.queueLength =
                try keys("args.cni.txQLen", "The same as txQLen, over it.") ?? queueLength
            self.allMulticast =
                try keys("args.cni.allmulti", "The same as allmulti, over it.") ?? allMulticast
            sysctls = (named?.list ?? []).filter { setting in
                !(more?.list ?? []).contains { $0.key == setting.key }
            }
            sysctls += more?.list ?? []
            dataDirectory = directory.isEmpty ? State.directory : directory
            self.mac = argumentMAC ?? (runtimeMAC.isEmpty ? mac : runtimeMAC)
            hasRuntimeMAC = argumentMAC != nil || !runtimeMAC.isEmpty
            for (key, value) in [("mtu", self.mtu), ("txQLen", self.queueLength ?? 0)]
            where !(0...Int(UInt32.max)).contains(value) {
                throw keys.invalid(key, "out of range: \(value)")
            }
        }

        /// The options of a call, CNI_ARGS included.
        init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys)
            let argument = try call.arguments()["MAC"]
            if let argument, !hasRuntimeMAC { mac = argument }
        }

        /// Refuses a `sysctl` object that has a key twice, in whichever spelling.
        func requireSingleKeys(_ call: Call) throws(CNIError) {
            var paths: [String] = []
            let repeated =
                [["sysctl"], ["args", "cni", "sysctl"]].lazy
                .compactMap { JSON.repeatedKey(in: call.invocation.input, under: $0) }.first
                ?? sysctls.first { setting in
                    let path = setting.path(for: call.invocation.interface)
                    defer { paths.append(path) }
                    return paths.contains(path)
                }?.key
            guard let repeated else { return }
            throw CNIError(
                .invalidConfiguration,
                "sysctl: duplicated sysctl keys are not allowed: \(repeated)")
        }

        /// What ADD makes of the keys.
        func plan(for interface: String) throws(CNIError) -> Plan<Kernel> {
            let settings = try settings(of: interface)
            let link = try link(interface)
            return Plan {
                settings.map { $0 as any Resource<Kernel> }
                if !link.isEmpty { link }
            }
        }

        /// The kernel's settings in the container.
        ///
        /// - Throws: Code 7 for a key outside net.
        func settings(of interface: String) throws(CNIError) -> [Sysctl] {
            var settings: [Sysctl] = []
            for setting in sysctls {
                let path = setting.path(for: interface)
                let parts = path.split(separator: "/")
                guard parts.count > 1, parts[0] == "net",
                    !parts.contains(where: { $0 == "." || $0 == ".." })
                else {
                    throw CNIError(
                        .invalidConfiguration, "invalid net sysctl key: \"\(setting.key)\"")
                }
                settings.append(Sysctl(path, setting.value, in: .container, .owned))
            }
            return settings
        }

        /// The settings of the interface itself.
        func link(_ interface: String) throws(CNIError) -> LinkSettings {
            var link = LinkSettings(of: interface, in: .container)
            if !mac.isEmpty {
                guard let address = MACAddress(mac) else {
                    throw CNIError(
                        .invalidConfiguration, "mac: not a hardware address: \"\(mac)\"")
                }
                link.mac = address
            }
            link.mtu = mtu == 0 ? nil : mtu
            link.promiscuous = promiscuous ? true : nil
            link.allMulticast = allMulticast
            link.queueLength = queueLength
            return link
        }
    }
}

extension Tuning.Options.Setting {
    /// The path below /proc/sys.
    ///
    /// As with sysctl(8), whichever of `.` and `/` comes first in the
    /// key separates, and the other stands for the dot in an interface's name.
    func path(for interface: String) -> String {
        let first = key.utf8.first { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "/") }
        let isDotted = first == UInt8(ascii: ".")
        var bytes = key.utf8.map { byte in
            switch byte {
            case UInt8(ascii: ".") where isDotted: UInt8(ascii: "/")
            case UInt8(ascii: "/") where isDotted: UInt8(ascii: ".")
            default: byte
            }
        }
        let mark = Array("IFNAME".utf8)
        let places = bytes.count < mark.count ? [] : Array(0...bytes.count - mark.count)
        if let place = places.first(where: { Array(bytes[$0..<$0 + mark.count]) == mark }) {
            bytes.replaceSubrange(place..<place + mark.count, with: Array(interface.utf8))
        }
        // One at the beginning and more than one in between are as good as none.
        return String(decoding: bytes, as: UTF8.self).split(separator: "/").joined(separator: "/")
    }
}
