import Addressing
import CNI
import IPAM
import PluginRuntime
import Rtnetlink

extension Tuning {
    /// What an interface's settings were before they were changed, kept for DEL in the reference's
    /// form: `<dataDir>/<container>_<interface>.json`.
    ///
    /// Beside the reference's keys it says whose it is, so that GC can tell.
    struct State: ~Copyable {
        /// Where the reference keeps it.
        static let directory = "/run/cni/tuning"

        private let place: Directory
        private let owner: Owner
        private var name: String { "\(owner.containerID)_\(owner.interface).json" }

        /// Opens the directory; nil if it does not exist and is not to be made.
        static func open(
            _ path: String, of owner: Owner, creating: Bool
        ) throws(CNIError) -> State? {
            guard let place = try Directory.open(path, creating: creating) else { return nil }
            return State(place: place, owner: owner)
        }

        private init(place: consuming Directory, owner: Owner) {
            self.place = place
            self.owner = owner
        }

        /// The file as it is, or nil.
        func text() throws(CNIError) -> String? { try place.read(name) }

        /// Notes how settings were.
        ///
        /// What another tuning of the chain noted stays: it was the first to see the interface.
        func save(_ settings: LinkSettings) throws(CNIError) {
            let before = try text().flatMap { try? JSON(parsing: Array($0.utf8)) }
            var state = before?.members == nil ? JSON.object([]) : before ?? .object([])
            let note = { (key: String, value: JSON?) in
                if let value, state[key] == nil { state = state.setting(key, to: value) }
            }
            note("mac", settings.mac.map { .string("\($0)") })
            note("promisc", settings.promiscuous.map { .bool($0) })
            note("mtu", settings.mtu.map { .integer($0) })
            note("allmulti", settings.allMulticast.map { .bool($0) })
            note("txQLen", settings.queueLength.map { .integer($0) })
            note("owner", .string(owner.tag))
            try place.replace(name, with: state.text(indented: true))
        }

        /// Puts back what the file was.
        func restore(_ text: String?) throws(CNIError) {
            if let text { try place.replace(name, with: text) } else { try remove() }
        }

        /// The settings that were noted; none if the file is missing or damaged.
        func settings() -> LinkSettings {
            var settings = LinkSettings(of: owner.interface, in: .container)
            guard let text = try? text(), let state = try? JSON(parsing: Array(text.utf8))
            else { return settings }
            settings.mac = state["mac"]?.text.flatMap { MACAddress($0) }
            settings.promiscuous = state["promisc"].flatMap { Bool($0) }
            settings.mtu = state["mtu"].flatMap { Int($0) }.flatMap(Self.number)
            settings.allMulticast = state["allmulti"].flatMap { Bool($0) }
            settings.queueLength = state["txQLen"].flatMap { Int($0) }.flatMap(Self.number)
            return settings
        }

        /// Removes the file, and what is left of one that was being written.
        func remove() throws(CNIError) {
            try place.remove(name)
            try place.remove(".\(name)")
        }

        /// Removes the files of owners that are not to be kept.
        func remove(except keep: (Owner) -> Bool) throws(CNIError) {
            for name in try place.names() where name.hasSuffix(".json") {
                guard let text = try? place.read(name),
                    let tag = (try? JSON(parsing: Array(text.utf8)))?["owner"]?.text,
                    let owner = Owner(tag: tag), !keep(owner)
                else { continue }
                try place.remove(name)
            }
        }

        private static func number(_ value: Int) -> Int? {
            (0...Int(UInt32.max)).contains(value) ? value : nil
        }
    }
}
