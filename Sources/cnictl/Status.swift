import ArgumentParser
import CNI
import Glibc
import Operator

/// Asks networks whether they can take containers.
struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Asks networks whether they can take containers now.",
        discussion: "Ends with 2 if one of them cannot.")

    @Argument(help: "The networks' names, or files; without any, all that are configured.")
    var networks: [String] = []

    @OptionGroup var places: Places
    @OptionGroup var output: OutputOptions

    func run() throws {
        var table = Table("NETWORK", "VERSION", "STATUS")
        var entries: [JSON] = []
        var isReady = true
        for (name, list) in try lists() {
            var problem: CNIError?
            var version = ""
            do throws(CNIError) {
                let list = try list.get()
                version = "\(list.version)"
                try places.runtime.status(list)
            } catch {
                problem = error
                isReady = false
            }
            entries.append(
                [
                    "network": .string(name), "version": .string(version),
                    "ready": .bool(problem == nil),
                    "code": .integer(problem?.code ?? 0),
                    "message": problem.map { .string("\($0)") } ?? .null,
                ])
            let asks = version.isEmpty || SpecVersion(version).map { $0 >= .v1_1_0 } ?? true
            table.add(
                "\(name)", "\(version)",
                problem.map { .init("\($0)", .red) }
                    ?? .init(asks ? "ready" : "not asked: older than 1.1.0", asks ? .green : .dim))
        }
        output.print(.array(entries)) { table.print() }
        if !isReady { throw Exit.found }
    }

    private func lists() throws(CNIError) -> [(String, Result<ConfigurationList, CNIError>)] {
        guard networks.isEmpty else {
            return try networks.map { (name) throws(CNIError) in
                (name, .success(try places.network(name)))
            }
        }
        guard unsafe access(places.confDir, F_OK) == 0 else {
            throw CNIError(
                .unknownContainer, "\(places.confDir): no such file or directory")
        }
        return ConfigurationList.all(in: places.confDir).map { file, list in
            ((try? list.get())?.name ?? file, list)
        }
    }
}
