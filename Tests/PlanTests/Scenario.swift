import Plan

/// A plan and the system it meets, drawn from a seed.
struct Scenario: CustomStringConvertible {
    let seed: UInt64
    let steps: [Thing]
    let before: [String: Model.Object]

    var plan: Plan<Model> { Plan(steps) }
    var description: String { "seed \(seed): \(steps)" }

    /// Draws up to eight steps of every kind.
    ///
    /// Of what may be there already, half is, with other fields; other attachments' objects hang
    /// on half of what is shared.
    init(seed: UInt64) {
        var random = SplitMix(state: seed)
        var steps: [Thing] = []
        var before = ["bystander": Model.Object(fields: Model.defaults)]
        for number in 0..<Int.random(in: 1...8, using: &random) {
            var thing = Thing("t\(number)")
            thing.x = Bool.random(using: &random) ? Int.random(in: 0...3, using: &random) : nil
            thing.y = Bool.random(using: &random) ? Int.random(in: 0...3, using: &random) : nil
            thing.isBatched = .random(using: &random)
            let exclusive = steps.filter { $0.isExclusive }
            switch Int.random(in: 0...3, using: &random) {
            case 0:
                thing.sharing = .shared
                thing.isChangedBack = .random(using: &random)
            case 1:
                thing.isExclusive = true
                thing.parent =
                    steps.filter { $0.sharing != .part }.randomElement(using: &random)?
                    .name
            case 2 where !exclusive.isEmpty:
                thing.sharing = .part
                thing.parent = exclusive.randomElement(using: &random)?.name
            default:
                thing.parent =
                    steps.filter { $0.sharing == .shared }
                    .randomElement(using: &random)?.name
            }
            steps.append(thing)
            let mayExist = thing.sharing != .part && !thing.isExclusive
            let parentExists = thing.parent.map { before[$0] != nil } ?? true
            guard mayExist, parentExists, Bool.random(using: &random) else { continue }
            let values = Model.defaults.mapValues { _ in Int.random(in: 0...3, using: &random) }
            before[thing.name] = Model.Object(fields: values, parent: thing.parent)
            if thing.sharing == .shared, Bool.random(using: &random) {
                before["other on \(thing.name)"] = Model.Object(
                    fields: Model.defaults, parent: thing.name)
            }
        }
        self.seed = seed
        self.steps = steps
        self.before = before
    }

    /// The system after a roll-back: as it was, but for the shared objects that stay changed, of which
    /// `changed` are.
    ///
    /// Of one that is changed back, a change that stopped half-way stays as well: it is not as it was
    /// changed.
    func rolledBack(_ changed: [String: Model.Object]) -> [String: Model.Object] {
        var wanted = before
        for step in steps where step.sharing == .shared && before[step.name] != nil {
            guard let fields = changed[step.name]?.fields else { continue }
            let isWhole = step.wanted.allSatisfy { fields[$0.key] == $0.value }
            if !step.isChangedBack || !isWhole { wanted[step.name]?.fields = fields }
        }
        return wanted
    }
}

/// A generator of numbers that a seed repeats.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}
