#!/bin/bash
# vrf-test.sh [PLUGIN_DIR]: what the plugin vrf does, as the kernel tells it. Needs root and a kernel
# with VRFs, and works in namespaces of its own, which end with it.
set -uo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
plugins=$(realpath "${1:-$repository/.build/cni}")
if [ -z "${VRF_TEST_INSIDE:-}" ]; then
    export VRF_TEST_INSIDE=1
    exec unshare --net --mount --propagation private bash "${BASH_SOURCE[0]}" "$plugins"
fi
. "$repository/integration/guest/claims.sh"

mkdir -p /run/netns
mount -t tmpfs none /run/netns || exit 1
ip link set lo up
modprobe vrf 2> /dev/null
if ! ip link add probe type vrf table 7 2> "$work/error"; then
    echo "vrf-test: this kernel has no VRF: $(cat "$work/error")" >&2
    exit 1
fi
ip link del probe

# call VERB CONTAINER INTERFACE NUMBER [KEYS] [NETNS]: the plugin of the number in the network's
# chain, with the result of the one before.
call() {
    local keys=${5:-"{}"} result=$work/$2.$3.result
    jq --argjson number "$4" --argjson keys "$keys" --arg data "$work/addresses" \
        '.plugins[$number] + {name, cniVersion}
            | if .ipam then .ipam.dataDir = $data else . end | . + $keys' \
        "$repository/conf/vrf.conflist" > "$work/called"
    if [ "$4" -gt 0 ] || [ "$1" != ADD ]; then
        jq --slurpfile result "$result" '.prevResult = $result[0]' "$work/called" > "$work/call"
        mv "$work/call" "$work/called"
    fi
    CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=${6-/run/netns/$2} CNI_IFNAME=$3 CNI_PATH=$plugins \
        "$plugins/$(jq -r .type "$work/called")" < "$work/called" > "$work/said" 2>&1 || return 1
    [ "$1" != ADD ] || cp "$work/said" "$result"
}
# reachesFrom CONTAINER VRF ADDRESS
reachesFrom() { inside "$1" ping -n -c 1 -W 3 -I "$2" "$3" > "$work/said" 2>&1; }
# refused CONTAINER INTERFACE KEYS TEXT
refused() { ! call ADD "$1" "$2" 1 "$3" && grep -qF "$4" "$work/said"; }
vrf() { inside "$1" ip -d -j link show type vrf | jq -r "[.[] | \"\(.ifname) \(.linkinfo.info_data.table)\"] | join(\", \")"; }
master() { inside "$1" ip -j link show "$2" | jq -r '.[0].master // "none"'; }

ip netns add one
ip netns add two
holds "ADD of a bridge's interface eth0" call ADD one eth0 0
holds "ADD of a bridge's interface net1, without a default route" \
    call ADD one net1 0 '{"isDefaultGateway": false}'
address=$(jq -r '.ips[0].address' "$work/one.eth0.result")
inside one ip addr show eth0 | grep -c 'inet6 fd00' > "$work/before"

holds "ADD" call ADD one eth0 1
is "the result is that of the plugin before" "$address" \
    "$(jq -r '.ips[0].address' "$work/one.eth0.result")"
is "the VRF has the lowest free table" "red 1" "$(vrf one)"
is "the interface is its member" red "$(master one eth0)"
is "IPv6 addresses stay" "$(cat "$work/before")" \
    "$(inside one ip addr show eth0 | grep -c 'inet6 fd00')"
is "the route by the gateway is in its table" 1 \
    "$(inside one ip route show vrf red | grep -c '^default via 10.90.0.1')"
is "and that of IPv6" 1 "$(inside one ip -6 route show vrf red | grep -c '^default via fd00:90::1')"
holds "the container reaches the gateway by IPv4" reachesFrom one red 10.90.0.1
holds "and by IPv6" reachesFrom one red fd00:90::1
holds "CHECK passes" call CHECK one eth0 1

holds "a second interface joins the VRF" call ADD one net1 1
is "there is one VRF" "red 1" "$(vrf one)"
holds "the table of a VRF that is there cannot be another" refused one net1 '{"table": 77}' \
    "VRF red already exist with different routing table 1"
holds "a member of a VRF joins no other" refused one net1 '{"vrfname": "blue"}' \
    "interface net1 has already a master set: red"
is "which is not left behind" "red 1" "$(vrf one)"
holds "a name that is another link's is refused" refused one net1 '{"vrfname": "lo"}' \
    "Netlink lo is not a VRF"
holds "a VRF without a name is refused" refused one net1 '{"vrfname": ""}' \
    "configuration is expected to have a valid vrf name"

holds "DEL of the first interface" call DEL one eth0 1
is "takes it out" none "$(master one eth0)"
is "and leaves the VRF to the second" "red 1" "$(vrf one)"
holds "its route by the gateway is in the main table again" \
    sh -c "ip netns exec one ip route | grep -q '^default via 10.90.0.1 dev eth0'"
inside one ip link set net1 nomaster
if call CHECK one net1 1; then said="passes"; else said=$(cat "$work/said"); fi
is "CHECK tells of an interface that has left" 1 \
    "$(grep -c 'Failed to find net1 associated to vrf red' <<< "$said")"
holds "DEL of the second" call DEL one net1 1
is "takes the VRF with it" "" "$(vrf one)"
holds "DEL again" call DEL one net1 1
holds "DEL without a namespace" call DEL one net1 1 "{}" ""

for interface in eth0 net1; do holds "DEL of the bridge's $interface" call DEL one $interface 0; done
call ADD two eth0 0 && call ADD two eth0 1 '{"table": 1001}'
is "the table is the configuration's" "red 1001" "$(vrf two)"
holds "DEL" call DEL two eth0 1
holds "DEL of the bridge's interface" call DEL two eth0 0
