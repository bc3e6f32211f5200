#!/bin/bash
# run.sh TEST_PROGRAM PLUGIN_DIR [SUITES]: the integration tests on a guest kernel, Debian's, which has
# what this machine's may lack, in pieces: a guest for every few suites. SUITES is a regular expression of
# their names, such as 'Dummy|IPVLAN'.
#
# The lines are the test runner's. At the end there is a table, also of what a guest did not live to do: the
# exit status is 0 only if every test there is of these suites has run and passed. A guest gets $LIMIT
# seconds, by default half an hour. The runner's records are kept in .build/guest, a file for each guest;
# those of suites that are not asked for stay, and run.sh with `table` for SUITES only counts them all.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=$(realpath "$1")
plugins=$(realpath "$2")
suites=${3:-.}
records=$(realpath -m "$here/../../.build/guest")
# How many tests a guest gets before the next suite begins in another.
piece=40

bash "$here/../install-packages.sh" qemu-system-x86 linux-image-amd64 busybox-static cpio kmod checkpolicy \
    iproute2 iputils-ping jq nftables procps python3 strace util-linux

mkdir -p "$records"
# A test whose name another module has too is listed with its place in the source.
"$program" --testing-library swift-testing --list-tests \
    | sed -n -e 's|/[^/]*\.swift:[0-9:]*$||' -e 's/^IntegrationTests\.//p' > "$records/tests"
if [ "$suites" = table ]; then
    exec python3 -B "$here/table.py" "$records/tests" "$records"
fi
tests=$(mktemp)
trap 'rm -f "$tests"' EXIT
# A suite is what is before the last slash.
awk -v suites="$suites" '{ name = $0; sub("/[^/]*$", "", name) } name ~ suites' "$records/tests" > "$tests"
if [ ! -s "$tests" ]; then
    echo "guest-test: no suite is called $suites" >&2
    exit 1
fi

# In the order of their names; SELinux is another kernel's setting, and has its suite alone.
mapfile -t pieces < <(sed 's|/[^/]*$||' "$tests" | sort | uniq -c | awk -v most=$piece '
    function flush() { if (names != "") print names; names = ""; count = 0 }
    $2 == "TapContextTests" { alone = $2; next }
    { names = names (names == "" ? "" : "|") $2; count += $1 }
    count >= most { flush() }
    END { flush(); if (alone != "") print alone }')

number=0
for names in "${pieces[@]}"; do
    number=$((number + 1))
    echo "guest-test: guest $number of ${#pieces[@]}: ${names//|/ }"
    file=$records/$(date +%s)-$$.jsonl
    status=0
    append=
    [ "$names" != TapContextTests ] || append="security=selinux selinux=1"
    timeout --foreground --kill-after=10 "${LIMIT:-1800}" \
        env APPEND="$append" KEEP="$records" "$here/qemu-run" env CNI_TEST_GUEST=1 CNI_BIN="$plugins" \
        "$program" --testing-library swift-testing --no-parallel --filter "IntegrationTests.($names)/" \
        --event-stream-output-path "$file" --event-stream-version 0 2>&1 || status=$?
    case $status in
        124 | 137) echo "guest-test: not done after ${LIMIT:-1800} s" >&2 ;;
    esac
done
python3 -B "$here/table.py" "$tests" "$records"
