import CLinux
import CNI
import Glibc
import PluginRuntime
import Plugins

/// The kernel's answers still to come: datagrams with their length, of two bytes, before them.
nonisolated(unsafe) private var answers: ArraySlice<UInt8> = []
/// The sequence numbers that the last message sent has.
nonisolated(unsafe) private var asked: [UInt32] = []

/// libmnl's sending, which goes nowhere here.
@_cdecl("mnl_socket_sendto")
public func sendNowhere(_ socket: OpaquePointer, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
    asked = []
    var offset = 0
    while offset + 16 <= count {
        let header = bytes.loadUnaligned(fromByteOffset: offset, as: nlmsghdr.self)
        asked.append(header.nlmsg_seq)
        offset += max(16, Int(header.nlmsg_len + 3) & ~3)
    }
    return count
}

/// libmnl's receiving, which takes the next of the answers.
///
/// Their sequence numbers are those of the requests, since answers to others are passed over.
@_cdecl("mnl_socket_recvfrom")
public func receiveAnswer(
    _ socket: OpaquePointer, _ buffer: UnsafeMutableRawPointer, _ size: Int
) -> Int {
    guard answers.count >= 2 else {
        errno = ENOBUFS
        return -1
    }
    let length = Int(answers.removeFirst()) | Int(answers.removeFirst()) << 8
    var datagram = Array(answers.prefix(min(length, size)))
    answers = answers.dropFirst(length)
    var offset = 0
    while offset + 16 <= datagram.count, !asked.isEmpty {
        let place = Int(datagram[offset + 8])
        let sequence = asked[place % asked.count]
        withUnsafeBytes(of: sequence) {
            datagram.replaceSubrange(offset + 8..<offset + 12, with: $0)
        }
        let length = (0..<4).reduce(0) { $0 | Int(datagram[offset + $1]) << ($1 * 8) }
        offset += max(16, (length + 3) & ~3)
    }
    buffer.copyMemory(from: datagram, byteCount: datagram.count)
    return datagram.count
}

/// A configuration of each plugin that reads anything of the kernel, with a result before it.
private let configurations = [
    """
    {"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true,
     "macspoofchk": true, "vlan": 5, "ipam": {"type": "static",
     "addresses": [{"address": "10.1.0.5/24"}, {"address": "fd00::5/64"}]}
    """,
    #"{"type": "ptp", "ipMasq": true"#, #"{"type": "macvlan", "master": "eth1""#,
    #"{"type": "ipvlan", "master": "eth1""#, #"{"type": "vlan", "master": "eth1", "vlanId": 5"#,
    #"{"type": "dummy""#, #"{"type": "host-device", "device": "eth1""#, #"{"type": "tap""#,
    #"{"type": "loopback""#, #"{"type": "sbr""#, #"{"type": "vrf", "vrfname": "red""#,
    #"{"type": "tuning", "mtu": 1400, "promisc": true"#,
    """
    {"type": "portmap", "runtimeConfig": {"portMappings":
     [{"hostPort": 80, "containerPort": 80}, {"hostPort": 53, "containerPort": 53, "protocol": "udp"}]}
    """,
    """
    {"type": "bandwidth", "ingressRate": 8000, "ingressBurst": 8000, "egressRate": 8000,
     "egressBurst": 8000, "unshapedSubnets": ["10.2.0.0/16"]
    """,
]

private let common = """
    , "name": "net", "cniVersion": "1.1.0", "cni.dev/valid-attachments": [],
    "prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "cni0"},
    {"name": "veth0123456789a"}, {"name": "eth0", "sandbox": "/proc/self/ns/net"}],
    "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 2},
    {"address": "fd00::5/64", "interface": 2}], "routes": [{"dst": "0.0.0.0/0"}]}}
    """

/// Runs a plugin's verb with the input's bytes for the kernel's answers, rtnetlink's and nftables'.
///
/// The first byte says which plugin, the second which verb.
func fuzzKernel(_ input: [UInt8]) {
    guard input.count > 2 else { return }
    let configuration = configurations[Int(input[0]) % configurations.count] + common
    let verb = ["CHECK", "DEL", "GC", "STATUS"][Int(input[1]) % 4]
    let environment = [
        "CNI_COMMAND": verb, "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0", "CNI_PATH": "/nowhere",
        "CNI_NETNS": "/proc/self/ns/net", "CNI_NETNS_OVERRIDE": "1",
    ]
    guard let start = configuration.firstRange(of: "\"type\": \"") else { return }
    let name = configuration[start.upperBound...].prefix { $0 != "\"" }
    guard let type = plugin(named: String(name)) else { fatalError("no plugin \(name)") }
    answers = input[2...]
    let output = Program.serve(
        type, siblings: plugin(named:), environment: { environment[$0] },
        input: { () throws(CNIError) in Array(configuration.utf8) })
    guard output.status == 0 || output.standardOutput.hasPrefix("{") else {
        fatalError("an error that is no JSON: \(output.standardOutput)")
    }
}
