public import Netlink
internal import Nftables
internal import Plan
public import Rtnetlink

extension Kernel {
    /// Makes and removes again a link with a tree, and a table with what sends packets there.
    ///
    /// - Throws: What the kernel says to the first thing that it cannot do.
    public func probeShaping() throws(KernelError) {
        let number = String(UInt32.random(in: 0 ... .max), radix: 16)
        var link = Link("shp-\(number)", .ifb, in: .host, .owned)
        link.queueLength = 1
        let table = SteeringTable("shaper-\(number)")
        do throws(KernelError) {
            try link.write(self, over: nil)
            try Qdisc(.htb(standard: Tree.standard.minor), on: link.name, .owned)
                .write(self, over: nil)
            let id = ClassID(Tree.root.major, Tree.containers.lowerBound)
            let rate = Rate(bitsPerSecond: 1_000_000)
            try TrafficClass(id, of: Tree.root, on: link.name, rate: rate, ceil: rate, .owned)
                .write(self, over: nil)
            try Qdisc.leaf(of: id, ceil: rate, on: link.name, .owned).write(self, over: nil)
            try Qdisc(.clsact, on: link.name, .owned).write(self, over: nil)
            try LastFilter(of: link.name, .owned).write(self, over: nil)
            for direction in [Direction.egress, .ingress] {
                try Steering(
                    direction, of: link.name, to: id, on: link.name, table: table.name,
                    owner: "probe", .owned
                ).write(self, over: nil)
            }
        } catch {
            try? table.erase(self)
            try? link.erase(self)
            throw error
        }
        try table.erase(self)
        try link.erase(self)
    }
}
