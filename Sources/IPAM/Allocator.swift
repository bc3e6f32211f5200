public import Addressing
public import CNI

/// Gives out addresses of one range set, as the reference does: the one that is asked for, or the
/// next that is free after the one given out last, around the set once.
public struct Allocator: Sendable {
    private let set: RangeSet
    private let number: Int

    /// An allocator for the range set of a number, which names its `last_reserved_ip` file.
    public init(_ set: RangeSet, number: Int) {
        self.set = set
        self.number = number
    }

    /// Reserves an address for a holder.
    ///
    /// - Throws: Code 999 with the reference's text, if the address asked for or every address is
    ///   taken, or the holder has one of this set already.
    public func reserve(
        _ requested: IPAddress?, for holder: Holder, in store: inout ReservationStore
    ) throws(CNIError) -> AddResult.Address {
        if let requested { return try reserve(exactly: requested, for: holder, in: &store) }
        for address in try store.addresses(of: holder) where set.range(of: address) != nil {
            throw CNIError(
                .internalError,
                "\(address) has been allocated to \(holder.containerID), "
                    + "duplicate allocation is not allowed")
        }
        for run in set.runs(after: store.lastReserved(in: number)) {
            var start = run.first
            while start <= run.last, let free = store.firstFree(in: start...run.last) {
                if free != run.range.gateway, try store.reserve(free, for: holder) {
                    store.setLastReserved(free, in: number)
                    return lease(of: free, in: run.range)
                }
                guard let next = free.advanced(by: 1) else { break }
                start = next
            }
        }
        for range in set.ranges {
            let run = range.start...range.end
            if let left = try store.reclaim(in: run, except: range.gateway, for: holder) {
                store.setLastReserved(left, in: number)
                return lease(of: left, in: range)
            }
        }
        throw CNIError(
            .internalError, "no IP addresses available in range set: \(set)")
    }

    /// The address that `reserve` would give out now, with nothing reserved.
    ///
    /// - Parameters:
    ///   - requested: The address that is asked for, if one is.
    ///   - taken: The addresses that are reserved.
    ///   - last: The address that was given out last.
    /// - Returns: The address, with its network and gateway.
    /// - Throws: Code 999 if there is none.
    package func preview(
        _ requested: IPAddress?, except taken: Set<IPAddress>, after last: IPAddress?
    ) throws(CNIError) -> AddResult.Address {
        if let requested {
            guard let range = set.range(of: requested), requested != range.gateway,
                !taken.contains(requested)
            else {
                throw CNIError(
                    .internalError,
                    "requested IP address \(requested) is not available in range set \(set)")
            }
            return lease(of: requested, in: range)
        }
        for run in set.runs(after: last) {
            var next: IPAddress? = run.first
            while let address = next, address <= run.last {
                if address != run.range.gateway, !taken.contains(address) {
                    return lease(of: address, in: run.range)
                }
                next = address.advanced(by: 1)
            }
        }
        throw CNIError(
            .internalError, "no IP addresses available in range set: \(set)")
    }

    /// Whether an address could be reserved now.
    public func hasFree(in store: inout ReservationStore) -> Bool {
        for range in set.ranges {
            var start = range.start
            while start <= range.end, let free = store.firstFree(in: start...range.end) {
                if free != range.gateway { return true }
                guard let next = free.advanced(by: 1) else { break }
                start = next
            }
        }
        for range in set.ranges
        where store.canReclaim(in: range.start...range.end, except: range.gateway) {
            return true
        }
        return false
    }

    private func reserve(
        exactly requested: IPAddress, for holder: Holder, in store: inout ReservationStore
    ) throws(CNIError) -> AddResult.Address {
        guard let range = set.range(of: requested) else {
            throw CNIError(.internalError, "\(requested) not in range set \(set)")
        }
        guard requested != range.gateway else {
            throw CNIError(
                .internalError, "requested ip \(requested) is subnet's gateway")
        }
        guard try store.reserve(requested, for: holder) else {
            throw CNIError(
                .internalError,
                "requested IP address \(requested) is not available in range set \(set)")
        }
        store.setLastReserved(requested, in: number)
        return lease(of: requested, in: range)
    }

    private func lease(of address: IPAddress, in range: AddressRange) -> AddResult.Address {
        // The subnet's length fits every address of the subnet.
        let prefix = IPPrefix(address, length: range.subnet.length) ?? IPPrefix(host: address)
        return AddResult.Address(prefix, gateway: range.gateway)
    }
}
