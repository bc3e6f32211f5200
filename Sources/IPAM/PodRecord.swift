internal import CNI

/// The containers that a pod has had for one of its interfaces, one after the other, and the paths of
/// their network namespaces.
///
/// A runtime that makes a pod's container anew gives it another ID; the pod's stays. One line for each
/// container and path is in `<dataDir>/.pods/<pod>:<network>:<interface>`, none of which can have a colon.
struct PodRecord: ~Copyable {
    private let place: Directory
    private let name: String
    /// The containers, with the paths.
    private(set) var containers: [(id: String, netns: String)] = []

    /// The record of a pod's interface on a network; nil where there is no place for it, or the ID is
    /// none.
    init?(of pod: String, _ network: String, _ interface: String, in parent: borrowing Directory) {
        let isPlain = pod.utf8.allSatisfy { byte in
            byte == UInt8(ascii: "-") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
        }
        guard !pod.isEmpty, isPlain, let place = try? parent.open(".pods", creating: true) else {
            return nil
        }
        self.place = place
        name = "\(pod):\(network):\(interface)"
        for line in ((try? self.place.read(name)) ?? "").split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 1).map(String.init)
            guard let id = words.first else { continue }
            containers.append((id, words.count > 1 ? words[1] : ""))
        }
    }

    /// Keeps these containers alone.
    mutating func keep(_ kept: [(id: String, netns: String)]) {
        let isSame = kept.elementsEqual(containers) { $0 == $1 }
        containers = kept
        if kept.isEmpty {
            place.discard(name)
        } else if !isSame {
            let lines = kept.map { "\($0.id) \($0.netns)\n" }
            try? place.replace(name, with: lines.joined())
        }
    }

    /// Removes the records of a network whose containers are none of the valid.
    static func collect(
        in parent: borrowing Directory, _ network: String, except valid: Set<Holder>
    ) {
        guard let place = try? parent.open(".pods", creating: false),
            let names = try? place.names()
        else { return }
        for name in names {
            let words = name.split(separator: ":", omittingEmptySubsequences: false)
            guard words.count == 3, words[1] == network,
                var record = PodRecord(
                    of: String(words[0]), network, String(words[2]), in: parent)
            else { continue }
            record.keep(
                record.containers.filter {
                    valid.contains(Holder(containerID: $0.id, interface: String(words[2])))
                })
        }
    }
}
