/// An ordered list of objects, declared once: ADD applies it, CHECK compares it, DEL removes it.
public struct Plan<Target: System> {
    /// The objects, in the order ADD makes them.
    public let steps: [any Resource<Target>]

    /// A plan of these objects.
    public init(_ steps: [any Resource<Target>]) { self.steps = steps }

    /// A plan written as a list of objects, with `if` and `for`.
    public init(@PlanBuilder<Target> _ steps: () -> [any Resource<Target>]) {
        self.steps = steps()
    }

    /// This plan followed by another.
    public static func + (first: Plan, second: Plan) -> Plan { Plan(first.steps + second.steps) }

    /// What DEL erases, in its order.
    var removal: [any Resource<Target>] {
        // Loops: the generic filters of the library look their types up by name, in each process.
        var (first, others): ([any Resource<Target>], [any Resource<Target>]) = ([], [])
        for index in steps.indices.reversed() where steps[index].sharing == .owned {
            let step = steps[index]
            if step.goesFirst { first.append(step) } else { others.append(step) }
        }
        return first + others
    }

    /// CHECK: every difference between the plan and the system, not only the first.
    public func differences(in system: Target) throws(Target.Failure) -> [Difference] {
        var all: [Difference] = []
        for step in steps { all += try step.compare(system) }
        return all
    }

    /// DEL: erases what the attachment owns, newest first but for what goes before all others, all
    /// of it that will go; but not what leads to something that stays.
    ///
    /// - Returns: The failures, each with the object it is about.
    public func remove(from system: Target) -> [StepError<Target.Failure>] {
        var failures: [StepError<Target.Failure>] = []
        for step in removal
        where failures.isEmpty || !step.leadsToOthers {
            do throws(Target.Failure) {
                try step.erase(system)
            } catch {
                failures.append(StepError(step: step.description, cause: error))
            }
        }
        return failures
    }
}

/// Collects the objects of a plan from a list with conditions and loops.
@resultBuilder
public enum PlanBuilder<Target: System> {
    /// The objects collected so far.
    public typealias Steps = [any Resource<Target>]

    /// One object.
    public static func buildExpression(_ step: any Resource<Target>) -> Steps { [step] }
    /// A list of objects made elsewhere.
    public static func buildExpression(_ steps: Steps) -> Steps { steps }
    /// No objects.
    public static func buildBlock() -> Steps { [] }
    /// The first objects.
    public static func buildPartialBlock(first: Steps) -> Steps { first }
    /// Objects one after another.
    public static func buildPartialBlock(accumulated: Steps, next: Steps) -> Steps {
        accumulated + next
    }
    /// Objects under an `if`.
    public static func buildOptional(_ part: Steps?) -> Steps { part ?? [] }
    /// Objects under an `if` with an `else`.
    public static func buildEither(first: Steps) -> Steps { first }
    /// Objects under an `else`.
    public static func buildEither(second: Steps) -> Steps { second }
    /// Objects of a loop.
    public static func buildArray(_ parts: [Steps]) -> Steps {
        var steps: Steps = []
        for part in parts { steps += part }
        return steps
    }
}

/// An object that could not be brought to its state, and why.
public struct StepError<Failure: Error>: Error, CustomStringConvertible {
    /// The object.
    public let step: String
    /// What the system said.
    public let cause: Failure

    /// An error about one object.
    public init(step: String, cause: Failure) {
        self.step = step
        self.cause = cause
    }

    /// The object and the cause.
    public var description: String { "\(step): \(cause)" }
}

extension Resource {
    func compare(_ system: Target) throws(Target.Failure) -> [Difference] {
        guard !mayBeChanged else { return [] }
        guard let found = try read(system) else {
            return [Difference(description, wanted: "present", found: "absent")]
        }
        return differences(from: found)
    }
}
