import Addressing
import ArgumentParser
import CNI
import Operator

/// Says what ADD would make.
struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Says what add would make of a network, and makes none of it.",
        discussion: """
            The plugins' plans are carried out in two network namespaces that nobody else sees and \
            that are gone afterwards; of the host it is only read what there is already. The \
            addresses are the next that are free, and stay so; hardware addresses and class \
            numbers may be others at ADD. Rules are shown as nft lists them on a host that has none of \
            them yet; of the checks of senders there is one that nft does not read back. Ends with 2 if something cannot be told or would fail.
            """)

    @Argument(help: "The network's name, or a file with a slash in its path.")
    var network: String

    @Flag(help: "Only the commands, as a shell script with the container's namespace in NETNS.")
    var commands = false

    @OptionGroup var target: TargetOptions
    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func run() throws {
        try requireRoot()
        let list = try places.network(network)
        var target = try target.target("")
        if self.target.containerID == nil { target.containerID = "container" }
        self.target.nameIdleCapabilities(on: list)
        let rehearsal = try Rehearsal(list, target, plugins: places.binDir)
        output.print(rehearsal.json(of: list.name)) {
            if commands { rehearsal.printScript() } else { rehearsal.printObjects(of: list) }
        }
        for problem in rehearsal.problems {
            Terminal.complain("\(problem.plugin): \(problem.message)")
        }
        if !rehearsal.problems.isEmpty { throw Exit.found }
    }
}

extension Rehearsal {
    fileprivate func json(of network: String) -> JSON {
        [
            "network": .string(network),
            "addresses": .array(addresses.map { .string("\($0)") }),
            "objects": .array(objects.map(\.json)),
            "problems": .array(
                problems.map {
                    ["plugin": .string($0.plugin), "message": .string($0.message)]
                }),
            "result": result ?? .null,
        ]
    }

    fileprivate func printScript() {
        print("NETNS=${NETNS:?the name below /run/netns of a namespace}")
        for object in objects where !object.isThere {
            for command in object.commands { print(command) }
        }
    }

    fileprivate func printObjects(of list: ConfigurationList) {
        let chain = list.plugins.compactMap { $0["type"]?.text }.joined(separator: ", ")
        print(Terminal.styled("\(list.name)", .bold) + ": \(chain)")
        if !addresses.isEmpty {
            print("addresses, not reserved: " + addresses.map { "\($0)" }.joined(separator: ", "))
        }
        var last = ""
        for object in objects {
            if object.plugin != last { print(object.plugin) }
            last = object.plugin
            let state = object.isThere ? "there" : "new  "
            let notes =
                [object.kind, object.isInContainer ? "container" : "host"]
                + (object.isShared ? ["shared"] : [])
            print(
                "  " + Terminal.styled(state, object.isThere ? .dim : .green) + " "
                    + Terminal.styled(object.name, .bold) + " (\(notes.joined(separator: ", ")))")
            for command in object.commands {
                for line in command.split(separator: "\n", omittingEmptySubsequences: false) {
                    print("        " + Terminal.styled(String(line), .dim))
                }
            }
        }
    }
}

extension Rehearsal.Object {
    fileprivate var json: JSON {
        [
            "plugin": .string(plugin), "kind": .string(kind), "name": .string(name),
            "side": .string(isInContainer ? "container" : "host"), "shared": .bool(isShared),
            "exists": .bool(isThere), "commands": .array(commands.map { .string($0) }),
        ]
    }
}
