import Foundation

/// One TCP flow, measured where it arrives, for a few seconds.
struct Flow {
    private let receiver: Command
    private let sender: Command

    /// Starts a flow to a port of an address, which the namespace `to` has.
    init(from: String, to: String, address: String, port: Int, seconds: Double) throws {
        receiver = try Command(
            ["python3", "-c", Flow.receive, "\(port)", "\(seconds)"], in: to)
        sender = try Command(
            ["python3", "-c", Flow.send, address, "\(port)", "\(seconds)"], in: from)
    }

    /// Waits for the end: what arrived, in Mbit/s, but for the first tenth of the time.
    func rate() throws -> Double { try end().received["rate"].double }

    /// Waits for the end: what arrived in each tenth of a second, in Mbit/s, and the segments that
    /// were sent again.
    func samples() throws -> (rates: [Double], again: Int) {
        let (received, again) = try end()
        return (received["steps"].array.map(\.double), again)
    }

    private func end() throws -> (received: JSON, again: Int) {
        let sent = sender.wait()
        let received = receiver.wait()
        guard !received.json.isNull else {
            throw Failure("no flow: \(received.errors) \(sent.errors)")
        }
        return (received.json, Int(sent.output.filter { $0 != "\n" }) ?? -1)
    }

    static let receive = """
        import json, socket, sys, time
        port, seconds = int(sys.argv[1]), float(sys.argv[2])
        s = socket.create_server(('', port)); s.settimeout(10)
        c, _ = s.accept(); c.settimeout(5)
        start = time.monotonic(); warm = start + seconds / 10; count = 0; first = None
        steps = [0] * (int(seconds * 10) + 1)
        while time.monotonic() < start + seconds:
            data = c.recv(65536)
            if not data: break
            now = time.monotonic()
            steps[min(int((now - start) * 10), len(steps) - 1)] += len(data)
            if now > warm:
                if first is None: first = now
                else: count += len(data)
                last = now
        steps = [step * 8 / 1e5 for step in steps[:-1]]
        print(json.dumps({"rate": count * 8 / (last - first) / 1e6, "steps": steps}))
        """

    static let send = """
        import socket, struct, sys, time
        address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
        for _ in range(50):
            try:
                c = socket.create_connection((address, port), 5); break
            except ConnectionRefusedError: time.sleep(0.05)
        c.settimeout(1); data = bytes(65536); end = time.monotonic() + seconds + 0.2
        try:
            while time.monotonic() < end: c.send(data)
        except OSError: pass
        # tcpi_total_retrans: the 24th number of 32 bits, after eight bytes.
        print(struct.unpack_from('I', c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 100)[0])
        """
}

/// How much of an amount must arrive at least.
///
/// An emulated machine carries what its host leaves to it, so that there only a quarter must; what must
/// not be exceeded holds everywhere.
func atLeast(_ amount: Double) -> Double { isGuest ? amount / 4 : amount }

/// Bounds of a rate, the lower of which is for a machine that can carry it.
func carried(_ bounds: ClosedRange<Double>) -> ClosedRange<Double> {
    atLeast(bounds.lowerBound)...bounds.upperBound
}

extension JSON {
    /// The number, or 0.
    var double: Double { (value as? NSNumber)?.doubleValue ?? 0 }
}
