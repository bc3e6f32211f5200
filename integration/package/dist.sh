#!/bin/bash
# dist.sh VERSION DIRECTORY: an archive to unpack into /opt/cni/bin, and its checksums, named as the
# reference plugins name theirs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

architecture=$(dpkg --print-architecture)
name=swift-cni-linux-$architecture-v$1.tgz
directory=$(mkdir -p "$2" && realpath "$2")

install_programs / /
install -m 644 "$root/LICENSE" "$stage/"
same_times
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu \
    -C "$stage" -c . | gzip -9n > "$directory/.$name.new"
mv "$directory/.$name.new" "$directory/$name"
cd "$directory"
for sum in sha256 sha512; do "${sum}sum" "$name" > "$name.$sum"; done
echo "$directory/$name"
