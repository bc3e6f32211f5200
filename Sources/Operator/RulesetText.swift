internal import CNI
internal import PluginRuntime

/// A ruleset as `nft` lists it, to be compared with a later one.
struct RulesetText {
    /// A chain, a set or a map: its first line, and what is between the braces.
    private struct Block {
        let heading: String
        var lines: [String] = []
    }

    private var tables: [(heading: String, blocks: [Block])] = []

    /// No rules.
    init() {}

    /// Reads a listing, whose indentation says what is in what.
    init(_ text: String) {
        for line in text.split(separator: "\n").map(String.init) {
            let depth = line.prefix { $0 == "\t" }.count
            switch depth {
            case 0 where line.hasSuffix("{"): tables.append((line, []))
            case 1 where line.hasSuffix("{"):
                guard let last = tables.indices.last else { continue }
                tables[last].blocks.append(Block(heading: line))
            case 0: break
            case 1 where line.trimmingPrefix("\t") == "}": break
            default:
                guard let last = tables.indices.last, !tables[last].blocks.isEmpty else { continue }
                tables[last].blocks[tables[last].blocks.count - 1].lines.append(line)
            }
        }
    }

    /// What this ruleset has and an earlier one has not, for `nft -f` to add to that one; nil if
    /// there is nothing.
    ///
    /// Sets and maps are given whole: an element that is there already does no harm.
    func additions(to earlier: RulesetText) -> String? {
        var lines: [String] = []
        for table in tables {
            let before = earlier.tables.first { $0.heading == table.heading }?.blocks
            var blocks: [Block] = []
            for block in table.blocks {
                guard let former = before?.first(where: { $0.heading == block.heading }) else {
                    blocks.append(block)
                    continue
                }
                guard former.lines != block.lines else { continue }
                var added = block
                if block.heading.hasPrefix("\tchain") {
                    added.lines = block.lines.filter { !former.lines.contains($0) }
                }
                blocks.append(added)
            }
            guard !blocks.isEmpty || before == nil else { continue }
            lines.append(table.heading)
            for block in blocks { lines += [block.heading] + block.lines + ["\t}"] }
            lines.append("}")
        }
        return lines.isEmpty ? nil : lines.joined(separator: "\n")
    }
}
