import Netlink
import Testing

@testable import Nftables

@Suite("Elements of sets")
struct ElementTests {
    @Test("a comment is found among other user data")
    func comment() {
        let order: [UInt8] = [1, 4, 0, 0, 0, 0]
        #expect(Element.comment(in: (order + [0, 3, 0x61, 0x62, 0])[...]) == "ab")
        #expect(Element.comment(in: order[...]) == nil)
        #expect(Element.comment(in: []) == nil)
    }

    @Test("a comment longer than its user data is none")
    func cutOff() {
        #expect(Element.comment(in: [0, 9, 0x61, 0]) == nil)
        #expect(Element.comment(in: [0]) == nil)
    }

    @Test("the parts of a key are filled up to words, a single one is not")
    func keys() {
        #expect(Element.key([1, 2, 3, 4, 5, 6]) == [1, 2, 3, 4, 5, 6])
        #expect(Element.key([1, 2], [3, 4, 5, 6, 7, 8]) == [1, 2, 0, 0, 3, 4, 5, 6, 7, 8, 0, 0])
        #expect(Element.interfaceName("eth0").count == 16)
    }

    @Test("an element without a key is none")
    func noKey() {
        #expect(Element(Attributes([])) == nil)
    }
}
