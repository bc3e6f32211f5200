import Foundation

/// A firewalld of a world's host, on a message bus of its own; both end with it.
///
/// It is Debian's, which `make setup-test` unpacks without installing it: that would start it.
final class Firewalld {
    /// The bus, as an environment variable names it.
    let bus: String
    private var programs: [Command] = []
    private static let place = World.build + "/firewalld/usr"

    init(_ world: World) throws {
        let directory = world.directory
        let socket = directory + "/bus"
        bus = "unix:path=" + socket
        let configuration = """
            <!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
              "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
            <busconfig>
              <type>system</type>
              <listen>\(bus)</listen>
              <auth>EXTERNAL</auth>
              <policy context="default">
                <allow send_destination="*" eavesdrop="true"/>
                <allow eavesdrop="true"/>
                <allow own="*"/>
              </policy>
            </busconfig>
            """
        try configuration.write(toFile: directory + "/bus.conf", atomically: true, encoding: .utf8)
        try FileManager.default.createDirectory(
            atPath: directory + "/firewalld", withIntermediateDirectories: true)
        try start(["dbus-daemon", "--nofork", "--nopidfile", "--config-file=\(directory)/bus.conf"])
        try waitFor("bus") { FileManager.default.fileExists(atPath: socket) }
        try start(
            [
                "/usr/bin/python3", Self.place + "/sbin/firewalld", "--nofork", "--nopid",
                "--log-target=console", "--default-config=\(Self.place)/lib/firewalld",
                "--system-config=\(directory)/firewalld",
            ], in: world.host)
        try waitFor("firewalld", pause: 100) { try command("--state").succeeded }
        world.environment["DBUS_SYSTEM_BUS_ADDRESS"] = bus
    }

    deinit { for program in programs.reversed() { end(program) } }

    /// Ends firewalld, and leaves the bus.
    func end() throws { if programs.count > 1 { end(programs.removeLast()) } }

    /// Runs firewall-cmd.
    @discardableResult
    func command(_ words: String) throws -> Command.Ended {
        try Command(
            ["/usr/bin/python3", Self.place + "/bin/firewall-cmd"]
                + words.split(separator: " ").map(String.init),
            environment: ["PATH": "/usr/sbin:/usr/bin", "DBUS_SYSTEM_BUS_ADDRESS": bus]
        ).wait()
    }

    /// The sources of a zone.
    func sources(of zone: String = "trusted") throws -> [String] {
        let ended = try command("--zone=\(zone) --list-sources")
        guard ended.succeeded else { throw Failure("firewall-cmd: \(ended.errors)") }
        return ended.output.split(whereSeparator: \.isWhitespace).map(String.init).sorted()
    }

    private func start(_ words: [String], in namespace: String? = nil) throws {
        programs.append(
            try Command(
                words,
                environment: ["PATH": "/usr/sbin:/usr/bin", "DBUS_SYSTEM_BUS_ADDRESS": bus],
                in: namespace))
    }

    private func end(_ program: Command) {
        // It would not hear a gentler signal: it has the mask of the thread that started it.
        kill(program.process, SIGKILL)
        _ = program.wait()
    }
}
