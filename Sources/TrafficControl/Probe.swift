public import Netlink
internal import Plan
public import Rtnetlink

extension Kernel {
    /// Makes a link with a tree, and what sends packets there, in a namespace to be thrown away.
    ///
    /// - Throws: What the kernel says to the first thing that it cannot do.
    public func probeShaping() throws(KernelError) {
        let link = Link("probe", .ifb, in: .host, .owned)
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
                direction, of: link.name, to: id, on: link.name, table: "probe", owner: "probe",
                .owned
            ).write(self, over: nil)
        }
    }
}
