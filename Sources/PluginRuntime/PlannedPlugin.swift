public import CNI
public import Plan
public import Rtnetlink

/// A plugin that changes what is in the container in its own way, and has a plan of it all the same.
public protocol PlannedPlugin: Plugin {
    /// What ADD makes, from what the kernel has now.
    static func plan(_ call: Call, _ kernel: Kernel) throws(CNIError) -> Plan<Kernel>

    /// What there should be of what an earlier ADD has made.
    static func wanted(_ call: Call, _ kernel: Kernel) throws(CNIError) -> Plan<Kernel>
}

extension PlannedPlugin {
    /// Most want what they make.
    public static func wanted(_ call: Call, _ kernel: Kernel) throws(CNIError) -> Plan<Kernel> {
        try plan(call, kernel)
    }
}
