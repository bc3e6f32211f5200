internal import CLinux
internal import SystemPackage

/// A program of BPF that looks at a packet's bytes and gives it a class.
///
/// It starts at the packet's link header. A packet that is too short for a look at it matches
/// nothing: bpf(2) ends a program whose BPF_LD fails with 0.
struct Classifier {
    /// The program so far.
    private(set) var instructions: [bpf_insn] = []
    /// Whether a jump would be further than one can be.
    private var isTooLong = false

    /// A jump to a place that is not known yet.
    struct Jump {
        fileprivate let index: Int
    }

    /// What a value is compared with.
    enum Comparison {
        case equal, unequal, below, above

        fileprivate var code: Int32 {
            switch self {
            case .equal: BPF_JEQ
            case .unequal: BPF_JNE
            case .below: BPF_JLT
            case .above: BPF_JGT
            }
        }
    }

    private static let value = UInt8(BPF_REG_0)
    private static let scratch = UInt8(BPF_REG_1)
    /// BPF_LD finds the packet there.
    private static let packet = UInt8(BPF_REG_6)
    private static let offset = UInt8(BPF_REG_7)

    /// An empty program.
    init() {
        add(BPF_ALU64 | BPF_MOV | BPF_X, to: Self.packet, from: Self.scratch)
    }

    /// Loads a byte, a half word or a word in the network's order: 1, 2 or 4 bytes.
    mutating func load(_ size: Int, at offset: Int) {
        add(BPF_LD | BPF_ABS | Self.code(of: size), constant: UInt32(offset))
    }

    /// Loads from `offset` bytes after the header of IPv4 that starts at `header`, whatever its length.
    mutating func load(_ size: Int, afterIPv4At header: Int, offset: Int) {
        load(1, at: header)
        add(BPF_ALU | BPF_AND | BPF_K, to: Self.value, constant: 0xf)
        add(BPF_ALU | BPF_LSH | BPF_K, to: Self.value, constant: 2)
        add(BPF_ALU64 | BPF_MOV | BPF_X, to: Self.offset, from: Self.value)
        add(
            BPF_LD | BPF_IND | Self.code(of: size), from: Self.offset,
            constant: UInt32(header + offset))
    }

    /// Keeps only these bits of what was loaded.
    mutating func mask(_ bits: UInt32) {
        guard bits != .max else { return }
        add(BPF_ALU | BPF_AND | BPF_K, to: Self.value, constant: bits)
    }

    /// Jumps if what was loaded compares so.
    mutating func jump(if comparison: Comparison, _ constant: UInt32) -> Jump {
        add(BPF_JMP32 | comparison.code | BPF_K, to: Self.value, constant: constant)
        return Jump(index: instructions.count - 1)
    }

    /// Jumps.
    mutating func jump() -> Jump {
        add(BPF_JMP | BPF_JA)
        return Jump(index: instructions.count - 1)
    }

    /// Lets jumps come here.
    mutating func land(_ jumps: [Jump]) {
        for jump in jumps {
            let distance = Int16(exactly: instructions.count - 1 - jump.index)
            instructions[jump.index].off = distance ?? 0
            isTooLong = isTooLong || distance == nil
        }
    }

    /// Writes the packet's priority, by which a tree finds its class.
    mutating func setPriority(_ id: ClassID) {
        add(BPF_ALU | BPF_MOV | BPF_K, to: Self.scratch, constant: id.handle)
        store(at: Int(LINUX_PACKET_PRIORITY))
    }

    /// Writes some bits of the packet's mark.
    mutating func setMark(_ bits: UInt32, of mask: UInt32) {
        let place = Int16(LINUX_PACKET_MARK)
        add(
            BPF_LDX | BPF_MEM | BPF_W, to: Self.scratch, from: Self.packet, place: place)
        add(BPF_ALU | BPF_AND | BPF_K, to: Self.scratch, constant: ~mask)
        add(BPF_ALU | BPF_OR | BPF_K, to: Self.scratch, constant: bits)
        store(at: Int(place))
    }

    /// Ends: the packet matches, and goes through the filter's actions, or does not.
    mutating func end(matching: Bool) {
        add(BPF_ALU | BPF_MOV | BPF_K, to: Self.value, constant: matching ? .max : 0)
        add(BPF_JMP | BPF_EXIT)
    }

    /// A number that tells programs apart: FNV-1a of the instructions.
    var digest: UInt64 {
        var digest: UInt64 = 0xcbf2_9ce4_8422_2325
        for instruction in instructions {
            let bytes = unsafe withUnsafeBytes(of: instruction) { unsafe Array($0) }
            for byte in bytes { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01b3 }
        }
        return digest
    }

    /// The program in the kernel, for as long as something there refers to it or `body` runs.
    ///
    /// - Returns: nil if the kernel does not take it, or would not.
    func loaded<Result, Failure: Error>(
        _ body: (Int32) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        guard !isTooLong else { return nil }
        let program = unsafe instructions.withUnsafeBufferPointer {
            unsafe linux_load_classifier($0.baseAddress, UInt32($0.count))
        }
        guard program >= 0 else { return nil }
        defer { try? FileDescriptor(rawValue: program).close() }
        return try body(program)
    }

    private mutating func store(at place: Int) {
        add(
            BPF_STX | BPF_MEM | BPF_W, to: Self.packet, from: Self.scratch, place: Int16(place))
    }

    private mutating func add(
        _ code: Int32, to target: UInt8 = 0, from source: UInt8 = 0, place: Int16 = 0,
        constant: UInt32 = 0
    ) {
        var instruction = bpf_insn()
        instruction.code = UInt8(code)
        instruction.dst_reg = target
        instruction.src_reg = source
        instruction.off = place
        instruction.imm = Int32(bitPattern: constant)
        instructions.append(instruction)
    }

    private static func code(of size: Int) -> Int32 {
        size == 1 ? BPF_B : size == 2 ? BPF_H : BPF_W
    }
}
