internal import CNI
internal import Glibc
package import SystemPackage

/// The IPAM plugin of a network: another program, or one of this program's own plugins.
package struct Delegate {
    private enum Implementation {
        case own(any Plugin.Type)
        case program(FilePath)
    }

    private let type: String
    private let implementation: Implementation
    private let call: Call

    /// Finds the plugin that `ipam.type` names.
    ///
    /// - Returns: Nil if the network has no IPAM; for DEL, where it names none, too.
    /// - Throws: Code 7 if CNI_PATH has no such program, or it is one of this program's plugins that gives
    ///   out no addresses.
    init?(ipamOf call: Call) throws(CNIError) {
        let type = call.configuration.ipamType
        guard !type.isEmpty else { return nil }
        guard !type.utf8.contains(UInt8(ascii: "/")), type != ".", type != ".." else {
            throw CNIError(
                .invalidConfiguration, "ipam.type: invalid plugin name: \"\(type)\"")
        }
        self.type = type
        self.call = call
        guard let path = Self.find(type, in: call.invocation.path) else {
            let path = call.invocation.path.joined(separator: " ")
            throw CNIError(
                .invalidConfiguration,
                "ipam.type: failed to find plugin \"\(type)\" in path [\(path)]")
        }
        if let own = call.siblings(type), Self.isThisProgram(path) {
            guard own.isIPAM else {
                if call.invocation.verb == .del { return nil }
                throw CNIError(
                    .invalidConfiguration, "ipam.type: \"\(type)\" is no IPAM plugin")
            }
            implementation = .own(own)
        } else {
            implementation = .program(path)
        }
    }

    /// Whether the plugin may want to see the container's interface, when it gives an address out and when
    /// it takes it back, as a DHCP client does.
    var wantsInterface: Bool {
        if case .program = implementation { true } else { false }
    }

    /// Asks for addresses.
    ///
    /// - Parameter lease: What is to be given back if the attachment comes to nothing, also where no
    ///   answer comes: a program that did not say why may have an address all the same.
    /// - Returns: The answer.
    /// - Throws: The plugin's error, or what kept it from answering.
    func add(_ lease: inout AddResult?) throws(CNIError) -> AddResult {
        switch implementation {
        case .own(let plugin):
            let result = try plugin.add(with(.add))
            lease = result
            return result
        case .program(let path):
            let output: [UInt8]
            switch Subprocess.ending(of: path, .add, call.invocation) {
            case .refusal(let error): throw error
            case .failure(let error):
                lease = AddResult()
                throw error
            case .answer(let answer): output = answer
            }
            // Its DEL knows what it gave.
            lease = AddResult()
            do throws(CNIError) {
                return try AddResult(JSON(parsing: output), path: "result of \(type)")
            } catch {
                throw error.prefixed("result of IPAM plugin \(type)")
            }
        }
    }

    func check() throws(CNIError) {
        switch implementation {
        case .own(let plugin): try plugin.check(with(.check))
        case .program(let path): _ = try Subprocess.run(path, .check, call.invocation)
        }
    }

    func del() throws(CNIError) {
        switch implementation {
        case .own(let plugin): try plugin.del(with(.del))
        case .program(let path): _ = try Subprocess.run(path, .del, call.invocation)
        }
    }

    /// Gives back what an ADD that came to nothing was given.
    func giveBack(_ lease: AddResult) throws(CNIError) {
        switch implementation {
        case .own(let plugin): try plugin.takeBack(lease, of: with(.del))
        case .program: try del()
        }
    }

    func gc() throws(CNIError) {
        switch implementation {
        case .own(let plugin): try plugin.gc(with(.gc))
        case .program(let path): _ = try Subprocess.run(path, .gc, call.invocation)
        }
    }

    func status() throws(CNIError) {
        switch implementation {
        case .own(let plugin): try plugin.status(with(.status))
        case .program(let path): _ = try Subprocess.run(path, .status, call.invocation)
        }
    }

    private func with(_ verb: Verb) -> Call {
        var invocation = call.invocation
        invocation.verb = verb
        return Call(invocation, call.configuration, siblings: call.siblings)
    }

    /// The first regular file of a name in the directories of CNI_PATH.
    package static func find(_ name: String, in directories: [String]) -> FilePath? {
        directories.lazy.map { FilePath($0).appending(name) }.first { path in
            var status = stat()
            return unsafe stat(path.string, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
        }
    }

    /// Whether a path leads to the file that is running.
    private static func isThisProgram(_ path: FilePath) -> Bool {
        var (other, own) = (stat(), stat())
        return unsafe stat(path.string, &other) == 0 && stat("/proc/self/exe", &own) == 0
            && other.st_dev == own.st_dev && other.st_ino == own.st_ino
    }
}
