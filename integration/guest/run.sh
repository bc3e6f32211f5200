#!/bin/bash
# run.sh [PLUGIN_DIR]: the tests of this directory on a guest kernel, within a time limit each; their
# lines, and the exit status of the first that failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
plugins=$(realpath "${1:-$here/../../.build/cni}")
limit=${LIMIT:-300}

bash "$here/../install-packages.sh" user-mode-linux busybox-static iproute2 iputils-ping jq \
    util-linux

failure=0
for test in vlan-test plugins-test vrf-test; do
    echo "$test with $plugins on a guest kernel"
    status=0
    timeout --foreground --kill-after=10 "$limit" \
        bash "$here/uml-run" bash "$here/$test.sh" "$plugins" || status=$?
    case $status in
        0) ;;
        124 | 137) echo "$test: not done after $limit s" >&2 ;;
        125) echo "$test: the guest failed" >&2 ;;
    esac
    [ $failure -ne 0 ] || failure=$status
done
exit "$failure"
