#!/bin/bash
# plugins.sh DIR: times ADD and DEL of each plugin of links, and of those chained to them, beside
# Debian's Go plugin, in one alternating run for each.
#
# What this kernel has not, a guest's does: its times are an emulated machine's and marked as that. IPv6
# takes addresses for its own without asking, which takes a second or two with every program.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: plugins.sh DIR" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "plugins.sh makes network namespaces: it needs root" >&2; exit 1; }
ours=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d /tmp/swift-cni-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
peer=$(bash "$here/../fetch-peer.sh" "$here/../../.build/peer")
package=("$peer"/../../../containernetworking-plugins_*.deb)
gcc -O2 -Wall -Werror -o "$work/race" "$here/race.c" -lmnl

echo "ours:  $ours"
echo "peer:  containernetworking-plugins $(dpkg-deb -f "${package[0]}" Version) (Go)"

has() { unshare --net sh -c "$1" 2> /dev/null; }
lower='ip link add lower type veth peer name other && ip link add probe link lower type'
here_too=(ptp macvlan host-device tap tuning sbr)
elsewhere=()
place() { if has "$2"; then here_too+=("$1"); else elsewhere+=("$1"); fi; }
place dummy 'ip link add probe type dummy'
place vlan "$lower vlan id 5"
place ipvlan "$lower ipvlan"
place vrf 'ip link add probe type vrf table 5'

printf '\nOn Linux %s, %d CPUs, %d rounds, ms\n\n' "$(uname -r)" "$(nproc)" "${ROUNDS:-100}"
unshare --net --mount bash "$here/race-plugins.sh" "$ours" "$peer" "$work/race" \
    "${ROUNDS:-100}" "${here_too[@]}"
[ ${#elsewhere[@]} -gt 0 ] || exit 0
printf '\nOn a guest kernel, in an emulated machine, %d rounds, ms\n\n' "${GUEST_ROUNDS:-20}"
bash "$here/../guest/qemu-run" unshare --net --mount bash "$here/race-plugins.sh" "$ours" "$peer" \
    "$work/race" "${GUEST_ROUNDS:-20}" "${elsewhere[@]}"
