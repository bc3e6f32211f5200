public import CNI
internal import Glibc
internal import SystemPackage

extension AddResult.DNS {
    /// Reads a file in the format of resolv.conf(5).
    ///
    /// - Throws: Code 5 if the file cannot be read.
    public init(resolverConfiguration path: String) throws(CNIError) {
        self.init()
        // The path is an administrator's, and often a link to what a resolver writes.
        let fd = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        let text = fd < 0 ? nil : Directory.contents(of: FileDescriptor(rawValue: fd))
        guard let text else { throw CNIError(.io, "ipam.resolvConf: cannot read \(path)") }
        for line in text.split(whereSeparator: \.isNewline) {
            let words = line.split(whereSeparator: \.isWhitespace).map { String($0) }
            guard let keyword = words.first, !keyword.hasPrefix("#"), !keyword.hasPrefix(";"),
                words.count > 1
            else { continue }
            let values = Array(words.dropFirst())
            switch keyword {
            case "nameserver": nameservers = (nameservers ?? []) + values.prefix(1)
            case "domain": domain = values[0]
            case "search": search = (search ?? []) + values
            case "options": options = (options ?? []) + values
            default: break
            }
        }
    }
}
