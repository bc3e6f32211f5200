import Addressing
import Testing

/// Ethernet addresses.
@Suite struct MACAddressTests {
    @Test(
        "an address is read with colons, dashes or dots, and printed in lower case with colons",
        arguments: [
            ("02:fc:00:00:00:01", "02:fc:00:00:00:01"), ("02-FC-00-00-00-0A", "02:fc:00:00:00:0a"),
            ("02fc.0000.000A", "02:fc:00:00:00:0a"),
            ("FF:FF:FF:FF:FF:FF", "ff:ff:ff:ff:ff:ff"), ("00:00:00:00:00:00", "00:00:00:00:00:00"),
        ])
    func text(text: String, printed: String) throws {
        #expect("\(try #require(MACAddress(text)))" == printed)
    }

    @Test(
        "what is no address is none",
        arguments: [
            "", "02:fc:00:00:00", "02:fc:00:00:00:01:02", "2:fc:0:0:0:1", "02:fc:00:00:00:0g",
            "02fc.0000.001", "02fc.0000", "02.fc.00.00.00.01", "+2fc.0000.0001", "02fc00000001",
            "02:fc-00:00:00:01", "+2:fc:00:00:00:01",
            "-2:fc:00:00:00:01", "02:fc:00:00:00:01 ", ":02:fc:00:00:00:01", "02:fc:00:00:00:",
            "02:fc:00:00:00:é",
        ])
    func invalid(text: String) { #expect(MACAddress(text) == nil) }

    @Test("six bytes are an address, no other number is")
    func bytes() {
        #expect(MACAddress([2, 0xfc, 0, 0, 0, 1])?.description == "02:fc:00:00:00:01")
        for count in [0, 5, 7, 8] {
            #expect(MACAddress([UInt8](repeating: 1, count: count)) == nil)
        }
        #expect(MACAddress.zero.bytes == [0, 0, 0, 0, 0, 0])
    }

    @Test("random addresses are unicast, locally administered and not the same")
    func random() {
        let addresses = (0..<200).map { _ in MACAddress.random() }
        for address in addresses { #expect(address.bytes[0] & 3 == 2) }
        #expect(Set(addresses).count == addresses.count)
    }
}
