internal import CLinux
internal import Netlink
internal import Plan

extension ContainerLink {
    /// What makes a link in the container.
    public enum Kind: Sendable, Equatable {
        /// A link that leads nowhere.
        case dummy
        /// A link with an address of its own on another link.
        case macvlan(mode: MacvlanMode, queue: Int?)
        /// A link that shares another's hardware address.
        case ipvlan(mode: IPvlanMode)
        /// The packets of a VLAN of another link.
        case vlan(id: Int)
        /// A link whose other end is a file that a program opens.
        case tap(TapSettings)

        /// The kernel's name of the kind.
        var name: String {
            switch self {
            case .dummy: "dummy"
            case .macvlan: "macvlan"
            case .ipvlan: "ipvlan"
            case .vlan: "vlan"
            case .tap: "tun"
            }
        }

        /// Whether the kernel lets its MTU be larger than the lower link's, as users of ipvlan may have it.
        var mayExceedLower: Bool {
            if case .ipvlan = self { true } else { false }
        }

        /// Adds what only this kind has to the message that makes it.
        func put(into data: inout Message) {
            switch self {
            case .dummy, .tap: break
            case .macvlan(let mode, let queue):
                data.put(IFLA_MACVLAN_MODE, mode.number)
                if let queue { data.put(IFLA_MACVLAN_BC_QUEUE_LEN, UInt32(queue)) }
            case .ipvlan(let mode): data.put(IFLA_IPVLAN_MODE, mode.number)
            case .vlan(let id): data.put(IFLA_VLAN_ID, UInt16(id))
            }
        }

        /// This kind with what the kernel says of it.
        func found(in settings: Attributes?) -> Kind {
            switch self {
            case .dummy: return self
            case .macvlan(let mode, _):
                let number = settings?[IFLA_MACVLAN_MODE]?.uint32
                let queue = settings?[IFLA_MACVLAN_BC_QUEUE_LEN]?.uint32
                return .macvlan(
                    mode: MacvlanMode.allCases.first { $0.number == number } ?? mode,
                    queue: queue.map { Int($0) })
            case .ipvlan(let mode):
                let number = settings?[IFLA_IPVLAN_MODE]?.value(UInt16.self)
                return .ipvlan(mode: IPvlanMode.allCases.first { $0.number == number } ?? mode)
            case .vlan(let id):
                let number = settings?[IFLA_VLAN_ID]?.value(UInt16.self)
                return .vlan(id: number.map { Int($0) } ?? id)
            case .tap: return .tap(TapSettings(settings))
            }
        }

        func differences(from found: Kind, of link: String) -> [Difference] {
            switch (self, found) {
            case (.macvlan(let mode, let queue), .macvlan(let other, let otherQueue)):
                return [
                    Difference(
                        in: "\(link): mode", wanted: mode.rawValue, found: other.rawValue),
                    Difference(in: "\(link): bcqueuelen", wanted: queue, found: otherQueue),
                ].compactMap { $0 }
            case (.ipvlan(let mode), .ipvlan(let other)):
                return [
                    Difference(in: "\(link): mode", wanted: mode.rawValue, found: other.rawValue)
                ].compactMap { $0 }
            case (.vlan(let id), .vlan(let other)):
                return [Difference(in: "\(link): VLAN", wanted: id, found: other)]
                    .compactMap { $0 }
            case (.tap(let settings), .tap(let other)):
                return settings.differences(from: other, of: link)
            default: return []
            }
        }
    }

    /// Who the links on one lower link may talk to.
    public enum MacvlanMode: String, Sendable, CaseIterable {
        /// Each other, directly.
        case bridge
        /// Nobody on the same lower link.
        case `private`
        /// Each other, by a switch outside that sends packets back.
        case vepa
        /// There is only one, which has the lower link for itself.
        case passthru

        var number: UInt32 {
            switch self {
            case .bridge: MACVLAN_MODE_BRIDGE.rawValue
            case .private: MACVLAN_MODE_PRIVATE.rawValue
            case .vepa: MACVLAN_MODE_VEPA.rawValue
            case .passthru: MACVLAN_MODE_PASSTHRU.rawValue
            }
        }
    }

    /// On which layer the lower link tells its upper links apart.
    public enum IPvlanMode: String, Sendable, CaseIterable {
        /// As a switch would.
        case l2
        /// As a router would.
        case l3
        /// As a router would, with the host's packet filter in between.
        case l3s

        var number: UInt16 {
            switch self {
            case .l2: UInt16(IPVLAN_MODE_L2.rawValue)
            case .l3: UInt16(IPVLAN_MODE_L3.rawValue)
            case .l3s: UInt16(IPVLAN_MODE_L3S.rawValue)
            }
        }
    }
}
