import Plan
import Testing

/// The list of objects and what is said about them.
@Suite struct PlanTests {
    @Test("a plan is written with conditions, choices and loops")
    func builder() {
        func names(gateway: Bool, ports: Int) -> [String] {
            let plan = Plan<Model> {
                Thing("bridge")
                if gateway { Thing("gateway") }
                if ports > 1 { Thing("many") } else { Thing("few") }
                for port in 0..<ports { Thing("port \(port)") }
                [Thing("x"), Thing("y")] as [any Resource<Model>]
            }
            return plan.steps.map { String($0.description.dropFirst("thing ".count)) }
        }
        #expect(
            names(gateway: true, ports: 2)
                == ["bridge", "gateway", "many", "port 0", "port 1", "x", "y"])
        #expect(names(gateway: false, ports: 0) == ["bridge", "few", "x", "y"])
    }

    @Test("one plan followed by another keeps the order")
    func sum() {
        let sum =
            Plan<Model> { Thing("a") }
            + Plan<Model> {
                Thing("b"); Thing("c")
            }
        #expect(sum.steps.map(\.description) == ["thing a", "thing b", "thing c"])
    }

    @Test("what others may change is not compared, changed or gone")
    func changeable() throws {
        let model = Model(["a": Thing("a", x: 1).object])
        let plan = Plan<Model> {
            Thing("a", x: 2).changeable(); Thing("gone").changeable(); Thing("b")
        }
        #expect(try plan.differences(in: model).map(\.what) == ["thing b"])
    }

    @Test("a comparison that cannot read says so")
    func unreadable() {
        let model = Model()
        model.failingOperation = 1
        #expect(throws: Model.Failure.injected(operation: 1)) {
            try Plan<Model> {
                Thing("a"); Thing("b")
            }.differences(in: model)
        }
    }

    @Test("the newest is erased first, but what goes before all; shared objects and parts never")
    func order() {
        let plan = Plan<Model> {
            Thing("bridge").shared()
            Thing("check").first()
            Thing("link").exclusive()
            Thing("setting", on: "link").part()
            Thing("rules").first()
            Thing("address", on: "link")
        }
        let model = Model()
        #expect(plan.remove(from: model).isEmpty)
        #expect(model.erasures == ["rules", "check", "address", "link"])
    }

    @Test("what others are found by stays while one of them cannot be erased, and then goes")
    func leadsToOthers() {
        let plan = Plan<Model> {
            Thing("name").leading(); Thing("class")
        }
        let objects = ["name": Thing("name").object, "class": Thing("class").object]
        let model = Model(objects)
        model.failingOperation = 0
        #expect(plan.remove(from: model).map(\.step) == ["thing class"])
        #expect(model.objects == objects)
        model.failingOperation = nil
        #expect(plan.remove(from: model).isEmpty)
        #expect(model.objects.isEmpty)
    }

    @Test("a roll-back leaves what leads to something that it could not undo")
    func rollBackLeadsToOthers() throws {
        let model = Model([:])
        var journal = Journal(model)
        try journal.apply(
            Plan<Model> {
                Thing("name").leading(); Thing("class")
            })
        model.failingOperation = model.operations
        #expect(journal.rollBack().map(\.step) == ["thing class"])
        #expect(Set(model.objects.keys) == ["name", "class"])
    }

    @Test("a comparison changes nothing")
    func comparisonIsReadOnly() throws {
        let before = ["a": Thing("a", x: 5).object]
        let model = Model(before)
        _ = try Plan<Model> {
            Thing("a", x: 1); Thing("b").batched()
        }.differences(in: model)
        #expect(model.objects == before)
    }

    @Test("a difference reads as a sentence")
    func sentence() throws {
        let difference = try #require(Difference(in: "link eth0: mtu", wanted: 1500, found: 9000))
        #expect("\(difference)" == "link eth0: mtu: wanted 1500, found 9000")
        let none = try #require(Difference(in: "mac", wanted: "02:00", found: nil))
        #expect("\(none)" == "mac: wanted 02:00, found none")
    }

    @Test("there is no difference where nothing is wanted or both agree")
    func noDifference() {
        #expect(Difference(in: "mtu", wanted: nil, found: 1500) == nil)
        #expect(Difference(in: "mtu", wanted: 1500, found: 1500) == nil)
        #expect(Difference(in: "mtu", wanted: Int?.none, found: nil) == nil)
    }
}
