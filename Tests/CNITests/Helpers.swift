import CNI

/// The value of a JSON text.
func json(_ text: String) throws(CNIError) -> JSON { try JSON(parsing: Array(text.utf8)) }

/// The error that `body` throws, or nil.
func failure<Result>(_ body: () throws(CNIError) -> Result) -> CNIError? {
    do throws(CNIError) {
        _ = try body()
        return nil
    } catch {
        return error
    }
}
