import Foundation
import Testing

extension Torture {
    @Suite("full and broken disks", .enabled(if: isRoot), .serialized)
    struct DiskTests {
        let world: World
        let network: Network
        let container: World.Container

        init() throws {
            world = try World()
            network = Network(ipam: BridgeTests.dualStack, version: "1.1.0", in: world)
            container = try world.container()
        }

        /// Runs `body` with the state directory on a file system in memory of its own.
        private func onFileSystem(_ options: String, _ body: () throws -> Void) throws {
            try output(of: "mount -t tmpfs -o \(options),mode=700 swift-cni \(world.directory)")
            defer { _ = try? run("umount -l \(world.directory)") }
            try body()
        }

        @Test("a disk full at any moment of ADD: it fails whole and says where, and DEL works")
        func full() throws {
            // The bridge stays; what is compared is what comes after it.
            try network.add(container)
            try network.del(container)
            var failed = 0
            // An inode is the root's; each size leaves one file more to be made.
            for options in (2...12).map({ "nr_inodes=\($0)" }) + ["size=4k", "size=8k", "size=12k"]
            {
                try onFileSystem(options) {
                    let before = try Snapshot(of: world)
                    let ended = try network.tryAdd(container)
                    if !ended.succeeded {
                        failed += 1
                        let message = ended.json["msg"].string ?? ""
                        #expect(
                            message.contains("No space left on device"), "\(options): \(message)")
                        #expect(message.contains(world.directory), "\(options): \(message)")
                        let left = try Snapshot(of: world).difference(from: before)
                        #expect(left == "", "\(options)")
                    }
                    try network.del(container)
                    #expect(try Snapshot(of: world).difference(from: before) == "", "\(options)")
                }
            }
            #expect(failed >= 3)
        }

        @Test("on a disk that can only be read ADD is refused by name, and DEL frees when it can")
        func readOnly() throws {
            try onFileSystem("size=1m") {
                let other = try world.container()
                try network.add(container)
                let before = try Snapshot(of: world)
                try output(of: "mount -o remount,ro \(world.directory)")
                let ended = try network.tryAdd(other)
                #expect(ended.json["msg"].string?.contains("Read-only file system (30)") == true)
                #expect(try Snapshot(of: world).difference(from: before) == "")
                #expect(try network.check(container) == nil)
                #expect(throws: Failure.self) { try network.del(container) }
                // The link has gone all the same.
                #expect(try world.ip("link show master cni0").array.isEmpty)
                try output(of: "mount -o remount,rw \(world.directory)")
                try network.del(container)
                #expect(world.files("web").filter { !$0.hasPrefix("l") } == [])
            }
        }

        @Test("a state directory removed under a container keeps nothing from being removed")
        func removed() throws {
            try network.add(container)
            try network.del(container)
            let before = try Snapshot(of: world)
            try network.add(container)
            try run("rm -rf \(world.directory)/web \(world.directory)/.index")
            #expect(try network.check(container) != nil)
            try network.del(container)
            #expect(try Snapshot(of: world).difference(from: before) == "")
        }

        @Test("a link in the place of the network's directory is not followed")
        func symlinked() throws {
            let elsewhere = "\(world.directory)/elsewhere"
            try output(of: "mkdir \(elsewhere)")
            try output(of: "ln -s \(elsewhere) \(world.directory)/web")
            try world.unchanged {
                let ended = try network.tryAdd(container)
                #expect(ended.json["msg"].string?.contains("\(world.directory)/web") == true)
            }
            #expect(world.files("elsewhere") == [])
        }

        @Test("in a directory of somebody else's, files are the plugin's own and for it alone")
        func foreignOwner() throws {
            try output(of: "mkdir \(world.directory)/web")
            try output(of: "chown 1000:1000 \(world.directory)/web")
            try network.add(container)
            let owned = try output(
                of: "find \(world.directory)/web -type f -user root -perm 600 -name 10.71.0.2")
            #expect(!owned.isEmpty)
            try network.del(container)
        }

        @Test("a state file cut off at any byte fails no DEL, and GC frees what it held")
        func truncated() throws {
            try network.add(container)
            try network.del(container)
            let before = try Snapshot(of: world)
            var cuts = 0
            for name in ["web/10.71.0.", "web/fd00", "web/last_reserved_ip.0", ".index/web"] {
                try network.add(container)
                let find = "find \(world.directory) -path \(world.directory)/\(name)*"
                let path = try #require(output(of: find).split(separator: "\n").first)
                let size = try #require(Int(try output(of: "stat -c %s \(path)").dropLast()))
                try network.del(container)
                let step = max(1, size / (Sweep.isWhole ? 400 : 20))
                for length in stride(from: 0, to: size, by: step) {
                    try network.add(container)
                    guard let cut = try output(of: find).split(separator: "\n").first else {
                        continue
                    }
                    try output(of: "truncate -s \(length) \(cut)")
                    cuts += 1
                    try network.del(container)
                    try network.gc(keeping: [])
                    let left = try Snapshot(of: world).difference(from: before)
                    #expect(left == "", "\(name) cut off at \(length)")
                }
            }
            var tally = Sweep.Tally()
            tally.count(cuts)
            Sweep.report("cut off", [("files of host-local", tally)])
        }
    }
}
