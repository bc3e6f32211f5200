import Addressing
public import CNI
import Netlink
public import Plan
public import PluginRuntime
public import Rtnetlink
import SystemPackage

/// Routes what a container sends from an address of the interface by that interface: source based
/// routing, with a table for each address.
public enum SourceRouting: PlannedPlugin {
    /// The plugin's name.
    public static let name = "sbr"

    /// The configuration keys.
    public static var keys: [KeyDescription] { Keys.describe(Options.init) }

    /// The keys of the sbr plugin.
    struct Options: Sendable {
        let table: Int?
        let gateways: [IPAddress]
        let addsSourceHints: Bool

        init(_ keys: inout Keys) throws(CNIError) {
            table = try keys(
                "table", "A table that is filled elsewhere: only rules that look it up are made.")
            gateways = try keys(
                "gateways", default: [], "Gateways instead of the addresses', one a family.")
            addsSourceHints = try keys(
                "addSourceHints", default: false,
                "Leaves the routes to the interface's networks in the main table too.")
            for family in Family.allCases
            where gateways.filter({ $0.family == family }).count > 1 {
                throw keys.invalid("gateways", "more than one of a family")
            }
            if let table, !(1...Int(UInt32.max)).contains(table) {
                throw keys.invalid("table", "invalid table \(table)")
            }
        }

        init(_ call: Call) throws(CNIError) {
            var keys = Keys(call.configuration.json)
            try self.init(&keys)
        }

        /// A result whose default routes are by the gateways of the configuration, as CHECK finds them.
        func naming(_ result: AddResult) -> AddResult {
            guard table == nil else { return result }
            var result = result
            for gateway in gateways {
                let everything = IPPrefix(everythingIn: gateway.family)
                for index in result.routes.indices
                where result.routes[index].destination == everything
                    && result.routes[index].table == nil
                {
                    result.routes[index].gateway = gateway
                }
            }
            return result
        }
    }

    /// The first table that is taken.
    private static let firstTable = 100

    /// Makes a rule and a table for each address, and moves the interface's routes there.
    public static func add(_ call: Call) throws(CNIError) -> AddResult {
        let options = try Options(call)
        guard let result = call.configuration.previous else {
            throw CNIError(
                .invalidConfiguration, "This plugin must be called as chained plugin")
        }
        _ = try result.json(for: call.configuration.version)
        _ = try addresses(of: result, call.invocation.interface)
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        // The tables that are free must be so until they are taken.
        try wrapping { () throws(KernelError) in try kernel.lockContainer() }
        try plan(call, kernel).add(to: kernel)
        return options.naming(result)
    }

    /// A rule and a table for each address, and the interface's routes there instead of in the main
    /// table.
    public static func plan(_ call: Call, _ kernel: Kernel) throws(CNIError) -> Plan<Kernel> {
        let options = try Options(call)
        let interface = call.invocation.interface
        let addresses = try addresses(of: call.previousResult(), interface)
        if let table = options.table {
            return Plan(
                addresses.map {
                    PolicyRule(from: $0.address.address, table: table, in: .container)
                })
        }
        return try wrapping { () throws(KernelError) in
            try plan(addresses, options, by: interface, kernel)
        }
    }

    private static func plan(
        _ addresses: [AddResult.Address], _ options: Options, by interface: String,
        _ kernel: Kernel
    ) throws(KernelError) -> Plan<Kernel> {
        let index = try kernel.index(of: interface, in: .container)
        var (used, routes) = try tables(kernel)
        routes = routes.filter { $0.link == index && $0.table == Route.mainTable }
        let own = routes.inOrder

        var all: [any Resource<Kernel>] = []
        var moved: [Int] = []
        var table = firstTable
        for entry in addresses {
            while used.contains(table) { table += 1 }
            used.insert(table)
            let family = entry.address.family
            let everything = IPPrefix(everythingIn: family)
            let given = options.gateways.first { $0.family == family }
            var copies: [ListedRoute] = []
            for (number, route) in own.enumerated() where route.destination.family == family {
                guard
                    route.source == nil && route.gateway == nil
                        || [route.source, route.gateway].compactMap({ $0 }).contains(
                            where: entry.address.contains)
                else { continue }
                moved.append(number)
                // The configured gateway is there instead of the default routes that there are.
                guard given == nil || route.destination != everything else { continue }
                var copy = route
                copy.table = table
                copies.append(copy)
            }
            for copy in copies { all.append(copy) }
            let hops = copies.map { (destination: $0.destination, gateway: $0.gateway) }
            if var standard = defaultRoute(of: entry, options, on: interface, besides: hops) {
                standard.table = table
                all.append(standard)
            }
            all.append(PolicyRule(from: entry.address.address, table: table, in: .container))
        }
        for (number, route) in own.enumerated().reversed() where moved.contains(number) {
            guard options.addsSourceHints, route.isOnLink else {
                all.append(ReplacedRoute(route, by: nil))
                continue
            }
            guard route.source == nil,
                let source = addresses.first(where: {
                    $0.address.family == route.destination.family
                        && $0.address.contains(route.destination.address)
                })
            else { continue }
            var hinted = route
            hinted.source = source.address.address
            all.append(ReplacedRoute(route, by: hinted))
        }
        return Plan(all)
    }

    /// The container's routes, and the tables that they or a rule are of.
    private static func tables(
        _ kernel: Kernel
    ) throws(KernelError) -> (used: Set<Int>, routes: [ListedRoute]) {
        var used: Set<Int> = []
        var routes: [ListedRoute] = []
        for family in Family.allCases {
            used.formUnion(try kernel.ruleTables(of: family, in: .container))
            routes += try kernel.routes(of: family, in: .container)
        }
        return (used.union(routes.map(\.table)), routes)
    }

    /// The rules, each with its table as it is or, where the rule has gone, as it can be told by the
    /// routes that are left.
    public static func wanted(_ call: Call, _ kernel: Kernel) throws(CNIError) -> Plan<Kernel> {
        let options = try Options(call)
        guard options.table == nil else { return try plan(call, kernel) }
        let attachment = Attachment(call, chainedTo: try call.previousResult())
        let addresses = try addresses(of: attachment.result, attachment.interface)
        return try wrapping { () throws(KernelError) in
            let index = try kernel.index(of: attachment.interface, in: .container)
            var (used, routes) = try tables(kernel)
            routes = routes.filter { $0.link == index && $0.table >= firstTable }
            var rules: [PolicyRule] = []
            for family in Family.allCases {
                rules += try kernel.rules(of: family, in: .container)
            }
            var steps: [any Resource<Kernel>] = []
            for entry in addresses {
                let address = entry.address
                let orphan = routes.first { route in
                    route.destination == address.network
                        && !rules.contains { $0.table == route.table }
                }
                var table = rules.first { $0.source == address.address }?.table ?? orphan?.table
                if table == nil {
                    table = (firstTable...).first { !used.contains($0) }
                }
                guard let table else { continue }
                used.insert(table)
                steps += Self.routes(of: entry, attachment, options).map { route in
                    var route = route
                    route.table = table
                    return route
                }
                steps.append(PolicyRule(from: address.address, table: table, in: .container))
            }
            return Plan(steps)
        }
    }

    /// What an address's table has: its network, what the result routes by it, the default route.
    private static func routes(
        of entry: AddResult.Address, _ attachment: Attachment, _ options: Options
    ) -> [Route] {
        let (address, interface) = (entry.address, attachment.interface)
        let everything = IPPrefix(everythingIn: address.family)
        let given = options.gateways.first { $0.family == address.family }
        var routes: [Route] = []
        if address.length < address.family.bitWidth {
            routes.append(
                Route(to: address.network, by: nil, on: interface, in: .container, .owned))
        }
        for route in attachment.result.routes
        where route.destination.family == address.family && route.table == nil {
            let gateway = attachment.gateway(for: route)
            guard gateway.map(address.contains) ?? true,
                given == nil || route.destination != everything
            else { continue }
            routes.append(
                Route(to: route.destination, by: gateway, on: interface, in: .container, .owned))
        }
        let hops = routes.map { (destination: $0.destination, gateway: $0.gateway) }
        if let standard = defaultRoute(of: entry, options, on: interface, besides: hops) {
            routes.append(standard)
        }
        return routes
    }

    /// The default route of an address's table by the configured gateway or the address's own, unless it is
    /// among those that the table has anyway.
    private static func defaultRoute(
        of entry: AddResult.Address, _ options: Options, on interface: String,
        besides routes: [(destination: IPPrefix, gateway: IPAddress?)]
    ) -> Route? {
        let family = entry.address.family
        let everything = IPPrefix(everythingIn: family)
        let given = options.gateways.first { $0.family == family }
        guard let gateway = given ?? entry.gateway,
            !routes.contains(where: { $0 == (everything, gateway) })
        else { return nil }
        return Route(to: everything, by: gateway, on: interface, in: .container, .owned)
    }

    /// The result's addresses of the interface, and those of which it does not say whose they are.
    private static func addresses(
        of result: AddResult, _ interface: String
    ) throws(CNIError) -> [AddResult.Address] {
        guard !result.addresses.isEmpty else {
            throw CNIError(
                .invalidConfiguration, "No IP addresses supplied on interface: \(interface)")
        }
        return result.addresses { $0.name == interface }
    }

    /// Checks that every address has its rule.
    public static func check(_ call: Call) throws(CNIError) {
        _ = try addresses(of: call.previousResult(), call.invocation.interface)
        let kernel = try call.kernel()
        defer { try? kernel.returnHome() }
        try Plan(wanted(call, kernel).steps.filter { $0 is PolicyRule }).check(kernel)
    }

    /// Removes the rules for the interface's addresses; the tables go with the interface.
    public static func del(_ call: Call) throws(CNIError) {
        _ = try call.leniently(Options.init)
        let kernel = try call.kernelForUntaggedRemoval()
        defer { try? kernel.returnHome() }
        guard kernel.hasContainer else { return }
        let interface = call.invocation.interface
        try wrapping { () throws(KernelError) in
            try kernel.lockContainer()
            var own =
                (call.configuration.previous.flatMap { try? addresses(of: $0, interface) } ?? [])
                .map(\.address.address)
            if let link = try kernel.link(interface, in: .container) {
                own += try kernel.addresses(of: link.index, interface, in: .container)
                    .map(\.prefix.address)
            }
            for family in Family.allCases {
                for rule in try kernel.rules(of: family, in: .container)
                where own.contains(rule.source) {
                    try rule.erase(kernel)
                }
            }
        }
    }

    /// Makes nothing outside the container, so nothing can be left over.
    public static func gc(_ call: Call) {}

    /// Can always serve.
    public static func status(_ call: Call) throws(CNIError) { _ = try Options(call) }
}
