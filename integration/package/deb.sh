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

install_plugins /usr/lib/cni
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

# The operator's command, its manual and completions, where they have been made.
command=$root/.build/cni/cnictl
if [ -x "$command" ]; then install -D -m 755 "$command" "$stage/usr/bin/cnictl"; fi
for page in "$root"/.build/man/*.[1-8]; do
    [ -e "$page" ] || continue
    target=$stage/usr/share/man/man${page##*.}/${page##*/}.gz
    mkdir -p "${target%/*}"
    gzip -9n < "$page" > "$target"
done
while read -r made target; do
    if [ -e "$root/.build/completions/$made" ]; then
        install -D -m 644 "$root/.build/completions/$made" "$stage/usr/share/$target"
    fi
done << 'COMPLETIONS'
cnictl.bash bash-completion/completions/cnictl
_cnictl zsh/vendor-completions/_cnictl
cnictl.fish fish/vendor_completions.d/cnictl.fish
COMPLETIONS

# What the programs are linked to, as the packages of this machine have it.
work=$(mktemp -d)
trap 'rm -rf "$stage" "$work"' EXIT
mkdir "$work/debian"
cp "$here/control" "$work/debian/control"
programs=("$stage/usr/lib/cni/swift-cni")
if [ -x "$stage/usr/bin/cnictl" ]; then programs+=("$stage/usr/bin/cnictl"); fi
libraries=$(cd "$work" && dpkg-shlibdeps -O "${programs[@]}" 2> /dev/null | sed -n 's/^shlibs:Depends=//p')

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
