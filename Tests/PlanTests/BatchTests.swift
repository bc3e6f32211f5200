import Plan
import Testing

/// Creations that travel together.
@Suite struct BatchTests {
    @Test("neighbours with a request travel in one batch, in order, without a look")
    func oneBatch() throws {
        let model = Model()
        var journal = Journal(model)
        try journal.apply(
            Plan {
                Thing("a").batched()
                Thing("b", on: "a").batched()
                Thing("c")
                Thing("d").batched()
            })
        #expect(model.batches == [2, 1])
        #expect(model.reads == ["c"])
        #expect(model.objects.keys.sorted() == ["a", "b", "c", "d"])
    }

    @Test("an empty plan asks the system for nothing")
    func emptyPlan() throws {
        let model = Model()
        var journal = Journal(model)
        try journal.apply(Plan {})
        #expect(model.batches.isEmpty)
        #expect(model.operations == 0)
    }

    @Test("an object that exists already is brought to its state, and back")
    func exists() throws {
        let before = ["b": Thing("b", x: 5).object]
        let model = Model(before)
        var journal = Journal(model)
        let plan = Plan<Model> {
            Thing("a").batched()
            Thing("b", x: 1).batched()
            Thing("c").batched()
        }
        try journal.apply(plan)
        #expect(try plan.differences(in: model) == [])
        #expect(model.batches == [3])
        #expect(model.reads.prefix(1) == ["b"])
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects == before)
    }

    @Test("an object that exists as wanted is not written")
    func existsAsWanted() throws {
        let model = Model(["b": Thing("b", x: 1).object])
        var journal = Journal(model)
        try journal.apply(Plan { Thing("b", x: 1).batched() })
        #expect(model.operations == 1)
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects["b"] != nil)
    }

    @Test("of a batch's failures the first is the error, and all that was made is undone")
    func failureInBatch() {
        let model = Model()
        var journal = Journal(model)
        let error = #expect(throws: StepError<Model.Failure>.self) {
            try journal.apply(
                Plan {
                    Thing("a").batched()
                    Thing("b", on: "nobody").batched()
                    Thing("c", on: "nobody else").batched()
                    Thing("d").batched()
                })
        }
        #expect(error?.step == "thing b")
        #expect(model.objects.keys.sorted() == ["a", "d"])
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects.isEmpty)
    }

    @Test("after a failure in a batch, an object that exists is left alone")
    func existsAfterFailure() {
        let before = ["b": Thing("b", x: 5).object]
        let model = Model(before)
        var journal = Journal(model)
        #expect(throws: StepError<Model.Failure>.self) {
            try journal.apply(
                Plan {
                    Thing("a", on: "nobody").batched(); Thing("b", x: 1).batched()
                })
        }
        #expect(model.objects == before)
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects == before)
    }

    @Test("the steps before a failing batch stay journalled, those after it are not tried")
    func aroundFailingBatch() {
        let model = Model()
        var journal = Journal(model)
        #expect(throws: StepError<Model.Failure>.self) {
            try journal.apply(
                Plan {
                    Thing("a"); Thing("b", on: "nobody").batched(); Thing("c")
                })
        }
        #expect(model.objects.keys.sorted() == ["a"])
        #expect(model.reads == ["a"])
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects.isEmpty)
    }

    @Test("a shared object made by another in the same instant is used, not taken away")
    func sharedRace() throws {
        let model = Model()
        model.interference = { [unowned model] number in
            guard number == 0 else { return }
            model.objects["bridge"] = Thing("bridge").object
        }
        var journal = Journal(model)
        try journal.apply(
            Plan {
                Thing("lease"); Thing("bridge").shared().batched(); Thing("port", on: "bridge")
            }
        )
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects.keys.sorted() == ["bridge"])
    }
}
