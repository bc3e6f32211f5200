#!/bin/bash
# run.sh DIRECTORY VERSION [TEST...]: the tests of this directory, each on a host of its own on which the
# Debian package and the archive of DIRECTORY are installed. All their lines, then the sums.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
distribution=$(realpath "$1")
version=$2
shift 2
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(package containerd podman libcni swap)
limit=${LIMIT:-300}
build=$(realpath "$here/../../.build")

# Without recommendations: they would bring the Go plugins, to which runtimes turn without a word.
bash "$here/../install-packages.sh" \
    containerd runc podman conmon golang-github-containernetworking-plugin-dnsname dnsmasq-base \
    golang-go golang-github-appc-cni-dev busybox-static python3-grpcio python3-protobuf protobuf-compiler \
    curl iproute2 iputils-ping iptables nftables jq lintian
PEER=$(bash "$here/../fetch-peer.sh" "$build/peer")
PEER_VERSION=$(dpkg-deb --field "$build"/peer/*.deb Version)
export PEER PEER_VERSION
export LIBCNI_DRIVER=$build/libcni-driver
(cd "$here/libcni" && GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$build/go go build -o "$LIBCNI_DRIVER" .)

architecture=$(dpkg --print-architecture)
export PACKAGE=$distribution/swift-cni_${version}_$architecture.deb
export ARCHIVE=$distribution/swift-cni-linux-$architecture-v$version.tgz
passed=0 failed=0
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
for test in "${tests[@]}"; do
    echo "## $test"
    status=0
    timeout --foreground --kill-after=10 "$limit" "$here/own-host" \
        /usr/bin/python3 -B "$here/${test}_test.py" 2>&1 | tee "$lines" || status=$?
    passed=$((passed + $(grep -c '^ok ' "$lines" || true)))
    failed=$((failed + $(grep -c '^not ok ' "$lines" || true)))
    if [ $status -ne 0 ] && ! grep -q '^not ok ' "$lines"; then
        failed=$((failed + 1))
        echo "not ok   $test ends by itself within $limit s: status $status"
    fi
done
echo "all: $passed passed, $failed failed"
[ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
