#!/bin/bash
# run.sh [PLUGIN_DIR]: vlan-test.sh on a guest kernel, within a time limit; its lines and its exit
# status.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
plugins=$(realpath "${1:-$here/../../.build/cni}")
limit=${LIMIT:-300}

bash "$here/../install-packages.sh" user-mode-linux busybox-static iproute2 iputils-ping jq \
    util-linux

echo "the VLAN keys of $plugins/bridge on a guest kernel"
status=0
timeout --foreground --kill-after=10 "$limit" bash "$here/uml-run" bash "$here/vlan-test.sh" "$plugins" \
    || status=$?
case $status in
    0) ;;
    124 | 137) echo "guest-test: not done after $limit s" >&2 ;;
    125) echo "guest-test: the guest failed" >&2 ;;
esac
exit "$status"
