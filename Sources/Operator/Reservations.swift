internal import Addressing
internal import CNI
internal import Plugins

/// host-local's reservations as an operator looks at them.
public enum Reservations {
    /// Where host-local keeps them unless said otherwise.
    public static let standardDirectory = HostLocal.Options.standardDataDirectory

    /// The usual directory and those that the networks of a configuration directory name.
    public static func directories(of configurationDirectory: String) -> [String] {
        var directories = [standardDirectory]
        for (_, list) in ConfigurationList.all(in: configurationDirectory) {
            for plugin in (try? list.get())?.plugins ?? [] {
                guard let path = plugin["ipam"]?["dataDir"]?.text, !path.isEmpty,
                    !directories.contains(path)
                else { continue }
                directories.append(path)
            }
        }
        return directories
    }
}
