internal import CLinux
public import CNI
internal import Glibc
internal import PluginRuntime
internal import Plugins
internal import SystemPackage

/// Puts the plugins into a runtime's directory.
public enum Installation {
    /// The program's own name in the directory.
    private static let program = "swift-cni"

    /// What became of a name in the directory.
    public struct Change: Sendable {
        /// The name.
        public let name: String
        /// Whether it was not what it should be, and is now.
        public let isNew: Bool
    }

    /// Copies the program and links every plugin's name to it.
    ///
    /// Each name is whole at every moment, also while a runtime calls it. What is right already is
    /// left alone, and at the end each plugin is asked for its versions.
    /// - Parameters:
    ///   - source: The program, or the directory it is in.
    ///   - destination: The runtime's directory; it is made where it is missing.
    ///   - skipped: Plugins that somebody else's program is to go on with.
    /// - Returns: Every name, and whether it was put in its place now.
    /// - Throws: Code 5 with the name that could not be put in its place, or does not work there.
    public static func install(
        from source: String, to destination: String, skipping skipped: [String] = []
    ) throws(CNIError) -> [Change] {
        let isDirectory = Files.status(source)?.isDirectory ?? false
        let bytes = try Files.read(isDirectory ? "\(source)/\(program)" : source)
        try Files.makeDirectory(destination, mode: 0o755)
        let target = "\(destination)/\(program)"
        var changes: [Change] = []
        let isSame =
            (try? Files.read(target)) == bytes && Files.status(target)?.isExecutable == true
        if !isSame { try Files.write(bytes, to: target, mode: 0o755, isDurable: true) }
        changes.append(Change(name: program, isNew: !isSame))
        guard let own = Files.status(target) else {
            throw CNIError(.io, "\(target): it vanished")
        }
        for name in pluginNames where !skipped.contains(name) {
            let path = "\(destination)/\(name)"
            let isLinked = Files.status(path).map {
                $0.st_ino == own.st_ino && $0.st_dev == own.st_dev
            }
            if isLinked != true { try link(target, to: path) }
            try verify(path)
            changes.append(Change(name: name, isNew: isLinked != true))
        }
        return changes
    }

    private static func link(_ target: String, to path: String) throws(CNIError) {
        let draft = path + ".new"
        unsafe _ = unlink(draft)
        guard unsafe Glibc.link(target, draft) == 0, unsafe rename(draft, path) == 0 else {
            let text = unsafe String(cString: strerror(errno))
            unsafe _ = unlink(draft)
            throw CNIError(.io, "link \(path): \(text)")
        }
    }

    /// Asks a plugin for its versions.
    private static func verify(_ path: String) throws(CNIError) {
        let output = try Subprocess.run(
            FilePath(path), environment: ["CNI_COMMAND=VERSION"], input: [])
        let versions = (try? JSON(parsing: output))?["supportedVersions"]?.elements ?? []
        guard !versions.isEmpty else {
            throw CNIError(.io, "\(path): it does not say which versions it supports")
        }
    }
}
