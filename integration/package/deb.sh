#!/bin/bash
# deb.sh VERSION DIRECTORY: a Debian package that takes the place of containernetworking-plugins.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

version=$1
# Who builds it, as Debian's tools are told, or who committed it.
maintainer=$(git -C "$root" log -1 --format='%cn <%ce>' 2> /dev/null || echo 'unknown <unknown@localhost>')
if [ -n "${DEBEMAIL:-}" ]; then maintainer="${DEBFULLNAME:-swift-cni} <$DEBEMAIL>"; fi
architecture=$(dpkg --print-architecture)
directory=$(mkdir -p "$2" && realpath "$2")
here=$root/integration/package
documents=$stage/usr/share/doc/swift-cni

install_programs /usr/lib/cni /usr/sbin
mkdir -p "$documents/examples" "$documents/plugins"
install -m 644 "$root"/conf/*.conflist "$documents/examples/"
install -m 644 "$root"/docs/plugins/*.md "$documents/plugins/"
sed "s|(\.\./\.\./conf/|(../examples/|g" -i "$documents"/plugins/*.md
cp "$here/copyright" "$documents/copyright"
{
    echo "swift-cni ($version) stable; urgency=medium"
    echo
    echo "  * Built from commit $(git -C "$root" rev-parse --short=12 HEAD 2> /dev/null || echo unknown)."
    echo
    echo " -- $maintainer  $(date -R --date="@$SOURCE_DATE_EPOCH")"
} | gzip -9n > "$documents/changelog.gz"
install -D -m 644 "$here/lintian-overrides" "$stage/usr/share/lintian/overrides/swift-cni"

# The operator's command completes words in three shells; `make man` has made the manual.
while read -r shell file; do
    mkdir -p "$stage/usr/share/${file%/*}"
    "$stage/usr/sbin/cnictl" --generate-completion-script "$shell" | sed '1{/^#!/d}' > "$stage/usr/share/$file"
done << 'COMPLETIONS'
bash bash-completion/completions/cnictl
zsh zsh/vendor-completions/_cnictl
fish fish/vendor_completions.d/cnictl.fish
COMPLETIONS
for page in "$root"/.build/man/*.[1-8]; do
    [ -e "$page" ] || continue
    target=$stage/usr/share/man/man${page##*.}/${page##*/}.gz
    mkdir -p "${target%/*}"
    gzip -9n < "$page" > "$target"
done

# What the programs are linked to, as the packages of this machine have it.
work=$(mktemp -d)
trap 'rm -rf "$stage" "$work"' EXIT
mkdir "$work/debian"
cp "$here/control" "$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O "$stage/usr/lib/cni/swift-cni" "$stage/usr/sbin/cnictl" 2> /dev/null | sed -n 's/^shlibs:Depends=//p')

mkdir "$stage/DEBIAN"
(cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum) > "$stage/DEBIAN/md5sums"
{
    echo "Package: swift-cni"
    echo "Version: $version"
    echo "Architecture: $architecture"
    echo "Maintainer: $maintainer"
    echo "Installed-Size: $(du -k --apparent-size -s "$stage/usr" | cut -f 1)"
    [ -z "$libraries" ] || echo "Depends: $libraries"
    sed -e '1,/^Package:/d' -e '/^Architecture:/d' -e '/^Depends:/d' "$here/control"
} > "$stage/DEBIAN/control"
chmod 644 "$stage"/DEBIAN/*
same_times

name=swift-cni_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$stage" "$directory/.$name.new" > /dev/null
mv "$directory/.$name.new" "$directory/$name"
echo "$directory/$name"
