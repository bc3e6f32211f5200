import CNI
import Testing

/// CNI_ARGS.
@Suite struct CNIArgumentsTests {
    @Test("pairs are split, and the last of a key counts")
    func pairs() throws {
        let arguments = try CNIArguments("IP=10.1.0.5;MAC=02:00:00:00:00:01;IP=10.1.0.6")
        #expect(arguments["IP"] == "10.1.0.6")
        #expect(arguments["MAC"] == "02:00:00:00:00:01")
        #expect(arguments["GATEWAY"] == nil)
    }

    @Test("no text has no pairs, and an empty value is no value")
    func empty() throws {
        #expect(try CNIArguments("")["IP"] == nil)
        #expect(try CNIArguments("IP=")["IP"] == nil)
    }

    @Test("what Kubernetes and containerd send is taken")
    func kubernetes() throws {
        let arguments = try CNIArguments(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;"
                + "K8S_POD_INFRA_CONTAINER_ID=8f3a;K8S_POD_UID=1c")
        #expect(arguments["K8S_POD_NAME"] == "web-0")
    }

    @Test(
        "a pair without exactly one = is an error of code 4",
        arguments: [("IP", "IP"), ("IP=1=2", "IP=1=2"), ("IP=1;", ""), (";", ""), ("a;b=1", "a")])
    func invalidPair(text: String, pair: String) {
        #expect(
            failure { () throws(CNIError) in try CNIArguments(text) }
                == CNIError(.environment, "CNI_ARGS: ARGS: invalid pair \"\(pair)\""))
    }

    @Test("an unknown key is an error of code 4 that lists it")
    func unknown() {
        #expect(
            failure { () throws(CNIError) in try CNIArguments("IP=10.1.0.5;A=1;B=2") }
                == CNIError(.environment, #"CNI_ARGS: ARGS: unknown args ["A=1" "B=2"]"#))
    }

    @Test("upper and lower case are not the same in a key")
    func caseCounts() {
        #expect(failure { () throws(CNIError) in try CNIArguments("ip=10.1.0.5") }?.code == 4)
    }

    @Test(
        "an unknown key is no error where IgnoreUnknown says so",
        arguments: ["1", "true", "TRUE", "tRuE"])
    func ignored(value: String) throws {
        #expect(try CNIArguments("A=1;IP=10.1.0.5;IgnoreUnknown=\(value)")["IP"] == "10.1.0.5")
    }

    @Test("IgnoreUnknown can also say no", arguments: ["0", "false", ""])
    func notIgnored(value: String) {
        #expect(
            failure { () throws(CNIError) in try CNIArguments("A=1;IgnoreUnknown=\(value)") }?.code
                == 4)
    }

    @Test("IgnoreUnknown says yes or no, and nothing else", arguments: ["t", "yes", "2", ""])
    func flag(value: String) {
        #expect(
            failure { () throws(CNIError) in try CNIArguments("IgnoreUnknown=\(value)") }
                == CNIError(
                    .environment,
                    "CNI_ARGS: ARGS: error parsing value of pair \"IgnoreUnknown=\(value)\""))
    }
}
