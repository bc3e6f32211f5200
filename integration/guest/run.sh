#!/bin/bash
# run.sh TEST_PROGRAM PLUGIN_DIR [SUITES]: the integration tests on a guest kernel, Debian's, which has
# what this machine's may lack. SUITES is a regular expression.
#
# The lines are the test runner's and so is the exit status; but where no summary says that tests ran
# and passed, or a test was skipped, it is 1. At most $LIMIT seconds, by default half an hour.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=$(realpath "$1")
plugins=$(realpath "$2")
suites=${3:-IntegrationTests}

bash "$here/../install-packages.sh" qemu-system-x86 linux-image-amd64 busybox-static cpio kmod checkpolicy \
    iproute2 iputils-ping jq nftables procps python3 strace util-linux

output=$(mktemp)
trap 'rm -f "$output"' EXIT
status=0
timeout --foreground --kill-after=10 "${LIMIT:-1800}" \
    env APPEND="security=selinux selinux=1" "$here/qemu-run" env CNI_TEST_GUEST=1 CNI_BIN="$plugins" \
    "$program" --testing-library swift-testing --no-parallel --filter "$suites" 2>&1 \
    | tee "$output" || status=$?
case $status in
    124 | 137) echo "guest-test: not done after ${LIMIT:-1800} s" >&2 ;;
esac
if [ $status -eq 0 ] && ! grep -qE 'Test run with [1-9][0-9]* tests? .*passed' "$output"; then
    echo "guest-test: no summary of tests that passed" >&2
    status=1
fi
if grep -E '^. (Test|Suite) .* skipped' "$output" >&2; then
    echo "guest-test: these tests were skipped on the guest's kernel" >&2
    status=1
fi
# Among other runs this says which one it was.
grep -oE 'Test run with .*' "$output" | tail -n 1 | sed 's/^/guest-test: on the guest kernel: /' || true
exit "$status"
