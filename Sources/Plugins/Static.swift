import Addressing
public import CNI
public import PluginRuntime

/// Gives the addresses that are written in the configuration.
public enum Static: Plugin {
    /// The plugin's name.
    public static let name = "static"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// It does.
    public static var isIPAM: Bool { true }

    /// Answers with the configured addresses, routes and name servers.
    public static func add(_ call: Call) throws(CNIError) -> AddResult {
        try Options(call).result
    }

    /// Checks that the result of ADD still has every configured address, by its configured gateway.
    public static func check(_ call: Call) throws(CNIError) {
        let present = try call.previousResult().addresses
        for wanted in try Options(call).result.addresses {
            let same = present.filter { $0.address.address == wanted.address.address }
            guard !same.isEmpty else {
                throw CNIError(
                    .internalError,
                    "static: Failed to find address \(wanted.address) in prevResult")
            }
            guard let gateway = wanted.gateway, !same.contains(where: { $0.gateway == gateway })
            else { continue }
            throw CNIError(
                .internalError,
                "static: Failed to match addr \(wanted.address.address) on interface "
                    + call.invocation.interface)
        }
    }

    /// Holds nothing, so there is nothing to give back.
    public static func del(_ call: Call) {}

    /// Holds nothing, so nothing can be left over.
    public static func gc(_ call: Call) {}

    /// Checks the configuration.
    public static func status(_ call: Call) throws(CNIError) { _ = try Options(call) }

    /// The keys of the static plugin.
    struct Options: Sendable {
        private(set) var result = AddResult()
        /// Whether the addresses of args or runtimeConfig stand for all others.
        private var isReplaced = false

        private struct AddressKeys: Sendable {
            let text: String
            let gateway: IPAddress?

            init(_ keys: inout Keys) throws(CNIError) {
                text = try keys("address", default: "", "An address with its prefix length.")
                gateway = try keys("gateway", "The gateway of the address's network.")
            }
        }

        init(_ keys: inout Keys) throws(CNIError) {
            let configured =
                try keys.object("ipam", "Address management.") {
                    (keys) throws(CNIError) -> [AddressKeys] in
                    let addresses = try keys.list(
                        "addresses", "The container's addresses.", AddressKeys.init)
                    result.routes =
                        try keys.list("routes", "Routes for the container.", RouteEntry.init)
                        ?? []
                    result.dns =
                        try keys.object("dns", "Name resolution.", AddResult.DNS.init)
                        ?? AddResult.DNS()
                    return addresses ?? []
                }
            let arguments: [String] = try keys(
                "args.cni.ips", default: [], "Addresses instead of those of ipam.")
            let dynamic: [String] = try keys(
                "runtimeConfig.ips", default: [], "Addresses instead of those of args.")
            guard let configured else {
                throw CNIError(.invalidConfiguration, "IPAM config missing 'ipam' key")
            }
            isReplaced = !arguments.isEmpty || !dynamic.isEmpty
            // What others stand for need make no sense.
            if !isReplaced { try setAddresses(configured) }
            try replaceAddresses(by: arguments, "args.cni.ips")
            try replaceAddresses(by: dynamic, "runtimeConfig.ips")
        }

        /// The options of a call, CNI_ARGS included.
        init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys)
            if !isReplaced { try append(call.arguments()) }
            let families = result.addresses.map(\.address.family)
            let version = call.configuration.version
            if version <= .v0_2_0, Set(families).count < families.count {
                throw CNIError(
                    .invalidConfiguration,
                    "CNI version \(version) does not support more than 1 address per family")
            }
        }

        /// Adds the addresses of CNI_ARGS, and each of its gateways to the networks it is in.
        private mutating func append(_ arguments: CNIArguments) throws(CNIError) {
            for text in (arguments["IP"] ?? "").split(separator: ",") {
                let text = trimmed(text)
                guard let prefix = IPPrefix(text) else {
                    throw CNIError(
                        .environment,
                        "CNI_ARGS: IP: the 'ip' field is expected to be in CIDR notation, "
                            + "got: '\(text)'")
                }
                result.addresses.append(.init(prefix))
            }
            for text in (arguments["GATEWAY"] ?? "").split(separator: ",") {
                guard let gateway = IPAddress(trimmed(text)) else {
                    throw CNIError(
                        .environment, "CNI_ARGS: GATEWAY: invalid gateway address: \(text)")
                }
                for index in result.addresses.indices
                where result.addresses[index].address.contains(gateway) {
                    result.addresses[index].gateway = gateway
                }
            }
        }

        private mutating func setAddresses(_ configured: [AddressKeys]) throws(CNIError) {
            for (index, address) in configured.enumerated() {
                guard let prefix = IPPrefix(address.text) else {
                    throw CNIError(
                        .invalidConfiguration,
                        "ipam.addresses[\(index)].address: the 'address' field is expected to be "
                            + "in CIDR notation, got: '\(address.text)'")
                }
                result.addresses.append(.init(prefix, gateway: address.gateway))
            }
        }

        private mutating func replaceAddresses(
            by texts: [String], _ place: String
        ) throws(CNIError) {
            guard !texts.isEmpty else { return }
            result.addresses = []
            for (index, text) in texts.enumerated() {
                guard let prefix = IPPrefix(text) else {
                    throw CNIError(
                        .invalidConfiguration,
                        "\(place)[\(index)]: an entry in the 'ips' field is NOT in CIDR "
                            + "notation, got: '\(text)'")
                }
                result.addresses.append(.init(prefix))
            }
        }
    }
}

/// A text without the white space around it.
private func trimmed(_ text: Substring) -> String {
    let rest = text.drop { $0.isWhitespace }
    guard let last = rest.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return String(rest[...last])
}
