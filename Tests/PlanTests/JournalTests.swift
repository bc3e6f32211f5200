import Plan
import Testing

/// What ADD journals and how it takes it back, case by case.
@Suite struct JournalTests {
    @Test("the error names the step and the cause")
    func errorNamesStep() {
        let model = Model()
        var journal = Journal(model)
        let error = #expect(throws: StepError<Model.Failure>.self) {
            try journal.apply(Plan { Thing("address", on: "link") })
        }
        #expect(error?.step == "thing address")
        #expect(error?.cause == .noParent("link"))
        #expect(error.map { "\($0)" } == "thing address: noParent(\"link\")")
    }

    @Test("what was noted is undone in its turn, newest first")
    func notes() throws {
        let model = Model()
        var journal = Journal(model)
        var undone: [String] = []
        journal.note("lease") {
            undone.append(model.objects.isEmpty ? "lease, after the link" : "lease, too early")
        }
        try journal.apply(Plan { Thing("link") })
        journal.note("file") {
            undone.append(model.objects.isEmpty ? "file, too late" : "file, before the link")
        }
        #expect(journal.rollBack().isEmpty)
        #expect(undone == ["file, before the link", "lease, after the link"])
    }

    @Test("a roll-back names what it could not undo and undoes the rest")
    func rollBackWithFailure() throws {
        let model = Model()
        var journal = Journal(model)
        try journal.apply(
            Plan {
                Thing("a"); Thing("b"); Thing("c")
            })
        model.failingOperation = model.operations + 1
        #expect(journal.rollBack().map(\.step) == ["thing b"])
        #expect(model.objects.keys.sorted() == ["b"])
    }

    @Test("what an ADD took away of an earlier one's comes back, whatever fails")
    func retired() throws {
        let before = [
            "link": Thing("link").object, "old": Thing("old", x: 3, on: "link").object,
            "older": Thing("older", y: 4, on: "old").object,
        ]
        for operation in 0..<100 {
            let model = Model(before)
            var journal = Journal(model)
            model.failingOperation = operation
            do throws(StepError<Model.Failure>) {
                try journal.apply(Plan { Thing("new", x: 1, on: "link") })
                try journal.retire(
                    Plan {
                        Thing("gone"); Thing("link").shared()
                        Thing("old", on: "link"); Thing("older", on: "old")
                    })
            } catch {
                model.failingOperation = nil
                #expect(journal.rollBack().isEmpty)
                #expect(model.objects == before, "operation \(operation)")
                continue
            }
            #expect(model.objects.keys.sorted() == ["link", "new"])
            #expect(operation > 4)
            return
        }
        Issue.record("no ADD succeeded")
    }

    @Test("a second roll-back does nothing")
    func rollBackTwice() throws {
        let model = Model()
        var journal = Journal(model)
        try journal.apply(Plan { Thing("a") })
        #expect(journal.rollBack().isEmpty)
        model.objects["a"] = Thing("a").object
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects["a"] != nil)
    }

    @Test("a change that stopped half-way is written back")
    func halfWrittenChange() throws {
        let before = ["a": Thing("a", x: 1, y: 2).object]
        let model = Model(before)
        model.failingOperation = 2  // read, then x, then y
        var journal = Journal(model)
        #expect(throws: StepError<Model.Failure>.self) {
            try journal.apply(Plan { Thing("a", x: 3, y: 4) })
        }
        #expect(model.objects["a"]?.fields == ["x": 3, "y": 2])
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects == before)
    }

    @Test("a field that is left as it comes is neither compared nor written")
    func nilField() throws {
        let model = Model(["a": Thing("a", x: 1, y: 2).object])
        var journal = Journal(model)
        try journal.apply(Plan { Thing("a", x: 3) })
        #expect(model.objects["a"]?.fields == ["x": 3, "y": 2])
    }

    // MARK: - Shared objects

    @Test("a shared object that was made goes with the roll-back")
    func sharedGoes() throws {
        let model = Model()
        var journal = Journal(model)
        try journal.apply(
            Plan {
                Thing("bridge").shared(); Thing("port", on: "bridge")
            })
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects.isEmpty)
    }

    @Test("a shared object whose creation failed after it was made goes with the roll-back")
    func sharedUnacknowledgedGoes() throws {
        let model = Model()
        model.unacknowledged = "bridge"
        var journal = Journal(model)
        #expect(throws: StepError<Model.Failure>.self) {
            try journal.apply(Plan { Thing("bridge").shared() })
        }
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects.isEmpty)
    }

    @Test(
        "what may be done although its creation failed goes with the roll-back",
        arguments: [Thing("link"), Thing("link").exclusive(), Thing("link").batched()])
    func unacknowledgedGoes(link: Thing) throws {
        let model = Model()
        model.unacknowledged = "link"
        var journal = Journal(model)
        let error = #expect(throws: StepError<Model.Failure>.self) {
            try journal.apply(Plan { link })
        }
        #expect(error?.cause == .unacknowledged("link"))
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects.isEmpty)
    }

    @Test("a shared object that another came to use stays after the roll-back")
    func sharedInUseStays() throws {
        let model = Model()
        var journal = Journal(model)
        try journal.apply(
            Plan {
                Thing("bridge").shared(); Thing("port", on: "bridge")
            })
        model.objects["other port"] = Thing("other port", on: "bridge").object
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects.keys.sorted() == ["bridge", "other port"])
    }

    @Test("a shared object stays after the roll-back while another ADD runs")
    func sharedStaysInCompany() throws {
        let model = Model()
        model.hasCompany = true
        var journal = Journal(model)
        try journal.apply(
            Plan {
                Thing("bridge").shared(); Thing("port", on: "bridge")
            })
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects.keys.sorted() == ["bridge"])
    }

    @Test("a shared object that was there stays, with what was changed")
    func sharedChangeStays() throws {
        let model = Model(["bridge": Thing("bridge", x: 1).object])
        var journal = Journal(model)
        try journal.apply(Plan { Thing("bridge", x: 2).shared() })
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects["bridge"]?.fields["x"] == 2)
    }

    @Test("a shared object that is changed back has what it had")
    func changedBack() throws {
        let before = ["bridge": Thing("bridge", x: 1).object]
        let model = Model(before)
        var journal = Journal(model)
        try journal.apply(Plan { Thing("bridge", x: 2).shared().changedBack() })
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects == before)
    }

    @Test("a shared object that somebody else has changed since is not changed back")
    func changedSince() throws {
        let model = Model(["bridge": Thing("bridge", x: 1).object])
        var journal = Journal(model)
        try journal.apply(Plan { Thing("bridge", x: 2).shared().changedBack() })
        model.objects["bridge"]?.fields["x"] = 3
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects["bridge"]?.fields["x"] == 3)
    }

    @Test("a shared object that is gone since is not made to be changed back")
    func goneSince() throws {
        let model = Model(["bridge": Thing("bridge", x: 1).object])
        var journal = Journal(model)
        try journal.apply(Plan { Thing("bridge", x: 2).shared().changedBack() })
        model.objects = [:]
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects.isEmpty)
    }

    @Test("no shared object is changed back while another ADD runs")
    func changeStaysInCompany() throws {
        let model = Model(["bridge": Thing("bridge", x: 1).object])
        model.hasCompany = true
        var journal = Journal(model)
        try journal.apply(Plan { Thing("bridge", x: 2).shared().changedBack() })
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects["bridge"]?.fields["x"] == 2)
    }

    // MARK: - Parts and exclusive objects

    @Test("a part is neither read nor erased by name")
    func partIsNotNamed() throws {
        let plan = Plan<Model> {
            Thing("link").exclusive()
            Thing("setting", x: 1, on: "link").part()
        }
        let model = Model()
        var journal = Journal(model)
        try journal.apply(plan)
        #expect(model.reads.isEmpty)
        #expect(model.operations == 2)
        #expect(journal.rollBack().isEmpty)
        #expect(model.operations == 3)
        #expect(model.objects.isEmpty)

        try journal.apply(plan)
        let operations = model.operations
        #expect(plan.remove(from: model).isEmpty)
        #expect(model.operations == operations + 1)
        #expect(model.objects.isEmpty)
    }

    @Test("a part that came with its object is brought to its state")
    func partThatExists() throws {
        for part in [Thing("setting", x: 1).part(), Thing("setting", x: 1).part().batched()] {
            let model = Model(["setting": Thing("setting", x: 5).object])
            var journal = Journal(model)
            try journal.apply(Plan { part })
            #expect(model.objects["setting"]?.fields["x"] == 1)
        }
    }

    @Test(
        "an exclusive object that exists is an error, and stays as it was",
        arguments: [Thing("link", x: 1).exclusive(), Thing("link", x: 1).exclusive().batched()])
    func exclusiveExists(link: Thing) {
        let before = ["link": Thing("link", x: 5).object]
        let model = Model(before)
        var journal = Journal(model)
        let error = #expect(throws: StepError<Model.Failure>.self) {
            try journal.apply(
                Plan {
                    Thing("lease"); link; Thing("address", on: "link")
                })
        }
        #expect(error?.cause == .exists("link"))
        #expect(journal.rollBack().isEmpty)
        #expect(model.objects == before)
    }
}
