import Testing

@testable import Operator

/// What has come to a listing of rules since an earlier one.
@Suite struct RulesetTextTests {
    private let earlier = """
        table inet a {
        \tchain one {
        \t\ttype filter hook input priority 0; policy accept;
        \t\taccept
        \t}

        \tset some {
        \t\telements = { 1 }
        \t}
        }
        """

    @Test("a new rule is given alone, a changed set whole, what is as it was not at all")
    func additions() {
        let later = earlier.replacing("\t\taccept\n", with: "\t\taccept\n\t\tdrop\n")
            .replacing("{ 1 }", with: "{ 1, 2 }")
        #expect(
            RulesetText(later).additions(to: RulesetText(earlier)) == """
                table inet a {
                \tchain one {
                \t\tdrop
                \t}
                \tset some {
                \t\telements = { 1, 2 }
                \t}
                }
                """)
        #expect(RulesetText(earlier).additions(to: RulesetText(earlier)) == nil)
    }

    @Test("a new table is given whole, be it empty")
    func table() {
        #expect(
            RulesetText("table inet b {\n}\n" + earlier).additions(to: RulesetText(earlier))
                == "table inet b {\n}")
        let added = RulesetText(earlier).additions(to: RulesetText())
        #expect(added == earlier.replacing("\n\n", with: "\n"))
    }

    @Test(
        "what is in no table, or in nothing of one, is left out",
        arguments: [
            "\tchain one {\n\t\taccept\n\t}\n", "\t\taccept\n", "\t}\n}\n",
            "table inet a {\n\t\taccept\n}\n",
        ])
    func astray(start: String) {
        let added = RulesetText(start + earlier).additions(to: RulesetText(start))
        #expect(added == earlier.replacing("\n\n", with: "\n"))
    }
}
