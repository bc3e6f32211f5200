import Foundation

/// One TCP flow, measured where it arrives, for a few seconds.
struct Flow {
    private let receiver: Command
    private let sender: Command

    private let seconds: Double

    /// Starts a flow to a port of an address, which the namespace `to` has; the sender by way of another
    /// program with arguments if `through` says so.
    init(
        from: String, to: String, address: String, port: Int, seconds: Double,
        through: [String] = []
    ) throws {
        self.seconds = seconds
        receiver = try Command(
            ["python3", "-c", Flow.receive, "\(port)", "\(seconds)"], in: to)
        sender = try Command(
            through + ["python3", "-c", Flow.send, address, "\(port)", "\(seconds)"], in: from)
    }

    /// Waits for the end: what arrived, in Mbit/s, but for the first tenth of the time.
    func rate() throws -> Double { try course().rate }

    /// Waits for the ends: what arrived in each, in Mbit/s, while all of them were under way.
    static func rates(of flows: [Flow]) throws -> [Double] {
        let courses = try flows.map { try $0.course() }
        let start = courses.map(\.settled.lowerBound).max() ?? 0
        let end = courses.map(\.settled.upperBound).min() ?? 0
        guard end > start + 1 else { throw Failure("no second in which all flows were under way") }
        return courses.map { $0.rate(over: start...end) }
    }

    /// Waits for the end.
    func course() throws -> Course {
        let received = receiver.wait()
        let sent = sender.wait()
        let looks = received.json["looks"].array.map { look in
            (moment: look[0].double, bytes: look[1].double * received.json["bytes"].double)
        }
        guard let first = looks.first else {
            throw Failure("no flow: \(received.errors) \(sent.errors)")
        }
        return Course(
            looks: looks, time: first.moment...first.moment + seconds,
            again: Int(sent.output.filter { $0 != "\n" }) ?? -1)
    }

    /// A moment of the clock that the courses' are of.
    static var now: Double {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }

    /// How a flow went: what the receiver's kernel had taken, at some moments.
    struct Course {
        fileprivate let looks: [(moment: Double, bytes: Double)]
        /// When it was measured.
        let time: ClosedRange<Double>
        /// The segments that were sent again.
        let again: Int

        /// When it was measured, but for the first tenth.
        var settled: ClosedRange<Double> {
            time.lowerBound + (time.upperBound - time.lowerBound) / 10...time.upperBound
        }

        /// What arrived but in the first tenth, in Mbit/s.
        var rate: Double { rate(over: settled) }

        /// What arrived in each tenth of a second, in Mbit/s.
        var steps: [Double] {
            (0..<Int((time.upperBound - time.lowerBound) * 10 + 0.5)).map { step in
                let start = time.lowerBound + Double(step) / 10
                return rate(over: start...start + 0.1)
            }
        }

        /// What arrived in a part of the time, in Mbit/s.
        func rate(over part: ClosedRange<Double>) -> Double {
            (bytes(at: part.upperBound) - bytes(at: part.lowerBound)) * 8
                / (part.upperBound - part.lowerBound) / 1e6
        }

        /// What had arrived at a moment, between two looks in proportion.
        private func bytes(at moment: Double) -> Double {
            guard let next = looks.firstIndex(where: { $0.moment > moment }), next > 0 else {
                return (moment < time.lowerBound ? looks.first : looks.last)?.bytes ?? 0
            }
            let (before, after) = (looks[next - 1], looks[next])
            return before.bytes + (after.bytes - before.bytes)
                * (moment - before.moment) / (after.moment - before.moment)
        }
    }

    /// Either end has a buffer that outlasts a wait for a processor, and the kernel counts what arrives: a
    /// rate is then the traffic's, whenever these programs run.
    private static let receive = """
        import json, socket, struct, sys, time
        port, seconds = int(sys.argv[1]), float(sys.argv[2])
        s = socket.socket(); s.settimeout(60)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE, and so of the connection
        s.bind(('', port)); s.listen(1)
        c, _ = s.accept(); c.settimeout(0.02)
        def look():
            # tcpi_data_segs_in: those beyond a lost one, too. A look that takes long is of no moment.
            for _ in range(50):
                start = time.monotonic()
                info = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
                now = time.monotonic()
                if now < start + 0.002: break
            return now, struct.unpack_from('I', info, 152)[0]
        looks = [look()]
        while looks[-1][0] <= looks[0][0] + seconds:
            try:
                if not c.recv(65536): sys.exit("the sender has ended")
            except TimeoutError: pass
            if time.monotonic() > looks[-1][0] + 0.01: looks.append(look())
        # tcpi_rcv_mss, which each of a long flow has.
        info = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        print(json.dumps({"looks": looks, "bytes": struct.unpack_from('I', info, 20)[0]}))
        """

    private static let send = """
        import socket, struct, sys, time
        address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
        for _ in range(400):
            try:
                c = socket.create_connection((address, port), 20); break
            except ConnectionRefusedError: time.sleep(0.05)
        c.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)  # SO_SNDBUFFORCE
        # It is the receiver that ends it.
        c.settimeout(1); data = bytes(65536); end = time.monotonic() + seconds + 20
        while time.monotonic() < end:
            try: c.send(data)
            except TimeoutError: pass
            except OSError: break
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
