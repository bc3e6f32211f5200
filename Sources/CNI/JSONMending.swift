/// What Go's decoder takes and jansson does not, in terms of jansson's.
///
/// Made of a text that jansson has refused, so that others pay nothing for it: nobody may ever look at
/// the value that it refused.
func mendedForJansson(_ bytes: [UInt8]) -> [UInt8] {
    // To Go, too, each fault of UTF-8 is the replacement character.
    let input = Array(String(decoding: bytes, as: UTF8.self).utf8)
    var output: [UInt8] = []
    output.reserveCapacity(input.count)
    var index = 0
    while index < input.count {
        switch input[index] {
        case UInt8(ascii: "\""):
            let end = endOfString(in: input, from: index)
            output += withoutLoneSurrogates(
                input[index..<end], isKey: isKey(before: end, of: input))
            index = end
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            let end = input[index...].firstIndex { !isInNumber($0) } ?? input.count
            output += withinRange(input[index..<end])
            index = end
        default:
            output.append(input[index])
            index += 1
        }
    }
    return output
}

/// Where the string ends that begins at `start`, its quotes included.
private func endOfString(in input: [UInt8], from start: Int) -> Int {
    var index = start + 1
    while index < input.count, input[index] != UInt8(ascii: "\"") {
        index += input[index] == UInt8(ascii: "\\") ? 2 : 1
    }
    return min(index + 1, input.count)
}

/// Whether what ends at `end` names a member.
private func isKey(before end: Int, of input: [UInt8]) -> Bool {
    let next = input[end...].first { $0 != 0x20 && !(0x09...0x0d).contains($0) }
    return next == UInt8(ascii: ":")
}

private func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
}

private func isInNumber(_ byte: UInt8) -> Bool { isDigit(byte) || "+-.eE".utf8.contains(byte) }

/// A string whose halves of surrogate pairs without the other half are replacement characters; and NUL
/// characters, where they are part of a key.
private func withoutLoneSurrogates(_ string: ArraySlice<UInt8>, isKey: Bool) -> [UInt8] {
    let replacement = Array(#"\ufffd"#.utf8)
    var output: [UInt8] = []
    var index = string.startIndex
    while index < string.endIndex {
        guard string[index] == UInt8(ascii: "\\") else {
            output.append(string[index])
            index += 1
            continue
        }
        guard let unit = escapedUnit(at: index, of: string) else {
            output += string[index..<min(index + 2, string.endIndex)]
            index += 2
            continue
        }
        let isPair =
            UTF16.isLeadSurrogate(unit)
            && escapedUnit(at: index + 6, of: string).map(UTF16.isTrailSurrogate) ?? false
        if isPair {
            output += string[index..<index + 12]
        } else if UTF16.isLeadSurrogate(unit) || UTF16.isTrailSurrogate(unit) || unit == 0 && isKey
        {
            output += replacement
        } else {
            output += string[index..<index + 6]
        }
        index += isPair ? 12 : 6
    }
    return output
}

/// The unit of UTF-16 that an escape such as `\u0041` stands for, if there is one.
private func escapedUnit(at index: Int, of string: ArraySlice<UInt8>) -> UInt16? {
    guard string.endIndex - index > 6, string[index] == UInt8(ascii: "\\"),
        string[index + 1] == UInt8(ascii: "u")
    else { return nil }
    let digits = string[index + 2..<index + 6]
    guard !digits.contains(where: { "+-".utf8.contains($0) }) else { return nil }
    return UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
}

/// Whether a number has no zero in front, and digits behind its point.
private func isWellFormed(_ number: ArraySlice<UInt8>) -> Bool {
    let digits = number.drop { $0 == UInt8(ascii: "-") }
    let fraction = number.drop { $0 != UInt8(ascii: ".") }.dropFirst()
    let hasZero =
        digits.first == UInt8(ascii: "0") && digits.dropFirst().first.map(isDigit) ?? false
    let hasPoint = number.contains(UInt8(ascii: "."))
    return !hasZero && (!hasPoint || fraction.first.map(isDigit) ?? false)
}

/// A number that is not too large: an integer beyond 64 bits as one with a fraction, and the largest that
/// there is in place of a larger one.
private func withinRange(_ number: ArraySlice<UInt8>) -> [UInt8] {
    let text = String(decoding: number, as: UTF8.self)
    guard Int(text) == nil, let value = Double(text) else { return Array(number) }
    if value.isInfinite {
        // jansson would not see any more that it is none.
        guard isWellFormed(number) else { return Array(number) }
        return Array((value < 0 ? "-" : "").utf8) + Array("\(Double.greatestFiniteMagnitude)".utf8)
    }
    let isInteger = !number.contains { ".eE".utf8.contains($0) }
    return isInteger ? number + Array(".0".utf8) : Array(number)
}
