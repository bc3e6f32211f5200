import Plan

/// An object of the model: two fields, each of which may be left as it comes.
struct Thing: Resource, Equatable {
    let name: String
    var x: Int?
    var y: Int?
    var parent: String?
    var sharing = Sharing.owned
    var isExclusive = false
    var goesFirst = false
    var leadsToOthers = false
    var isChangedBack = false
    var mayBeChanged = false
    /// Whether it is created by a request among its neighbours'.
    var isBatched = false

    init(_ name: String, x: Int? = nil, y: Int? = nil, on parent: String? = nil) {
        self.name = name
        self.x = x
        self.y = y
        self.parent = parent
    }

    func shared() -> Thing { with { $0.sharing = .shared } }
    func part() -> Thing { with { $0.sharing = .part } }
    func exclusive() -> Thing { with { $0.isExclusive = true } }
    func first() -> Thing { with { $0.goesFirst = true } }
    func changedBack() -> Thing { with { $0.isChangedBack = true } }
    func leading() -> Thing { with { $0.leadsToOthers = true } }
    func changeable() -> Thing { with { $0.mayBeChanged = true } }
    func batched() -> Thing { with { $0.isBatched = true } }

    private func with(_ change: (inout Thing) -> Void) -> Thing {
        var copy = self
        change(&copy)
        return copy
    }

    var description: String { "thing \(name)" }

    /// The fields that are wanted at a value.
    var wanted: [String: Int] {
        var fields: [String: Int] = [:]
        fields["x"] = x
        fields["y"] = y
        return fields
    }

    /// The object as a creation makes it.
    var object: Model.Object {
        Model.Object(fields: Model.defaults.merging(wanted) { $1 }, parent: parent)
    }

    func creation(_ system: Model) throws(Model.Failure) -> Model.Request? {
        isBatched ? Model.Request(name: name, object: object) : nil
    }

    func read(_ system: Model) throws(Model.Failure) -> Thing? {
        guard let found = try system.read(name) else { return nil }
        return Thing(name, x: found.fields["x"], y: found.fields["y"], on: found.parent)
    }

    /// One operation a field, so that it can stop half-way; a part is written over what is there.
    func write(_ system: Model, over found: Thing?) throws(Model.Failure) {
        if found == nil, sharing != .part || system.objects[name] == nil {
            return try system.create(name, object)
        }
        for (field, value) in wanted.sorted(by: { $0.key < $1.key })
        where found?.wanted[field] != value {
            try system.set(field, of: name, to: value)
        }
    }

    func erase(_ system: Model) throws(Model.Failure) { try system.erase(name) }

    func isUnused(_ system: Model) throws(Model.Failure) -> Bool {
        try !system.hasChildren(name)
    }

    func differences(from found: Thing) -> [Difference] {
        [
            Difference(in: "\(description): x", wanted: x, found: found.x),
            Difference(in: "\(description): y", wanted: y, found: found.y),
        ].compactMap { $0 }
    }
}
