import Glibc

/// What the command prints on, and in which colours.
enum Terminal {
    /// A way to make a word stand out.
    enum Style: String {
        case bold = "1"
        case dim = "2"
        case red = "31"
        case green = "32"
        case yellow = "33"
        case cyan = "36"
    }

    /// Whether standard output is a terminal that shows colours.
    static let hasColours =
        isatty(STDOUT_FILENO) == 1 && environment("NO_COLOR") == nil
        && environment("TERM") != "dumb"

    /// How many columns standard output has; 100 where it is no terminal.
    static var width: Int { size.flatMap { $0.ws_col > 0 ? Int($0.ws_col) : nil } ?? 100 }

    /// How many lines standard output has, if it is a terminal that tells.
    static var height: Int? { size.flatMap { $0.ws_row > 0 ? Int($0.ws_row) : nil } }

    private static var size: winsize? {
        var size = winsize()
        return unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 ? size : nil
    }

    /// A text in a style, where there are any.
    static func styled(_ text: String, _ style: Style?) -> String {
        guard hasColours, let style, !text.isEmpty else { return text }
        return "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m"
    }

    /// Tells people what is wrong, apart from the output.
    static func complain(_ text: String) {
        let line = Array("cnictl: \(text)\n".utf8)
        unsafe _ = write(STDERR_FILENO, line, line.count)
    }
}

/// Rows under headings, each column as wide as its widest cell.
struct Table {
    /// A cell, in a style that does not count for its width.
    struct Cell: ExpressibleByStringInterpolation {
        let text: String
        let style: Terminal.Style?

        init(_ text: String, _ style: Terminal.Style? = nil) {
            self.text = text
            self.style = style
        }

        init(stringLiteral text: String) { self.init(text) }
    }

    private let headings: [String]
    private let isRight: [Bool]
    private let isOptional: [Bool]
    private var rows: [[Cell]] = []

    /// A table without rows; columns whose heading begins with `>` are set to the right, those
    /// with `?` left out where no row has anything in them.
    init(_ headings: String...) {
        isRight = headings.map { $0.hasPrefix(">") }
        isOptional = headings.map { $0.hasPrefix("?") }
        self.headings = headings.map { String($0.drop { ">?".contains($0) }) }
    }

    /// Whether there is nothing in it.
    var isEmpty: Bool { rows.isEmpty }

    /// Adds a row.
    mutating func add(_ cells: Cell...) { rows.append(cells) }

    /// The lines of the table, headings first.
    var lines: [String] {
        let all = [headings.map { Cell($0, .bold) }] + rows
        let widths = headings.indices.map { column in
            all.map { column < $0.count ? $0[column].text.count : 0 }.max() ?? 0
        }
        let isShown = headings.indices.map { column in
            !isOptional[column] || rows.contains { $0[column].text != "-" }
        }
        return all.map { row in
            var line = ""
            for (column, cell) in row.enumerated() where isShown[column] {
                let space = String(repeating: " ", count: widths[column] - cell.text.count)
                let text = Terminal.styled(cell.text, cell.style)
                line += isRight[column] ? space + text : text + space
                if column < row.count - 1 { line += "  " }
            }
            while line.hasSuffix(" ") { line.removeLast() }
            return line
        }
    }

    /// Prints the table.
    func print() { for line in lines { Swift.print(line) } }
}
