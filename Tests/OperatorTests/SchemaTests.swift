import CNI
import Plugins
import Testing

@testable import Operator

/// JSON Schema from the plugins' keys.
@Suite struct SchemaTests {
    @Test("every key of every plugin has its place in the plugin's schema", arguments: pluginNames)
    func whole(name: String) throws {
        let schema = try #require(Schema.plugin(name))
        #expect(schema["$schema"]?.text?.contains("2020-12") == true)
        for key in plugin(named: name)?.keys ?? [] {
            var place: JSON? = schema
            for word in key.path.split(separator: ".") {
                var name = word
                var depth = 0
                while name.hasSuffix("[]") {
                    name = name.dropLast(2)
                    depth += 1
                }
                place = place?["properties"]?[String(name)]
                for _ in 0..<depth { place = place?["items"] }
            }
            #expect(place?["description"]?.text == key.summary, "\(key.path)")
        }
    }

    @Test("types and defaults are JSON's")
    func types() throws {
        let keys = try #require(Schema.plugin("bridge")?["properties"])
        #expect(keys["isGateway"]?["type"] == "boolean")
        #expect(keys["isGateway"]?["default"] == false)
        #expect(keys["mtu"]?["type"] == "integer")
        #expect(keys["bridge"]?["default"] == "cni0")
        #expect(keys["vlanTrunk"]?["items"]?["properties"]?["id"]?["type"] == "integer")
        let local = try #require(Schema.plugin("host-local")?["properties"]?["ipam"]?["properties"])
        #expect(local["ranges"]?["items"]?["items"]?["properties"]?["subnet"]?["type"] == "string")
        #expect(Schema.plugin("nobody") == nil)
    }

    @Test("the schema of a list has a branch for each plugin")
    func list() {
        let branches = Schema.list["properties"]?["plugins"]?["items"]?["allOf"]?.elements
        #expect(branches?.count == pluginNames.count)
    }
}
