internal import Plugins
internal import Rtnetlink
public import TrafficControl

/// Containers that share a tree in each direction.
public struct ShapingGroup: Sendable {
    /// Its name.
    public let name: String
    private let egress: String
    private let ingress: String
    /// The table of nftables that says whose packets are whose.
    public let table: String

    /// The link whose tree a direction shares.
    public func link(_ direction: Direction) -> String {
        direction == .egress ? egress : ingress
    }

    /// The link of the host's whose tree a direction shares.
    func port(_ direction: Direction) -> Port { Port(link(direction)) }

    /// The groups whose links are among these.
    static func all(_ links: [LinkState]) -> [ShapingGroup] {
        let names = Set(
            links.filter { $0.kind == "ifb" }.compactMap { Bandwidth.group(ofLink: $0.name) })
        return names.sorted().map { name in
            let (egress, ingress, table) = Bandwidth.objects(ofGroup: name)
            return ShapingGroup(name: name, egress: egress, ingress: ingress, table: table)
        }
    }
}
