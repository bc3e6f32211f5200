internal import CLinux
public import Netlink
internal import SystemPackage

extension Kernel {
    /// The number that one side's namespace has for the other's: RTM_GETNSID.
    ///
    /// - Returns: nil if it has none, as no link leads from the one to the other.
    public func namespaceNumber(of other: Side, in side: Side) throws(KernelError) -> Int32? {
        let namespace = other == .host ? homeDescriptor : try containerDescriptor()
        var message = Message(
            "number the \(other)'s namespace", type: RTM_GETNSID, rtgenmsg(rtgen_family: 0))
        message.put(Int(NETNSA_FD), UInt32(namespace.rawValue))
        let attributes = try request(side, message).first?.attributes(after: rtgenmsg.self)
        let number = attributes?[Int(NETNSA_NSID)]?.uint32.map { Int32(bitPattern: $0) }
        return number.flatMap { $0 < 0 ? nil : $0 }
    }
}
