import Foundation

/// Another tool's programs on a port, which has clsact: they count the pings, and the answers, that
/// it receives and sends, and let all pass.
struct PacketCounter {
    private let files: String
    private let program: String

    /// Puts the programs in place.
    init(on port: String, in world: World) throws {
        files = "\(world.directory)/bpf"
        program = "\(world.directory)/counter"
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("lacking/counter.c").path
        try output(of: "gcc -O1 -Wall -Werror -o \(program) \(source)")
        try output(of: "mkdir \(files)")
        try output(of: "mount -t bpf bpf \(files)")
        for way in ["ingress", "egress"] {
            try output(of: "\(program) load \(files)/\(way)")
            try world.onHost(
                "tc filter add dev \(port) \(way) prio 10 bpf da object-pinned \(files)/\(way)")
        }
    }

    /// What the port has received, and what it has sent.
    func counts() throws -> [Int] {
        try ["ingress", "egress"].map { way in
            Int(try output(of: "\(program) read \(files)/\(way)").filter { $0 != "\n" }) ?? -1
        }
    }

    /// Unmounts what holds the programs.
    func end() { _ = try? run("umount \(files)") }
}
