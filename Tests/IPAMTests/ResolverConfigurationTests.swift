import CNI
import Foundation
import IPAM
import Testing

/// Files in the form of resolv.conf(5).
@Suite struct ResolverConfigurationTests {
    let data = DataDirectory()

    @Test("servers, domains and options are read; comments and unknown words are not")
    func read() throws {
        try data.write(
            """
            # nameserver 10.0.0.1
            ; nameserver 10.0.0.2
            nameserver 10.1.0.1
            nameserver\tfd00::1   # second
            domain example.org
            search a.example  b.example
            options ndots:5 rotate
            sortlist 10.0.0.0
            nameserver

            """, to: "resolv.conf")
        let dns = try AddResult.DNS(resolverConfiguration: data.network + "/resolv.conf")
        #expect(dns.nameservers == ["10.1.0.1", "fd00::1"])
        #expect(dns.domain == "example.org")
        #expect(dns.search == ["a.example", "b.example"])
        #expect(dns.options == ["ndots:5", "rotate"])
    }

    @Test("a file is read through a link to it, as /etc/resolv.conf often is one")
    func link() throws {
        try data.write("nameserver 10.1.0.1\n", to: "stub-resolv.conf")
        let link = data.network + "/resolv.conf"
        try FileManager.default.createSymbolicLink(
            atPath: link, withDestinationPath: "stub-resolv.conf")
        #expect(try AddResult.DNS(resolverConfiguration: link).nameservers == ["10.1.0.1"])
    }

    @Test("an empty file says nothing")
    func empty() throws {
        try data.write("", to: "resolv.conf")
        #expect(try AddResult.DNS(resolverConfiguration: data.network + "/resolv.conf").isEmpty)
    }

    @Test("a file that cannot be read is an error of code 5 that names it and the cause")
    func unreadable() {
        for (path, cause) in [
            (data.network + "/none", "No such file or directory (2)"),
            ("/nowhere/none", "No such file or directory (2)"),
            ("", "No such file or directory (2)"), ("/tmp", "Is a directory (21)"),
            ("/dev/null/none", "Not a directory (20)"),
        ] {
            let error = failure { try AddResult.DNS(resolverConfiguration: path) }
            #expect(error == CNIError(.io, "ipam.resolvConf: read \(path): \(cause)"))
        }
    }
}
