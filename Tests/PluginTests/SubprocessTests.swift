import Glibc
import PluginRuntime
import Testing

/// Running other programs.
@Suite struct SubprocessTests {
    @Test("where there is no room for all pipes, those made before are closed")
    func pipes() async {
        await #expect(processExitsWith: .success) {
            let descriptors = { (0..<Int32(256)).filter { fcntl($0, F_GETFD) >= 0 } }
            let before = descriptors()
            // Room for the first pipe, and for one end of the second.
            let free = (0..<Int32(256)).filter { !before.contains($0) }
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            limit.rlim_cur = rlim_t(free[3])
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            #expect(throws: (any Error).self) { try Subprocess.run("/bin/true", []) }
            #expect(descriptors() == before)
        }
    }
}
