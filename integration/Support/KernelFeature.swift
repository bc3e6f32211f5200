import Foundation

/// What not every kernel has; tests of it are skipped where it is missing.
///
/// On the guest's kernel of `make guest-test` nothing is, and so nothing of it is skipped.
enum KernelFeature: String, CaseIterable {
    case dummy, vlan, ipvlan, vrf, sctp
    /// Bridges that tell VLANs apart.
    case bridgeVLANs

    var isPresent: Bool { isGuest || Self.present.contains(self) }

    private static let present = Set(allCases.filter(\.works))

    private var works: Bool {
        let command =
            switch self {
            case .dummy: "ip link add probe type dummy"
            case .sctp:
                "python3 -c 'import socket as s; s.socket(s.AF_INET, s.SOCK_STREAM, s.IPPROTO_SCTP)'"
            case .vrf: "ip link add probe type vrf table 5"
            case .bridgeVLANs: "ip link add probe type bridge vlan_filtering 1"
            case .vlan:
                "ip link add lower type veth peer name other && ip link add probe link lower type vlan id 5"
            case .ipvlan:
                "ip link add lower type veth peer name other && ip link add probe link lower type ipvlan"
            }
        let ended = try? Command(["unshare", "--net", "sh", "-c", command]).wait()
        return ended?.succeeded == true
    }
}

/// Whether this is the guest of `make guest-test`.
let isGuest = ProcessInfo.processInfo.environment["CNI_TEST_GUEST"] != nil

/// Whether SELinux is on, which it is in one guest only.
let hasSELinux =
    (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8))?.contains("selinuxfs")
    == true

extension World {
    /// A container whose addresses of IPv6 are its own without asking, which takes a second or two.
    func trustingContainer() throws -> Container {
        let container = try container()
        try container.output(of: "sysctl -qw net.ipv6.conf.default.accept_dad=0")
        return container
    }
}
