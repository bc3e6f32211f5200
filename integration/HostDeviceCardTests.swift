import Foundation
import Testing

/// The network cards of the guest of `make guest-test`: two of unlike make, on one cable.
///
/// They belong to the guest's own namespace, which is the host here, as a real machine's do.
@Suite("host-device: cards", .serialized, .enabled(if: isRoot && isGuest))
struct HostDeviceCardTests {
    let world: World
    let card: Card
    let other: Card

    /// A network card.
    struct Card {
        let name: String
        let mac: String
        /// The path of the device that has it, below /sys/devices.
        let path: String
        /// Its address on the PCI bus.
        let bus: String

        /// The card with a driver: one of virtio hangs on PCI by a device of its own.
        init(driver: String) throws {
            let links = JSON(text: try output(of: "ip -j link show")).array
            for link in links {
                let name = link["ifname"].string ?? ""
                let path = (try? output(of: "readlink -f /sys/class/net/\(name)/device")) ?? ""
                let used =
                    (try? output(of: "readlink -f /sys/class/net/\(name)/device/driver")) ?? ""
                guard used.hasSuffix("/\(driver)\n") else { continue }
                self.name = name
                mac = link["address"].string ?? ""
                self.path = path.trimmingCharacters(in: .newlines)
                bus =
                    self.path.split(separator: "/").map(String.init).last { $0.contains(":") } ?? ""
                return
            }
            throw Failure("no card of \(driver) among \(links.map { $0["ifname"] })")
        }
    }

    init() throws {
        world = try World()
        card = try Card(driver: "e1000")
        other = try Card(driver: "virtio_net")
    }

    private func call(
        _ verb: String, _ keys: JSON, _ container: World.Container, ipam: JSON? = nil
    ) throws -> Command.Ended {
        let network = Network(plugin: "host-device", keys, ipam: ipam, in: world)
        let environment = [
            "CNI_COMMAND": verb, "CNI_CONTAINERID": container.id, "CNI_NETNS": container.path,
            "CNI_IFNAME": "eth0", "CNI_PATH": world.plugins,
        ]
        return try Command(
            ["\(world.plugins)/host-device"], environment: environment,
            input: Array(network.configuration().description.utf8)
        ).wait()
    }

    /// The host's link of a name, or null.
    private func link(_ name: String) throws -> JSON {
        JSON(text: try run("ip -d -j link show \(name)").output)[0]
    }

    /// The keys that name a card: each in turn must lead to it.
    private func selectors(_ card: Card) -> [JSON] {
        [
            #"{"device": "\#(card.name)"}"#, #"{"hwaddr": "\#(card.mac)"}"#,
            #"{"kernelpath": "\#(card.path)"}"#, #"{"pciBusID": "\#(card.bus)"}"#,
            #"{"runtimeConfig": {"deviceID": "\#(card.bus)"}}"#,
            #"{"pciBusID": "ffff:ff:1f.7", "runtimeConfig": {"deviceID": "\#(card.bus)"}}"#,
        ].map { JSON(text: $0) }
    }

    @Test("a card is lent by each of its names, carries traffic, and comes back as it was")
    func lend() throws {
        let neighbour = try world.container("neighbour")
        let inside = neighbour.path.split(separator: "/").last ?? ""
        try output(of: "ip link set \(other.name) netns \(inside)")
        for gateway in ["10.71.0.1/16", "fd00:71::1/64"] {
            try neighbour.output(of: "ip addr add \(gateway) dev \(other.name) nodad")
        }
        try neighbour.output(of: "ip link set \(other.name) up")
        for keys in selectors(card) {
            let container = try world.trustingContainer()
            let ended = try call("ADD", keys, container, ipam: BridgeTests.dualStack)
            #expect(ended.succeeded, "\(keys): \(ended.output)")
            #expect(ended.json["interfaces"][0]["mac"].string == card.mac)
            #expect(try link(card.name).isNull)
            #expect(try container.run("ping -c 3 -W 10 10.71.0.1").succeeded, "\(keys)")
            #expect(try container.run("ping -c 3 -W 10 fd00:71::1").succeeded, "\(keys)")
            let removal = try call("DEL", keys, container, ipam: BridgeTests.dualStack)
            #expect(removal.succeeded, "\(keys): \(removal.output)")
            let back = try link(card.name)
            #expect(back["address"].string == card.mac)
            #expect(back["ifalias"].isNull && back["altnames"].isNull, "\(back)")
        }
        try neighbour.output(of: "ip link set \(other.name) netns 1")
    }

    @Test("a card of virtio is found by its PCI address, one step further down")
    func virtio() throws {
        for keys in selectors(other) {
            let container = try world.container()
            let ended = try call("ADD", keys, container)
            #expect(ended.succeeded, "\(keys): \(ended.output)")
            #expect(try container.link("eth0")["ifalias"].string == other.name)
            #expect(try call("DEL", keys, container).succeeded)
            #expect(try !link(other.name).isNull)
        }
    }

    @Test("a card that is renamed in the container is found, and has its name again")
    func renamed() throws {
        let keys: JSON = #"{"pciBusID": "\#(card.bus)"}"#
        let container = try world.container()
        #expect(try call("ADD", keys, container).succeeded)
        try container.output(of: "ip link set eth0 down")
        try container.output(of: "ip link set eth0 name mine")
        try container.output(of: "ip link add eth0 type veth peer name other")
        #expect(try call("DEL", keys, container).succeeded)
        #expect(try link(card.name)["address"].string == card.mac)
        #expect(try !container.link("eth0").isNull)
    }

    @Test("a card that came home with the end of its namespace has its name again after DEL")
    func cameHome() throws {
        let keys: JSON = #"{"pciBusID": "\#(card.bus)"}"#
        let container = try world.container()
        #expect(try call("ADD", keys, container).succeeded)
        try container.output(of: "ip link set eth0 down")
        try container.output(of: "ip link set eth0 name mine")
        try world.remove(container)
        try waitFor("card on the host", pause: 100) { try !link("mine").isNull }
        #expect(try link("mine")["ifalias"].string == card.name)
        #expect(try call("DEL", keys, container).succeeded)
        let back = try link(card.name)
        #expect(back["address"].string == card.mac)
        #expect(back["ifalias"].isNull && back["altnames"].isNull, "\(back)")
    }

    @Test("a name that the host has given away meanwhile does not stop the end of a container")
    func conflict() throws {
        let keys: JSON = #"{"hwaddr": "\#(card.mac)"}"#
        let container = try world.container()
        #expect(try call("ADD", keys, container).succeeded)
        try output(of: "ip link add \(card.name) type veth peer name other0")
        let refused = try call("DEL", keys, container)
        #expect(
            refused.json["msg"].string?.contains("the host has another link \(card.name)") == true)
        #expect(try container.link("eth0")["flags"].description.contains("\"UP\""))
        try container.output(of: "ip link set eth0 down")
        try container.output(of: "ip link set eth0 name mine")
        try world.remove(container)
        try waitFor("card on the host", pause: 100) { try !link("mine").isNull }
        #expect(try call("DEL", keys, container).succeeded)
        #expect(try link("mine")["address"].string == card.mac)
        try output(of: "ip link del \(card.name)")
        #expect(try call("DEL", keys, container).succeeded)
        #expect(try link(card.name)["address"].string == card.mac)
    }

    @Test("a card with a driver in user space is no link: the result has addresses alone")
    func userSpace() throws {
        let device = "/sys/bus/pci/devices/\(card.bus)"
        try output(of: "modprobe uio_pci_generic")
        defer {
            try? write("", to: "\(device)/driver_override")
            try? write(card.bus, to: "\(device)/driver/unbind")
            try? write(card.bus, to: "/sys/bus/pci/drivers_probe")
        }
        try write("uio_pci_generic", to: "\(device)/driver_override")
        try write(card.bus, to: "\(device)/driver/unbind")
        try write(card.bus, to: "/sys/bus/pci/drivers_probe")
        for keys: JSON in [
            #"{"pciBusID": "\#(card.bus)"}"#, #"{"runtimeConfig": {"deviceID": "\#(card.bus)"}}"#,
        ] {
            let container = try world.container()
            let ipam: JSON = #"{"type": "static", "addresses": [{"address": "10.71.0.9/16"}]}"#
            let ended = try call("ADD", keys, container, ipam: ipam)
            #expect(ended.succeeded, "\(ended.output)")
            #expect(ended.json["ips"][0]["address"].string == "10.71.0.9/16")
            #expect(ended.json["interfaces"].array.isEmpty)
            #expect(try container.link("eth0").isNull)
            let removal = try call("DEL", keys, container, ipam: ipam)
            #expect(removal.succeeded, "\(removal.output)")
        }
    }

    private func write(_ text: String, to path: String) throws {
        let file = open(path, O_WRONLY | O_CLOEXEC)
        defer { close(file) }
        let bytes = Array("\(text)\n".utf8)
        guard file >= 0, Foundation.write(file, bytes, bytes.count) == bytes.count else {
            throw Failure("write \(path): \(String(cString: strerror(errno)))")
        }
    }
}
