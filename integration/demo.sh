#!/bin/bash
# demo.sh PLUGIN_DIR: two containers on a bridge, from nothing and back to it, on a host of its own:
# a network namespace that ends with this script.
set -euo pipefail

plugins=$(realpath "$1")
conflist=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/conf/dual-stack.conflist
if [ -z "${SWIFT_CNI_DEMO:-}" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "the demo makes network namespaces and needs root" >&2; exit 1; }
    export SWIFT_CNI_DEMO=1
    exec unshare --net --mount --propagation private bash "${BASH_SOURCE[0]}" "$plugins"
fi

work=$(mktemp -d)
mkdir -p /run/netns
mount -t tmpfs none /run/netns
finish() {
    for container in web db; do ip netns del $container 2> /dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

step() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

# The list's one plugin, with the reservations kept in the demo's directory.
jq --arg data "$work/addresses" '.plugins[0] + {name, cniVersion} | .ipam.dataDir = $data' \
    "$conflist" > "$work/configuration"
bridge=$(jq -r .bridge "$work/configuration")

# cni VERB CONTAINER: the call a runtime makes.
cni() {
    local configuration=$work/configuration
    if [ "$1" != ADD ]; then
        configuration=$work/configuration.$2
        jq --slurpfile result "$work/$2.result" '.prevResult = $result[0]' \
            "$work/configuration" > "$configuration"
    fi
    CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/run/netns/$2 CNI_IFNAME=eth0 CNI_PATH=$plugins \
        "$plugins/bridge" < "$configuration"
}

# All that could be left: links, addresses, routes, rules, reservations.
snapshot() {
    ip -o link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//'
    ip -o addr | sed -E 's/^[0-9]+: //'
    ip -4 route show table all
    ip -6 route show table all
    nft list ruleset
    find "$work/addresses" -type f -name '[0-9a-f]*[.:]*' 2> /dev/null || true
}

ip link set lo up
ip netns add web
ip netns add db

step "the host before: no bridge, no address, no reservation"
snapshot > "$work/before"
show ip -br link

step "$(basename "$conflist")"
jq .plugins[0] "$conflist"

step "ADD of the containers web and db; the result of web:"
for container in web db; do cni ADD $container > "$work/$container.result"; done
cat "$work/web.result"
echo

step "web reaches db, and its gateway, in both families"
for family in 0 1; do
    address=$(jq -r ".ips[$family].address | split(\"/\")[0]" "$work/db.result")
    gateway=$(jq -r ".ips[$family].gateway" "$work/db.result")
    for target in "$address" "$gateway"; do
        show ip netns exec web ping -n -q -c 1 -W 3 "$target" | grep -E '\$|received'
    done
done

step "what the host sees: every link says whose it is, every address who holds it"
show ip -br link show master "$bridge"
ip -j link show master "$bridge" | jq -r '.[] | "\(.ifname)  belongs to  \(.ifalias)"'
for file in "$work"/addresses/dual-stack/*[.:]*[0-9]; do
    case $file in */last_reserved_ip*) continue ;; esac
    echo "$(basename "$file")  is held by  $(tr '\r\n' '  ' < "$file")"
done

step "CHECK of both"
for container in web db; do cni CHECK $container && echo "$container: as it should be"; done

step "CHECK when somebody has taken web's address away"
ip netns exec web ip addr del "$(jq -r '.ips[0].address' "$work/web.result")" dev eth0
cni CHECK web || true
echo

step "DEL of both; the bridge stays for the next container, so the demo removes it"
for container in web db; do cni DEL $container; done
show ip link del "$bridge"

step "the host after: links, addresses, routes, rules and reservations are as before"
snapshot > "$work/after"
diff "$work/before" "$work/after"
echo "nothing differs"
