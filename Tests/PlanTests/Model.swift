import Plan

/// A system that is a dictionary of objects, counts its operations and can fail at any of them.
final class Model: System {
    /// What an object of the model is.
    struct Object: Equatable {
        var fields: [String: Int]
        /// The object it hangs on, with which it goes.
        var parent: String?
    }

    /// A message that creates one object.
    struct Request {
        let name: String
        let object: Object
    }

    enum Failure: Error, Equatable {
        case injected(operation: Int)
        case exists(String)
        case noParent(String)
        case unacknowledged(String)
    }

    /// The value of a field that nobody sets.
    static let defaults = ["x": 7, "y": 8]

    var objects: [String: Object]
    /// The number of the operation that fails, counted from 0; nil for none.
    var failingOperation: Int?
    /// The object whose creation is done but not acknowledged; nil for none.
    var unacknowledged: String?
    /// Whether somebody else is in the middle of an ADD.
    var hasCompany = false
    /// Called before each operation with its number, to change the model behind the plan's back.
    var interference: ((Int) -> Void)?
    private(set) var operations = 0
    /// The sizes of the batches performed.
    private(set) var batches: [Int] = []
    /// The names read, in order.
    private(set) var reads: [String] = []
    /// The names erased, in order.
    private(set) var erasures: [String] = []

    init(_ objects: [String: Object] = [:]) { self.objects = objects }

    func perform(_ requests: [Request]) -> [Outcome<Failure>] {
        batches.append(requests.count)
        return requests.map { request in
            if objects[request.name] != nil { return .exists }
            do throws(Failure) {
                try create(request.name, request.object)
                return .done
            } catch {
                return .failed(error)
            }
        }
    }

    func alone(_ body: () -> Void) -> Bool {
        if !hasCompany { body() }
        return !hasCompany
    }

    func mayBeDone(_ failure: Failure) -> Bool {
        if case .unacknowledged = failure { true } else { false }
    }

    func read(_ name: String) throws(Failure) -> Object? {
        reads.append(name)
        try count()
        return objects[name]
    }

    func create(_ name: String, _ object: Object) throws(Failure) {
        try count()
        guard objects[name] == nil else { throw .exists(name) }
        if let parent = object.parent, objects[parent] == nil { throw .noParent(parent) }
        objects[name] = object
        if name == unacknowledged { throw .unacknowledged(name) }
    }

    func set(_ field: String, of name: String, to value: Int) throws(Failure) {
        try count()
        objects[name]?.fields[field] = value
    }

    /// Erases an object and what hangs on it.
    func erase(_ name: String) throws(Failure) {
        erasures.append(name)
        try count()
        remove(name)
    }

    func remove(_ name: String) {
        guard objects.removeValue(forKey: name) != nil else { return }
        for (child, object) in objects where object.parent == name { remove(child) }
    }

    func hasChildren(_ name: String) throws(Failure) -> Bool {
        try count()
        return objects.values.contains { $0.parent == name }
    }

    private func count() throws(Failure) {
        let number = operations
        operations += 1
        interference?(number)
        if number == failingOperation { throw .injected(operation: number) }
    }
}
