#!/bin/bash
# reproducible.sh VERSION: builds the commit that is checked out in two folders, of which neither's name is
# as long as the other's, and compares the archives and the packages byte for byte.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
version=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0
for folder in one the/other/folder; do
    git clone --quiet --no-hardlinks "$root" "$work/$folder"
    make -C "$work/$folder" --no-print-directory deb dist VERSION="$version" > "$work/log" 2>&1 \
        || { tail -n 40 "$work/log" >&2; exit 1; }
done
architecture=$(dpkg --print-architecture)
for file in "swift-cni-linux-$architecture-v$version.tgz" "swift-cni_${version}_$architecture.deb"; do
    one=$work/one/.build/dist/$file other=$work/the/other/folder/.build/dist/$file
    if cmp "$one" "$other"; then
        echo "the same: $(sha256sum < "$one" | cut -c 1-64)  $file"
    else
        status=1
    fi
done
exit $status
