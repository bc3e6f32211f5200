internal import Addressing
internal import CLinux

/// The rules of a steering once more, as a program.
///
/// A packet that comes out of another container's tree is marked to pass no chain of nftables at its
/// next link (nf_skip_egress, by drivers/net/ifb.c), so that what one container of a host sends to
/// another would not be the receiver's class's. Filters see it.
extension Steering {
    private static let header = Int(ETH_HLEN)

    /// A program that matches what has to wait in the tree, and gives it its class; in a chain of
    /// headers that IPv6 extends, only the first is looked at.
    var classifier: Classifier {
        var program = Classifier()
        let passing = urgent(&program) + unshaped(&program)
        for selection in selections {
            for family in families(of: selection) {
                let misses = requirements(selection, family, &program)
                give(selection.id, &program)
                program.land(misses)
            }
        }
        give(id, &program)
        program.land(passing)
        program.end(matching: false)
        return program
    }

    private func give(_ id: ClassID, _ program: inout Classifier) {
        program.setPriority(id)
        if let mask = markMask {
            program.setMark(id.bits(of: mask), of: mask)
        }
        program.end(matching: true)
    }

    /// Jumps of address resolution and neighbour discovery.
    private func urgent(_ program: inout Classifier) -> [Classifier.Jump] {
        program.load(2, at: Self.header - 2)
        var passing = [program.jump(if: .equal, UInt32(ETH_P_ARP))]
        var others = [program.jump(if: .unequal, UInt32(ETH_P_IPV6))]
        program.load(1, at: Self.header + 6)
        others.append(program.jump(if: .unequal, UInt32(IPPROTO_ICMPV6)))
        program.load(1, at: Self.header + 40)
        passing += Selector.neighbourMessages.map { program.jump(if: .equal, UInt32($0)) }
        program.land(others)
        return passing
    }

    /// Jumps of what the subnets say passes by the tree.
    private func unshaped(_ program: inout Classifier) -> [Classifier.Jump] {
        var passing: [Classifier.Jump] = []
        for family in Family.allCases where !onlyTo.isEmpty || !exceptTo.isEmpty {
            let other = require(family, &program)
            passing += jumps(exceptTo.filter { $0.family == family }, &program)
            if !onlyTo.isEmpty {
                let shaped = jumps(onlyTo.filter { $0.family == family }, &program)
                passing.append(program.jump())
                program.land(shaped)
            }
            program.land([other])
        }
        return passing
    }

    private func families(of selection: Selection) -> [Family?] {
        guard selection.prefixes.isEmpty else {
            return Family.allCases.filter { family in
                selection.prefixes.contains { $0.family == family }
            }
        }
        return selection.protocols.isEmpty ? [nil] : [.v4, .v6]
    }

    /// Jumps of what is not in a selection.
    private func requirements(
        _ selection: Selection, _ family: Family?, _ program: inout Classifier
    ) -> [Classifier.Jump] {
        guard let family else { return [] }
        let isV4 = family == .v4
        var misses = [require(family, &program)]
        if !selection.prefixes.isEmpty {
            let hits = jumps(selection.prefixes.filter { $0.family == family }, &program)
            misses.append(program.jump())
            program.land(hits)
        }
        if !selection.protocols.isEmpty {
            program.load(1, at: Self.header + (isV4 ? 9 : 6))
            let hits = selection.protocols.map { program.jump(if: .equal, UInt32($0)) }
            misses.append(program.jump())
            program.land(hits)
        }
        let far = direction == .egress ? 2 : 0
        for (ports, offset) in [(selection.ports, far), (selection.localPorts, 2 - far)]
        where !ports.isEmpty {
            if isV4 {
                // Only the first fragment has ports.
                program.load(2, at: Self.header + 6)
                program.mask(0x1fff)
                misses.append(program.jump(if: .unequal, 0))
                program.load(2, afterIPv4At: Self.header, offset: offset)
            } else {
                program.load(2, at: Self.header + 40 + offset)
            }
            var hits: [Classifier.Jump] = []
            for range in ports {
                let below = program.jump(if: .below, UInt32(range.lowerBound))
                let above = program.jump(if: .above, UInt32(range.upperBound))
                hits.append(program.jump())
                program.land([below, above])
            }
            misses.append(program.jump())
            program.land(hits)
        }
        return misses
    }

    /// A jump of what is not of a family.
    private func require(_ family: Family, _ program: inout Classifier) -> Classifier.Jump {
        program.load(2, at: Self.header - 2)
        return program.jump(
            if: .unequal, UInt32(family == .v4 ? ETH_P_IP : ETH_P_IPV6))
    }

    /// Jumps of packets of one family whose far end is in one of some networks of it.
    private func jumps(_ prefixes: [IPPrefix], _ program: inout Classifier) -> [Classifier.Jump] {
        prefixes.map { prefix in
            let isV4 = prefix.family == .v4
            let bytes = prefix.first.networkOrder
            let start = Self.header + (isV4 ? 12 : 8) + (direction == .egress ? bytes.count : 0)
            var others: [Classifier.Jump] = []
            for place in stride(from: 0, to: bytes.count, by: 4) where place * 8 < prefix.length {
                let bits = min(prefix.length - place * 8, 32)
                let word = bytes[place..<place + 4].reduce(0) { $0 << 8 | UInt32($1) }
                program.load(4, at: start + place)
                program.mask(~UInt32(UInt64(UInt32.max) >> UInt64(bits)))
                others.append(program.jump(if: .unequal, word))
            }
            let hit = program.jump()
            program.land(others)
            return hit
        }
    }
}
