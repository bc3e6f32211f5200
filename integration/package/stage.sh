# stage.sh: what the package and the archive share; to be sourced.
#
# Both are the same bytes for the same commit and program: every file's time is the commit's.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2> /dev/null || stat -c %Y "$root/Makefile")}
export SOURCE_DATE_EPOCH
export LC_ALL=C TZ=UTC
umask 022
stage=$(mktemp -d)
chmod 755 "$stage"
trap 'rm -rf "$stage"' EXIT

# install_programs DIRECTORY OTHER: the plugins' program and its names, and the operator's command, below the
# stage.
install_programs() {
    make -C "$root" --no-print-directory install "DESTDIR=$stage" "BINDIR=$1" "SBINDIR=$2" > "$stage/log" \
        || { cat "$stage/log" >&2; exit 1; }
    rm "$stage/log"
}

# same_times: gives everything below the stage the commit's time.
same_times() { find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }
