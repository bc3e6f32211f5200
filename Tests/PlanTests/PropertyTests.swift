import Plan
import Testing

/// What holds for every plan on every system, tried on many.
@Suite struct PropertyTests {
    private static let scenarios = (0..<400).map { Scenario(seed: $0) }

    @Test("after an apply there is no difference")
    func noDifferenceAfterApply() throws {
        for scenario in Self.scenarios {
            let model = Model(scenario.before)
            var journal = Journal(model)
            try journal.apply(scenario.plan)
            #expect(try scenario.plan.differences(in: model) == [], "\(scenario)")
        }
    }

    @Test("a second apply of what is not exclusive changes nothing")
    func secondApply() throws {
        for scenario in Self.scenarios {
            let model = Model(scenario.before)
            var journal = Journal(model)
            try journal.apply(scenario.plan)
            let after = model.objects
            let rest = Plan<Model>(scenario.steps.filter { !$0.isExclusive })
            var second = Journal(model)
            try second.apply(rest)
            #expect(second.rollBack().isEmpty)
            #expect(model.objects == after, "\(scenario)")
        }
    }

    @Test("a broken field is the one difference")
    func brokenField() throws {
        var broken = 0
        for scenario in Self.scenarios {
            let model = Model(scenario.before)
            var journal = Journal(model)
            try journal.apply(scenario.plan)
            let good = model.objects
            for step in scenario.steps {
                for (field, value) in step.wanted {
                    model.objects[step.name]?.fields[field] = 99
                    let difference = Difference(
                        "\(step): \(field)", wanted: "\(value)", found: "99")
                    #expect(try scenario.plan.differences(in: model) == [difference])
                    model.objects = good
                    broken += 1
                }
            }
        }
        #expect(broken > 1000)
    }

    @Test("an erased object is the one difference, and all of several are reported")
    func erasedObject() throws {
        for scenario in Self.scenarios {
            let model = Model(scenario.before)
            var journal = Journal(model)
            try journal.apply(scenario.plan)
            let good = model.objects
            let absent = { (step: Thing) in
                Difference("\(step)", wanted: "present", found: "absent")
            }
            for step in scenario.steps {
                model.objects[step.name] = nil
                #expect(try scenario.plan.differences(in: model) == [absent(step)])
                model.objects = good
            }
            model.objects = [:]
            #expect(try scenario.plan.differences(in: model) == scenario.steps.map(absent))
        }
    }

    @Test("a failure at any operation, rolled back, leaves all as it was but for shared settings")
    func failureAtEveryOperation() throws {
        var failures = 0
        var changes = 0
        for scenario in Self.scenarios {
            let complete = Model(scenario.before)
            var journal = Journal(complete)
            try journal.apply(scenario.plan)
            for operation in 0..<complete.operations {
                let model = Model(scenario.before)
                model.failingOperation = operation
                var journal = Journal(model)
                let error = #expect(throws: StepError<Model.Failure>.self) {
                    try journal.apply(scenario.plan)
                }
                #expect(error?.cause == .injected(operation: operation))
                let wanted = scenario.rolledBack(model.objects)
                #expect(journal.rollBack().isEmpty)
                #expect(
                    model.objects == wanted, "\(scenario), failing at operation \(operation)")
                failures += 1
                if wanted != scenario.before { changes += 1 }
            }
        }
        #expect(failures > 2000)
        #expect(changes > 100 && changes < failures)
    }

    @Test("a roll-back after success leaves the system as it was, but for shared settings, too")
    func rollBackAfterSuccess() throws {
        var changedBack = 0
        for scenario in Self.scenarios {
            let model = Model(scenario.before)
            var journal = Journal(model)
            try journal.apply(scenario.plan)
            let applied = model.objects
            let wanted = scenario.rolledBack(applied)
            #expect(journal.rollBack().isEmpty)
            #expect(model.objects == wanted, "\(scenario)")
            for step in scenario.steps where step.isChangedBack {
                guard let former = scenario.before[step.name] else { continue }
                #expect(model.objects[step.name] == former, "\(scenario)")
                if applied[step.name] != former { changedBack += 1 }
            }
        }
        #expect(changedBack > 50)
    }

    @Test("what a remove could not erase is named, and the rest is gone")
    func removeWithFailures() throws {
        for scenario in Self.scenarios {
            let owned = scenario.steps.filter { $0.sharing == .owned }
            for (number, left) in owned.reversed().enumerated() {
                let model = Model(scenario.before)
                var journal = Journal(model)
                try journal.apply(scenario.plan)
                model.failingOperation = model.operations + number
                #expect(scenario.plan.remove(from: model).map(\.step) == ["\(left)"])
                for step in owned where step != left {
                    #expect(model.objects[step.name] == nil, "\(scenario)")
                }
            }
        }
    }

    @Test("a remove leaves others' objects, and a second one finds nothing to do")
    func removeTwice() throws {
        for scenario in Self.scenarios {
            let model = Model(scenario.before)
            var journal = Journal(model)
            try journal.apply(scenario.plan)
            var expected = model.objects
            for step in scenario.steps where step.sharing != .shared { expected[step.name] = nil }
            #expect(scenario.plan.remove(from: model).isEmpty)
            #expect(model.objects == expected, "\(scenario)")
            #expect(scenario.plan.remove(from: model).isEmpty)
            #expect(model.objects == expected, "\(scenario)")
        }
    }
}
