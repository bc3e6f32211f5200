import CLinux
import Foundation
import Testing

/// Taps on a kernel with SELinux, which the guest of `make guest-test` has, under a policy of two
/// types of which one may not open the other's taps.
@Suite("tap: SELinux", .serialized, .enabled(if: isRoot && isGuest && hasSELinux))
struct TapContextTests {
    let world: World

    private static let selinux = "/sys/fs/selinux"

    /// The names of the contexts that the kernel has of itself, in its order.
    private static let initial = """
        kernel security unlabeled fs file file_labels init any_socket port netif netmsg node \
        igmp_packet icmp_socket tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel \
        sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod policy scmp_packet devnull
        """.split(separator: " ")

    private static let policy = """
        class process
        class tun_socket
        \(initial.map { "sid \($0)" }.joined(separator: "\n"))
        class process { dyntransition transition }
        class tun_socket { create relabelfrom relabelto }
        type host_t;
        type tap_t;
        role any_r;
        role any_r types { host_t tap_t };
        allow host_t { host_t tap_t }:process { dyntransition transition };
        allow host_t host_t:tun_socket { create relabelfrom relabelto };
        allow tap_t tap_t:tun_socket { create relabelfrom relabelto };
        user any_u roles { any_r };
        \(initial.map { "sid \($0) any_u:any_r:host_t" }.joined(separator: "\n"))

        """

    init() throws {
        world = try World()
        if access("\(Self.selinux)/load", F_OK) != 0 {
            try output(of: "mount -t selinuxfs none \(Self.selinux)")
        }
        let source = "\(world.directory)/policy.conf"
        try Self.policy.write(toFile: source, atomically: true, encoding: .utf8)
        try output(of: "checkpolicy -U allow -c 31 -o \(world.directory)/policy \(source)")
        let policy = FileManager.default.contents(atPath: "\(world.directory)/policy") ?? Data()
        try Self.write(Array(policy), to: "load")
    }

    private static func write(_ bytes: [UInt8], to name: String) throws {
        let file = Foundation.open("\(selinux)/\(name)", O_WRONLY | O_CLOEXEC)
        defer { close(file) }
        guard file >= 0, Foundation.write(file, bytes, bytes.count) == bytes.count else {
            throw Failure("write \(selinux)/\(name): \(String(cString: strerror(errno)))")
        }
    }

    /// Runs `body` while SELinux forbids what its policy does not allow.
    private func enforcing(_ body: () throws -> Void) throws {
        try Self.write(Array("1".utf8), to: "enforce")
        defer { try? Self.write(Array("0".utf8), to: "enforce") }
        try body()
    }

    /// The errno of opening the container's tap from here, or 0.
    private func opening(in container: World.Container) throws -> Int32 {
        let home = Foundation.open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        let there = Foundation.open(container.path, O_RDONLY | O_CLOEXEC)
        defer {
            close(home)
            close(there)
        }
        guard linux_enter_network_namespace(there) == 0 else { throw Failure("enter container") }
        let tap = linux_open_tap("eth0", IFF_TAP | IFF_NO_PI)
        let error = tap < 0 ? errno : 0
        if tap >= 0 { close(tap) }
        guard linux_enter_network_namespace(home) == 0 else { fatalError("no way back") }
        return error
    }

    private func network(_ context: String?) -> Network {
        var keys: JSON = "{}"
        if let context { keys["selinuxContext"] = JSON(context) }
        return Network(plugin: "tap", keys, in: world)
    }

    @Test("a tap has the context that is configured, and without one the plugin's")
    func context() throws {
        let (labelled, plain) = (try world.container(), try world.container())
        let network = network("any_u:any_r:tap_t")
        try enforcing {
            try network.add(labelled)
            #expect(try opening(in: labelled) == EACCES)
            try self.network(nil).add(plain)
            #expect(try opening(in: plain) == 0)
            #expect(try network.check(labelled) == nil)
            try network.del(labelled)
            #expect(try labelled.link("eth0").isNull)
        }
    }

    @Test("a context that the policy does not have is refused by name, and nothing is left")
    func unknown() throws {
        let container = try world.container()
        try enforcing {
            try world.unchanged {
                let ended = try network("any_u:any_r:none_t").tryAdd(container)
                #expect(
                    ended.json["msg"].string
                        == "take SELinux context any_u:any_r:none_t to add link eth0: "
                        + "Invalid argument (22)")
            }
        }
        #expect(try container.link("eth0").isNull)
    }
}
