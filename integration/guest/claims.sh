# claims.sh: what the tests on a guest kernel share; to be sourced.
#
# A line for every claim, `ok` or `FAIL`, then the sums. The test ends with 1 if a claim failed or if
# there was none. `$work` is a directory that ends with it.

passed=0 failed=0
work=$(mktemp -d)
finish() {
    status=$?
    rm -rf "$work"
    echo "$passed passed, $failed failed"
    [ $status -eq 0 ] && [ $passed -gt 0 ] && [ $failed -eq 0 ] || exit 1
}
trap finish EXIT

ok() {
    passed=$((passed + 1))
    echo "ok   $1"
}
fail() {
    failed=$((failed + 1))
    echo "FAIL $1${2:+: $2}"
}
# is CLAIM WANTED FOUND
is() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "wanted '$2', found '$3'"; fi; }
# holds CLAIM COMMAND...
holds() { if "${@:2}"; then ok "$1"; else fail "$1" "$(said)"; fi; }

# What the last plugin, or ping, said.
said() { tr -s '\n\t ' ' ' < "$work/said" | cut -c 1-200; }

# inside CONTAINER COMMAND...
inside() { ip netns exec "$@"; }

# reaches CONTAINER ADDRESS
reaches() { [ -n "$2" ] && inside "$1" ping -n -c 1 -W 3 "$2" > "$work/said" 2>&1; }

# misses CONTAINER ADDRESS: only an echo that was sent and not answered counts.
misses() {
    [ -n "$2" ] && ! inside "$1" ping -n -c 2 -i 0.3 -W 1 "$2" > "$work/said" 2>&1 \
        && grep -q ' 0 received' "$work/said"
}
