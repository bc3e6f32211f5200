/// A machine outside the world's host, which knows the host's addresses and no container's.
struct Outside {
    static let address = "192.0.2.2"
    static let address6 = "2001:db8::2"
    let machine: World.Container

    /// Joins a new machine to the host by a link of its own.
    init(_ world: World) throws {
        machine = try world.container("outside")
        let name = machine.path.split(separator: "/").last.map(String.init) ?? ""
        try world.onHost("ip link add up0 type veth peer name wire0 netns \(name)")
        try world.onHost("ip addr add 192.0.2.1/24 dev up0")
        try world.onHost("ip addr add 2001:db8::1/64 dev up0 nodad")
        // For a packet on its way the kernel asks for no neighbour while its own address is tentative.
        try world.onHost("sysctl -qw net.ipv6.conf.up0.accept_dad=0")
        try machine.output(of: "sysctl -qw net.ipv6.conf.wire0.accept_dad=0")
        try world.onHost("ip link set up0 up")
        try machine.output(of: "ip addr add \(Self.address)/24 dev wire0")
        try machine.output(of: "ip addr add \(Self.address6)/64 dev wire0 nodad")
        try machine.output(of: "ip link set wire0 up")
        let rules = """
            table inet watch {
                set seen4 { type ipv4_addr; flags dynamic; }
                set seen6 { type ipv6_addr; flags dynamic; }
                chain input {
                    type filter hook prerouting priority raw
                    icmp type echo-request add @seen4 { ip saddr }
                    icmpv6 type echo-request add @seen6 { ip6 saddr }
                }
            }
            """
        let ended = try Command(
            ["nft", "-f", "-"], input: Array((rules + "\n").utf8), in: machine.path
        ).wait()
        guard ended.succeeded else { throw Failure("nft: \(ended.errors)") }
    }

    /// Lets the machine send to containers, by way of the host.
    func addRoutes() throws {
        try machine.output(of: "ip route add default via 192.0.2.1")
        try machine.output(of: "ip -6 route add default via 2001:db8::1")
    }

    /// The source addresses of the pings that have come in since the last look.
    func seen() throws -> [String] {
        var addresses: [String] = []
        for set in ["seen4", "seen6"] {
            let listed = JSON(text: try machine.output(of: "nft -j list set inet watch \(set)"))
            for object in listed["nftables"].array {
                addresses += object["set"]["elem"].array.compactMap(\.string)
            }
            try machine.output(of: "nft flush set inet watch \(set)")
        }
        return addresses
    }
}
