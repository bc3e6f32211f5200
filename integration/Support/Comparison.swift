import Testing

/// A difference from the Go plugins that is meant.
enum Deviation: Sendable {
    /// The message says it in other words.
    case text(String)
    /// The answer is another one.
    case answer(String)

    /// The text names the place in the JSON, where the Go plugins name a type of their program.
    static let place = Deviation.text("the place in the configuration, and what it has to be")
    /// The text names the object, and the kernel's errno and text.
    static let cause = Deviation.text("the object and the kernel's error for it")
}

/// What a plugin answers, without what differs from run to run.
struct Answer: Equatable {
    let status: Int32
    let code: Int?
    let message: String?
    let result: String
    /// What there is afterwards.
    var seen: [String] = []

    /// The answer of a plugin, be it of those under test or of those in `peer`.
    init(
        _ ended: Command.Ended, _ world: World, _ container: World.Container, _ peer: String
    ) {
        let wild = { (text: String) in
            text.replacing(container.path.isEmpty ? "NETNS" : container.path, with: "NETNS")
                .replacing(world.directory, with: "DIRECTORY")
                .replacing(world.plugins, with: "PLUGINS").replacing(peer, with: "PLUGINS")
                .replacing(/[0-9a-f]{2}(:[0-9a-f]{2}){5}/, with: "MAC")
                .replacing(/veth[0-9a-f]+/, with: "veth")
                // Since 1.2.0 the Go plugins leave an empty dns out of a result of 1.0.0.
                .replacing(
                    "\"cniVersion\":\"1.0.0\",\"dns\":{},", with: "\"cniVersion\":\"1.0.0\",")
        }
        status = ended.status
        code = ended.json["code"].number
        message = ended.json["msg"].string.map(wild)
        result = ended.succeeded && !ended.output.isEmpty ? wild(ended.json.description) : ""
    }

    /// Expects the answer of the Go plugin, but for what is meant to differ.
    func compare(with theirs: Answer, _ deviation: Deviation?) {
        if case .answer(let reason) = deviation {
            #expect(self != theirs, "no longer differs: \(reason)")
            return
        }
        #expect(status == theirs.status, "\(message ?? "") and \(theirs.message ?? "")")
        // What is wrong with the input has the specification's code for it; the Go plugins have
        // 999 for most of it.
        let isTelling = theirs.code == 999 && [4, 6, 7].contains(code)
        #expect(code == theirs.code || isTelling)
        #expect(result == theirs.result)
        #expect(seen == theirs.seen)
        let expected = theirs.message ?? ""
        let isSame = message?.contains(expected) ?? expected.isEmpty
        if case .text(let reason) = deviation {
            #expect(!isSame, "no longer differs: \(reason)")
        } else {
            #expect(isSame, "\(message ?? "") instead of \(expected)")
        }
    }
}

extension World.Container {
    /// Gives the container an interface as the first plugin of a chain would, and returns the result that
    /// such a plugin gives.
    func attachedByHand(version: String) throws -> JSON {
        try output(of: "ip link add eth0 type veth peer name other")
        try output(of: "ip link set other up")
        try output(of: "ip link set eth0 up")
        try output(of: "ip addr add 10.71.0.9/16 dev eth0")
        try output(of: "ip route add default via 10.71.0.1")
        return """
            {"cniVersion": "\(version)", "interfaces": [
                {"name": "eth0", "mac": "", "sandbox": "\(path)"}],
             "ips": [{"address": "10.71.0.9/16", "gateway": "10.71.0.1", "interface": 0}],
             "routes": [{"dst": "0.0.0.0/0"}]}
            """
    }
}
