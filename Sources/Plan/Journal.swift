/// What an ADD has done so far, and how to undo it.
///
/// A change is journalled before it is made, because it can stop half-way, and its undo writes
/// back what was read; a creation is journalled after it, because it is atomic, and its undo
/// erases. One whose answer is lost is taken for made: its undo erases what carries the owner's tag,
/// if there is any. Shared objects are undone only when no other ADD runs: one that was made if nobody
/// uses it, and a change if the object says so and it is still as it was changed.
public struct Journal<Target: System> {
    private enum Entry {
        case own(String, leadsToOthers: Bool, () throws(Target.Failure) -> Void)
        case shared(String, () throws(Target.Failure) -> Void)
    }

    private let system: Target
    private var entries: [Entry] = []

    /// An empty journal of changes to `system`.
    public init(_ system: Target) { self.system = system }

    /// Notes something done that is not an object of a plan, such as a lease taken.
    public mutating func note(
        _ what: String, undo: @escaping () throws(Target.Failure) -> Void
    ) {
        entries.append(.own(what, leadsToOthers: false, undo))
    }

    /// Brings the system to the plan's state, journalling every step.
    ///
    /// The steps up to the one that failed stay applied: call `rollBack()`.
    public mutating func apply(_ plan: Plan<Target>) throws(StepError<Target.Failure>) {
        var queue: [any Resource<Target>] = []
        var requests: [Target.Request] = []
        for step in plan.steps {
            let request = try step.failing { () throws(Target.Failure) in
                try step.creation(system)
            }
            if let request {
                queue.append(step)
                requests.append(request)
            } else {
                try perform(&queue, &requests)
                try apply(step)
            }
        }
        try perform(&queue, &requests)
    }

    /// Erases what an earlier plan made, newest first, journalling every step; what is shared stays.
    ///
    /// The steps after the one that failed stay: call `rollBack()`.
    public mutating func retire(_ plan: Plan<Target>) throws(StepError<Target.Failure>) {
        for step in plan.removal { try retire(step) }
    }

    private mutating func retire<Step: Resource<Target>>(
        _ step: Step
    ) throws(StepError<Target.Failure>) {
        let system = system
        let found = try step.failing { () throws(Target.Failure) in try step.read(system) }
        guard let found else { return }
        entries.append(
            .own(
                step.description, leadsToOthers: false,
                { () throws(Target.Failure) in
                    let now = try step.read(system)
                    if let now, found.differences(from: now).isEmpty { return }
                    try found.write(system, over: now)
                }))
        try step.failing { () throws(Target.Failure) in try step.erase(system) }
    }

    /// Undoes everything, newest first.
    ///
    /// - Returns: What could not be undone, and why.
    public mutating func rollBack() -> [StepError<Target.Failure>] {
        var leftBehind: [StepError<Target.Failure>] = []
        let attempt = { (step: String, undo: () throws(Target.Failure) -> Void) in
            do throws(Target.Failure) {
                try undo()
            } catch {
                leftBehind.append(StepError(step: step, cause: error))
            }
        }
        var shared: [(step: String, undo: () throws(Target.Failure) -> Void)] = []
        for entry in entries.reversed() {
            switch entry {
            case .own(_, leadsToOthers: true, _) where !leftBehind.isEmpty: continue
            case .own(let step, _, let undo): attempt(step, undo)
            case .shared(let step, let undo): shared.append((step, undo))
            }
        }
        entries = []
        guard !shared.isEmpty else { return leftBehind }
        _ = system.alone {
            for one in shared { attempt(one.step, one.undo) }
        }
        return leftBehind
    }

    private mutating func perform(
        _ queue: inout [any Resource<Target>], _ requests: inout [Target.Request]
    ) throws(StepError<Target.Failure>) {
        guard !queue.isEmpty else { return }
        var failure: StepError<Target.Failure>?
        let outcomes = system.perform(requests)
        for (index, step) in queue.enumerated() {
            switch outcomes[index] {
            case .done: journalCreation(of: step)
            case .exists where failure == nil:
                do throws(StepError<Target.Failure>) {
                    try apply(step)
                } catch {
                    failure = error
                }
            case .exists: break
            case .failed(let cause):
                if system.mayBeDone(cause) { journalCreation(of: step) }
                failure = failure ?? StepError(step: step.description, cause: cause)
            }
        }
        queue = []
        requests = []
        if let failure { throw failure }
    }

    private mutating func apply<Step: Resource<Target>>(
        _ step: Step
    ) throws(StepError<Target.Failure>) {
        let system = system
        // A part belongs to an object this plan has just made: neither needs a look.
        let isFresh = step.sharing == .part || step.isExclusive
        let found =
            isFresh
            ? nil : try step.failing { () throws(Target.Failure) in try step.read(system) }
        if let found {
            guard !step.differences(from: found).isEmpty else { return }
            if step.sharing == .owned {
                entries.append(
                    .own(
                        step.description, leadsToOthers: false,
                        { () throws(Target.Failure) in try found.write(system, over: step) }))
            } else if step.isChangedBack {
                entries.append(
                    .shared(
                        step.description,
                        { () throws(Target.Failure) in
                            guard let now = try step.read(system),
                                step.differences(from: now).isEmpty
                            else { return }
                            try found.write(system, over: now)
                        }))
            }
        }
        do throws(StepError<Target.Failure>) {
            try step.failing { () throws(Target.Failure) in try step.write(system, over: found) }
        } catch {
            // Half of it may be there. It was not before, so it may go if nobody uses it.
            if found == nil, step.sharing == .shared || system.mayBeDone(error.cause) {
                journalCreation(of: step)
            }
            throw error
        }
        if found == nil { journalCreation(of: step) }
    }

    private mutating func journalCreation(of step: some Resource<Target>) {
        let system = system
        switch step.sharing {
        case .owned:
            entries.append(
                .own(
                    step.description, leadsToOthers: step.leadsToOthers,
                    { () throws(Target.Failure) in try step.erase(system) }))
        case .shared:
            entries.append(
                .shared(
                    step.description,
                    { () throws(Target.Failure) in
                        if try step.isUnused(system) { try step.erase(system) }
                    }))
        case .part: break
        }
    }
}

extension Resource {
    /// Runs `body`, naming this object in its error.
    fileprivate func failing<Result>(
        _ body: () throws(Target.Failure) -> Result
    ) throws(StepError<Target.Failure>) -> Result {
        do throws(Target.Failure) {
            return try body()
        } catch {
            throw StepError(step: description, cause: error)
        }
    }
}
