import Glibc

/// A protocol whose packets have ports.
enum Transport: String, CaseIterable, Sendable {
    case tcp, udp, sctp

    /// The protocol of a name, be it in capitals, or of its number.
    init?(_ text: String) {
        let found =
            Self.allCases.first { "\($0.number)" == text } ?? Self(rawValue: text.lowercased())
        guard let found else { return nil }
        self = found
    }

    /// IPPROTO_*.
    var number: UInt8 {
        switch self {
        case .tcp: UInt8(IPPROTO_TCP)
        case .udp: UInt8(IPPROTO_UDP)
        case .sctp: UInt8(IPPROTO_SCTP)
        }
    }
}
