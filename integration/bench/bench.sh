#!/bin/bash
# bench.sh DIR: times the plugins in DIR beside Debian's Go plugins and a C floor.
#
# Fetches the peer and compiles the floor into a directory of its own, and measures in network and
# mount namespaces of its own; nothing of it stays. Fails if a call fails. A missed target is
# marked in the tables and is no failure.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: bench.sh DIR" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "bench.sh makes network namespaces: it needs root" >&2; exit 1; }
ours=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d /tmp/swift-cni-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT

peer=$(bash "$here/../fetch-peer.sh" "$here/../../.build/peer")
package=("$peer"/../../../containernetworking-plugins_*.deb)

# What the page cache holds of a program, and in how large pieces, is a tenth of its time: all are
# copied in one way, just before.
ours_copy="$work/ours" peer_copy="$work/peer"
cp -a "$ours" "$ours_copy"
cp -a "$peer" "$peer_copy"

for program in race version floor; do
    gcc -O2 -Wall -Werror -o "$work/$program" "$here/$program.c" -lmnl
done

echo "ours:  $ours"
echo "peer:  containernetworking-plugins $(dpkg-deb -f "${package[0]}" Version) (Go)"
echo "floor: C with libmnl, the start-up or the kernel's work alone"
echo "on:    Linux $(uname -r), $(nproc) CPUs"

unshare --net --mount bash "$here/measure.sh" "$ours_copy" "$peer_copy" "$work"
unshare --net --mount python3 -B "$here/chain.py" "$ours_copy" "$peer_copy" "$work/chain"
