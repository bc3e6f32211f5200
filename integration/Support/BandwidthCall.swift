/// Keys of the bandwidth plugin.
enum BandwidthKeys {
    /// 100 Mbit/s for what is sent.
    static let sends: JSON = #"{"egressRate": 100000000, "egressBurst": 2147483647}"#
    /// 100 Mbit/s for what is received.
    static let receives: JSON = #"{"ingressRate": 100000000, "ingressBurst": 2147483647}"#

    /// The object `shaping`.
    static func shaping(_ text: String) -> JSON { JSON(text: "{\"shaping\": \(text)}") }
}

extension World {
    /// bandwidth alone, of network web, behind the plugin that has made the container's interface.
    func bandwidth(
        _ verb: String, _ keys: JSON, _ container: Container, after result: JSON
    ) throws -> Command.Ended {
        var given: JSON = #"{"cniVersion": "1.1.0", "name": "web", "type": "bandwidth"}"#
        given["prevResult"] = result
        return try call("bandwidth", verb, given.merging(keys), container)
    }
}
