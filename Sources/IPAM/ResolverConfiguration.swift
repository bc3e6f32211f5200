public import CNI
internal import SystemPackage

extension AddResult.DNS {
    /// Reads a file in the format of resolv.conf(5).
    ///
    /// - Throws: Code 5 if the file cannot be read.
    public init(resolverConfiguration path: String) throws(CNIError) {
        self.init()
        let text: String
        do throws(CNIError) {
            guard let read = try Directory.text(ofFile: path) else {
                throw Directory.failure("read", path, .noSuchFileOrDirectory)
            }
            text = read
        } catch {
            throw error.prefixed("ipam.resolvConf")
        }
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
