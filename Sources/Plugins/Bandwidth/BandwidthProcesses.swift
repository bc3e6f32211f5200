import CNI
import Netlink
import PluginRuntime
import Rtnetlink
import SystemPackage
import TrafficControl

extension Bandwidth {
    /// The `processes` object: what processes of the host itself send, by their cgroups.
    struct ProcessKeys: Sendable {
        /// An object of `classes`: the processes of a cgroup.
        struct Class: Sendable {
            let name: String
            let cgroup: String?
            let netClass: UInt32?
            let share: Share

            init(_ keys: inout Keys) throws(CNIError) {
                let name: String? = try keys("name", "The class's name, the network's own.")
                cgroup = try keys(
                    "cgroup", "A cgroup of version 2, as its path below the root.")
                let number: Int? = try keys(
                    "netClass", "A number in net_cls.classid of cgroups of version 1.")
                guard
                    let share = try keys.object(
                        "egress", "What the processes send.", Share.init)
                else { throw keys.invalid("egress", "missing") }
                self.share = share
                guard let name else { throw keys.invalid("name", "missing") }
                try requirePlain(name, "name", keys)
                self.name = name
                netClass = try number.map { (number) throws(CNIError) in
                    guard let number = UInt32(exactly: number), number > 0 else {
                        throw keys.invalid("netClass", "\(number) is not of 32 bits")
                    }
                    return number
                }
                guard (cgroup == nil) != (netClass == nil) else {
                    throw keys.invalid("cgroup", "one of cgroup and netClass must be set")
                }
                guard
                    cgroup.map({ (1...ProcessSteering.deepest).contains(parts($0).count) }) ?? true
                else {
                    throw keys.invalid(
                        "cgroup",
                        "not of 1 to \(ProcessSteering.deepest) names: \"\(cgroup ?? "")\"")
                }
                guard !parts(cgroup ?? "").contains(where: { [".", ".."].contains($0) }) else {
                    throw keys.invalid(
                        "cgroup", "not a path without . and ..: \"\(cgroup ?? "")\"")
                }
                guard share.rate != nil || share.ceil != nil else {
                    throw keys.invalid("egress", "neither rate nor ceil is set")
                }
                if let rate = share.rate, let ceil = share.ceil, rate > ceil {
                    throw keys.invalid(
                        "egress.rate", "\(rate) is more than the ceiling, \(ceil)")
                }
            }

            /// What its class may take.
            var limit: Options.Limit {
                let ceil = share.ceil ?? share.rate ?? Options.least
                return Options.Limit(share.rate ?? min(ceil, ceil.hundredth), ceil, share)
            }

            /// What tells its processes apart.
            func selector(_ path: String) throws(CNIError) -> ProcessSteering.Processes.Selector {
                if let netClass { return .netClass(netClass) }
                let names = parts(cgroup ?? "")
                guard let inode = cgroupNumber(of: names.joined(separator: "/")) else {
                    throw CNIError(
                        .invalidConfiguration,
                        "\(path).cgroup: there is no cgroup of version 2 \"\(cgroup ?? "")\"")
                }
                return .cgroup(inode, level: names.count)
            }
        }

        let uplink: String
        let classes: [Class]

        init(_ keys: inout Keys) throws(CNIError) {
            let uplink: String? = try keys("uplink", "The host's link that they send by.")
            classes =
                try keys.list("classes", "A class for each cgroup.", Class.init) ?? []
            guard let uplink else { throw keys.invalid("uplink", "missing") }
            guard (1...LinkState.longestName).contains(uplink.utf8.count) else {
                throw keys.invalid(
                    "uplink", "\"\(uplink)\" is not of 1 to \(LinkState.longestName) characters")
            }
            self.uplink = uplink
            for (index, one) in classes.enumerated()
            where classes[..<index].contains(where: { $0.name == one.name }) {
                throw keys.invalid(
                    "classes[\(index)].name", "\"\(one.name)\" is another class's name")
            }
        }
    }
}

private func parts(_ path: String) -> [String] {
    path.split(separator: "/").map(String.init)
}
